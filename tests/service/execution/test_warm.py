"""A tree of processes that stands ready: handed over once, to one run, and never left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dti_service.execution import warm
from dti_service.execution.processes import STANDBY_MARK, all_processes, descendants
from dti_service.execution.warm import WarmPool

FINISH = "from dti_service.run import current_run\ncurrent_run().finish({'k': 3})"
FACTS = """
import os, sys
loaded = "decimal" in sys.modules and "colorsys" in sys.modules
names = [name for name in ("importlib", "decimal", "variables", "sys_path") if name in globals()]
from dti_service.run import current_run
run = current_run()
run.finish({"loaded": loaded, "names": names, "cwd": os.getcwd(), "count": len(In), "x": x, "device": run.device})
"""


@pytest.fixture
def pool(runs: Any) -> Iterator[WarmPool]:
    options = ("--grace", "0.2", "--interrupt-grace", "1")
    made = WarmPool(runs.settings, libraries=("decimal", "colorsys", "no_such_library"), options=options)
    yield made
    made.close()


def get_ready(pool: WarmPool, runs: Any) -> int:
    """The number of the supervisor that stands ready."""
    pool.maintain()
    runs.wait_for(lambda: pool.ready, "readiness")
    assert pool._process is not None
    return pool._process.pid


def start(pool: WarmPool, runs: Any, id: str) -> Any:
    supervisor = pool.spawn(id, "cpu")
    runs.supervisors.append(supervisor)
    return supervisor


class TestWarmPool:
    def test_a_run_on_what_stood_ready_and_one_after_it(
        self, runs: Any, pool: WarmPool, tmp_path: Path
    ) -> None:
        held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
        ready = get_ready(pool, runs)
        first, second = runs.submit(FACTS, parameters={"x": 9}), runs.submit(FINISH)
        supervisor = pool.spawn(first, "cpu", keep_open=[held])
        runs.supervisors.append(supervisor)
        assert supervisor.pid == ready
        links = runs.wait_for(
            lambda: runs.store.get(first).attempt and list(Path(f"/proc/{ready}/fd").iterdir())
        )
        assert str(tmp_path / "lock") in {os.readlink(link) for link in links if link.exists()}
        experiment = runs.end(supervisor, first)
        assert experiment.state == "succeeded"
        assert experiment.metrics == {
            "loaded": True,
            "names": [],
            "cwd": str(runs.store.directory(first)),
            "count": 4,  # an empty one, two cells of parameters, and the one that tells
            "x": 9,
            "device": "cpu",
        }
        # Without another one ready, the next run starts as ever.
        supervisor = start(pool, runs, second)
        assert supervisor.pid != ready
        assert runs.end(supervisor, second).state == "succeeded"
        os.close(held)

    def test_the_leash_holds_and_forked_children_are_found(self, runs: Any, pool: WarmPool) -> None:
        """A forked child shows the environment with which its kernel was started, before it had an experiment."""
        from dti_service.execution.processes import sweep_experiment, with_environment

        source = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(300)\n"
        source += "open('began', 'w').close()\ntime.sleep(300)"
        get_ready(pool, runs)
        id = runs.submit(source)
        supervisor = start(pool, runs, id)
        runs.wait_for_file(id, "began")
        below = [process.pid for process in descendants(supervisor.pid)]
        assert len(below) == 3  # executor, kernel, its child
        mark = (
            Path(f"/proc/{below[0]}/environ")
            .read_bytes()
            .split(f"{STANDBY_MARK}=".encode())[1]
            .split(b"\0")[0]
        )
        supervisor.kill()
        supervisor.wait()
        runs.wait_for(
            lambda: len(with_environment({STANDBY_MARK: mark.decode()})) == 1, "the end of the kernel"
        )
        assert sweep_experiment(id, runs.store.data_dir) == 1
        assert not set(below) & {pid for pid, process in all_processes().items() if not process.zombie}

    @pytest.mark.parametrize("how", ["closed", "starter dead", "executor dead", "cancelled"])
    def test_what_is_not_used_does_not_stay(self, runs: Any, pool: WarmPool, how: str) -> None:
        supervisor = get_ready(pool, runs)
        below = [process.pid for process in descendants(supervisor)]
        assert len(below) == 2
        process = pool._process
        assert process is not None
        if how == "closed":
            pool.close()
        elif how == "starter dead":
            assert pool._leash is not None
            pool._leash.close()
        elif how == "executor dead":
            os.kill(below[0], signal.SIGKILL)
        else:
            id = runs.submit(FINISH)
            runs.store.request_cancel(id)
            runs.end(start(pool, runs, id), id)
            assert runs.store.get(id).state == "cancelled"
        assert process.wait(60) in {0, 3}
        assert not {supervisor, *below} & {
            pid for pid, process in all_processes().items() if not process.zombie
        }

    def test_memory_decides(self, runs: Any, pool: WarmPool, monkeypatch: pytest.MonkeyPatch) -> None:
        memory = [warm.NEEDED_BYTES - 1]
        monkeypatch.setattr(warm, "available_memory", lambda: memory[0])
        pool.maintain()
        assert pool._process is None
        memory[0] = warm.NEEDED_BYTES
        pool.maintain()
        assert pool._process is not None
        memory[0] = warm.LEAST_BYTES - 1
        pool.maintain()
        assert pool._process is None

    def test_switched_off_it_starts_runs_as_ever(self, runs: Any) -> None:
        pool = WarmPool(runs.settings, enabled=False)
        pool.maintain()
        assert pool._process is None
        assert not pool.ready
