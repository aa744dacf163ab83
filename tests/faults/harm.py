"""What a storm does to a service: each kind of harm once, by name."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable

from actors import Cast, cut, signal_all, silence, some_below, wipe

from dti_service.service import Service

SUPERVISOR = "dti_service.execution.supervisor"
EXECUTOR = "dti_service.execution.executor"
KERNEL = "ipykernel_launcher"

Harm = Callable[[], str | None]


class Weather:
    """Draws harm from a seeded stream and does it; says what it did, or None when there was nothing to harm."""

    def __init__(self, cast: Cast, service: Service, chance: random.Random, ids: list[str]) -> None:
        self.cast = cast
        self.service = service
        self.chance = chance
        self.ids = ids
        self.cancelled: set[str] = set()
        kinds: list[tuple[int, Harm]] = [
            (4, self.kill_a_supervisor),
            (3, self.kill_an_executor),
            (4, self.kill_a_kernel),
            (2, self.kill_somebody_below_a_supervisor),
            (3, self.freeze_a_runner),
            (2, self.kill_the_server),
            (2, self.restart_the_server),
            (2, self.freeze_the_server),
            (3, self.kill_a_worker),
            (2, self.restart_a_worker),
            (2, self.freeze_a_worker),
            (3, self.cancel_one),
            (1, self.lose_the_index),
            (1, self.everything_dies),
        ]
        if cast.engine == "rq":
            kinds += [
                (2, self.kill_redis),
                (2, self.empty_redis),
                (2, self.cut_redis),
                (1, self.silence_redis),
            ]
        self.weights = [weight for weight, _ in kinds]
        self.kinds = [kind for _, kind in kinds]

    def strike(self) -> str | None:
        return self.chance.choices(self.kinds, self.weights)[0]()

    # Runs

    def _one(self, module: str) -> int | None:
        found = self.cast.runners(module)
        return self.chance.choice(found) if found else None

    def _kill(self, module: str) -> str | None:
        pid = self._one(module)
        if pid is None:
            return None
        signal_all([pid], signal.SIGKILL)
        return f"killed a {module.rpartition('.')[2]}"

    def kill_a_supervisor(self) -> str | None:
        return self._kill(SUPERVISOR)

    def kill_an_executor(self) -> str | None:
        return self._kill(EXECUTOR)

    def kill_a_kernel(self) -> str | None:
        return self._kill(KERNEL)

    def kill_somebody_below_a_supervisor(self) -> str | None:
        pid = self._one(SUPERVISOR)
        victims = some_below(self.chance, pid) if pid is not None else []
        signal_all(victims, signal.SIGKILL)
        return "killed a process of a run" if victims else None

    def freeze_a_runner(self) -> str | None:
        pid = self._one(self.chance.choice([SUPERVISOR, EXECUTOR, KERNEL]))
        if pid is None:
            return None
        signal_all([pid], signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.2, 2.0))
        signal_all([pid], signal.SIGCONT)
        return "froze a runner for a moment"

    def cancel_one(self) -> str | None:
        running = [item.id for item in self.service.store.running()] if self.chance.random() < 0.7 else []
        candidates = sorted(running) or sorted(set(self.ids) - self.cancelled)
        if not candidates:
            return None
        id = self.chance.choice(candidates)
        with contextlib.suppress(Exception):  # it may have ended meanwhile
            self.service.cancel(id, "storm")
            self.cancelled.add(id)
            return "cancelled an experiment"
        return None

    # Servers and workers

    def kill_the_server(self) -> str:
        self.cast.server.end(signal.SIGKILL)
        time.sleep(self.chance.uniform(0, 1))
        self.cast.server.start()
        return "killed the server"

    def restart_the_server(self) -> str:
        self.cast.server.end(signal.SIGTERM)
        self.cast.server.start()
        return "restarted the server"

    def freeze_the_server(self) -> str:
        self.cast.server.send(signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.2, 3.0))
        self.cast.server.send(signal.SIGCONT)
        return "froze the server"

    def kill_a_worker(self) -> str:
        worker = self.chance.choice(self.cast.workers)
        worker.end(signal.SIGKILL)
        time.sleep(self.chance.uniform(0, 0.5))
        worker.start()
        return "killed a worker"

    def restart_a_worker(self) -> str:
        worker = self.chance.choice(self.cast.workers)
        worker.end(signal.SIGTERM)
        worker.start()
        return "restarted a worker"

    def freeze_a_worker(self) -> str:
        worker = self.chance.choice(self.cast.workers)
        worker.send(signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.2, 3.0))
        worker.send(signal.SIGCONT)
        return "froze a worker"

    def everything_dies(self) -> str:
        """A power cut: all processes of all parts at once."""
        modules = (SUPERVISOR, EXECUTOR, KERNEL)
        for actor in [*self.cast.workers, self.cast.server]:
            actor.send(signal.SIGKILL)
        signal_all([pid for module in modules for pid in self.cast.runners(module)], signal.SIGKILL)
        for actor in self.cast.all:
            actor.end(signal.SIGKILL)
            actor.start()
        return "killed everything"

    # What may be lost

    def lose_the_index(self) -> str:
        for path in self.cast.data_dir.glob("index.sqlite3*"):
            path.unlink(missing_ok=True)
        return "deleted the index"

    def kill_redis(self) -> str:
        assert self.cast.redis is not None
        self.cast.redis.end(signal.SIGKILL)
        time.sleep(self.chance.uniform(0, 2))
        self.cast.redis.start()
        return "killed Redis"

    def empty_redis(self) -> str:
        wipe(self.cast.redis_socket)
        return "emptied Redis"

    def cut_redis(self) -> str:
        cut(self.cast.redis_socket)
        return "cut all connections to Redis"

    def silence_redis(self) -> str:
        silence(self.cast.redis_socket, self.chance.uniform(0.5, 4.0))
        return "Redis was silent"
