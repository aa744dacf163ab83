"""The processes of a storm: a server, workers, Redis; each can be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from redis import Redis

from dti_service.execution.processes import descendants

TOKEN = "storm"


class Actor:
    """One process that the storm starts, harms, and starts again."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        if self.alive:
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def send(self, number: int) -> None:
        if self.alive and self.process is not None:
            self.process.send_signal(number)

    def end(self, number: int = signal.SIGKILL, timeout_s: float = 60.0) -> None:
        """Send a signal and wait for the end; what does not end by itself in time is killed."""
        if self.process is None:
            return
        self.send(number)
        self.send(signal.SIGCONT)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cast:
    """All actors on one data directory."""

    def __init__(self, folder: Path, engine: str, package: str, devices: list[str]) -> None:
        self.data_dir = folder / "data"
        self.engine = engine
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        home = {
            name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "HOME")
        }
        environment = {
            **os.environ,
            **home,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(folder),
            "DTI_DATA_DIR": str(self.data_dir),
            "DTI_DEVICES": ",".join(devices),
            "DTI_INSTALLED_DEMOS": package,
            "DTI_MAX_ATTEMPTS": "1000",  # a storm is not the fault of the experiment
        }
        logs = folder / "logs"
        logs.mkdir()
        self.redis: Actor | None = None
        if engine == "rq":
            self.redis_socket = folder / "redis.sock"
            environment["DTI_REDIS_URL"] = f"unix://{self.redis_socket}"
            options = ["--port", "0", "--unixsocket", str(self.redis_socket), "--dir", str(folder)]
            options += ["--appendonly", "yes", "--save", ""]
            self.redis = Actor("redis", ["redis-server", *options], environment, logs / "redis.log")
        server = [sys.executable, "-c", "from dti_service.extension import main; main()"]
        server += [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1"]
        server += ["--ServerApp.allow_root=True", "--no-browser", f"--ServerApp.root_dir={folder}"]
        server += [f"--IdentityProvider.token={TOKEN}"]
        self.server = Actor("server", server, environment, logs / "server.log")
        worker = [sys.executable, "-m", "dti_service", "worker"]
        # Local workers share all devices with the server; those of RQ have one each.
        each = devices if engine == "rq" else [None]
        self.workers = [
            Actor(
                f"worker-{number}",
                [*worker, *(["--device", device] if device else [])],
                environment,
                logs / f"worker-{number}.log",
            )
            for number, device in enumerate(each)
        ]

    @property
    def all(self) -> list[Actor]:
        return [*([self.redis] if self.redis else []), self.server, *self.workers]

    def start(self) -> None:
        for actor in self.all:
            actor.start()

    def stop(self) -> None:
        """In good order: workers and server put back what they run."""
        for actor in [*self.workers, self.server]:
            actor.send(signal.SIGCONT)
            actor.send(signal.SIGTERM)
        for actor in [*self.workers, self.server, *([self.redis] if self.redis else [])]:
            actor.end(signal.SIGTERM)

    def kill(self) -> None:
        for actor in self.all:
            actor.end()

    def runners(self, module: str) -> list[int]:
        """Processes of runs that execute this module: the supervisor, the executor or the kernel."""
        found = []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
            with contextlib.suppress(OSError):
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and self._ours(pid):
                    found.append(pid)
        return sorted(found)

    def _ours(self, pid: int) -> bool:
        marks = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return f"DTI_DATA_DIR={self.data_dir}".encode() in marks

    def left(self) -> list[int]:
        """Processes that know this data directory, but for this one."""
        return [
            pid
            for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal())
            if pid != os.getpid() and _suppressed(lambda pid=pid: self._ours(pid))
        ]


def _suppressed(look: Callable[[], bool]) -> bool:
    with contextlib.suppress(OSError):
        return look()
    return False


def signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wipe(socket_path: Path) -> None:
    """An empty Redis, as after a failover to a replica that knew nothing."""
    with contextlib.suppress(Exception):
        Redis(unix_socket_path=str(socket_path)).flushall()


def cut(socket_path: Path) -> None:
    """Every connection to Redis breaks."""
    with contextlib.suppress(Exception):
        connection = Redis(unix_socket_path=str(socket_path))
        connection.execute_command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")


def silence(socket_path: Path, seconds: float) -> None:
    """Redis answers nobody for a while, as behind a broken network."""
    with contextlib.suppress(Exception):
        Redis(unix_socket_path=str(socket_path)).execute_command(
            "CLIENT", "PAUSE", int(1000 * seconds), "ALL"
        )


def some_below(chance: random.Random, pid: int) -> list[int]:
    """A random process below this one, if there is any."""
    below = [process.pid for process in descendants(pid)]
    return [chance.choice(below)] if below else []


def wait_until(condition: Callable[[], bool], timeout_s: float, pause_s: float = 0.1) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause_s)
    return True
