"""Serving the queue with real processes, some of which are killed: every experiment ends, none runs twice at once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dti_service.dispatch import local
from dti_service.dispatch.foreground import run_experiment
from dti_service.dispatch.local import LocalDispatcher, Slots
from dti_service.execution.processes import experiment_marks, with_environment
from dti_service.experiment import Experiment
from dti_service.service import Service, SubmitRequest
from dti_service.settings import Settings

DEADLINE_S = 120.0

# Takes `seconds` in ten steps and goes on at its last one. Two attempts at once, or two runs on a device, would meet
# at the locks; what they did is in the journal.
WORK = """
import fcntl, json, os, time
from pathlib import Path
from dti_service.run import current_run

def take(path):
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle

def note(what):
    handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    words = [what, run.experiment_id, os.environ["CUDA_VISIBLE_DEVICES"], time.time()]
    os.write(handle, (json.dumps(words) + "\\n").encode())
    os.close(handle)

run = current_run()
try:
    locks = [take(run.directory / "test.lock"), take(f"{journal}-{os.environ['CUDA_VISIBLE_DEVICES']}")]
except BlockingIOError:
    note("OVERLAP")
    raise
mark = run.checkpoint / "step"
first = int(mark.read_text()) if mark.exists() else 0
note(f"begin {first}")
for step in range(first, 10):
    if run.should_stop():
        raise KeyboardInterrupt
    half = mark.with_name("half")
    half.write_text(str(step))
    half.replace(mark)  # this process may be killed at any moment
    run.progress(step + 1, 10)
    time.sleep(seconds / 10)
note("end")
run.finish({"first": first})
"""


class Work:
    """Experiments that note what they do in a journal."""

    def __init__(self, settings: Settings, notebook: Path, journal: Path) -> None:
        self.settings = settings
        self.service = Service(settings)
        self.store = self.service.store
        self.notebook = notebook
        self.path = journal
        self.ids: list[str] = []
        self.workers: list[subprocess.Popen[bytes]] = []

    def submit(self, seconds: float = 0.1, **fields: Any) -> str:
        parameters = {"journal": str(self.path), "seconds": seconds}
        request = SubmitRequest(str(self.notebook), parameters, trusted=True, **fields)
        self.ids.append(self.service.submit(request).id)
        return self.ids[-1]

    def worker(self, code: str = "run_worker(settings, burst=True)") -> subprocess.Popen[bytes]:
        """A process that serves the queue; by default until it is empty."""
        program = (
            "import sys; from pathlib import Path; from dti_service.settings import Settings\n"
            "from dti_service.dispatch.foreground import run_experiment, run_worker\n"
            "settings = Settings(data_dir=Path(sys.argv[1]), devices=sys.argv[2])\n" + code
        )
        command = [sys.executable, "-c", program, str(self.settings.data_dir), self.settings.devices]
        self.workers.append(subprocess.Popen(command, start_new_session=True))
        return self.workers[-1]

    def journal(self, id: str | None = None) -> list[str]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [what for what, whose, *_ in map(json.loads, lines) if id in (None, whose)]

    def processes(self, id: str) -> list[int]:
        return [item.pid for item in with_environment(experiment_marks(id, self.settings.data_dir))]

    def supervisors(self) -> list[int]:
        found = []
        for id in self.ids:
            for pid in self.processes(id):
                with contextlib.suppress(psutil.Error):
                    if "dti_service.execution.supervisor" in psutil.Process(pid).cmdline():
                        found.append(pid)
        return found

    def state(self, id: str) -> str:
        return self.store.get(id).state

    def wait(self, id: str, *states: str) -> Experiment:
        wait_for(lambda: self.state(id) in states, f"{states} of {self.state(id)} {id}")
        return self.store.get(id)


def wait_for(condition: Callable[[], Any], what: str = "the condition") -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.02)


@pytest.fixture
def work(
    request: pytest.FixtureRequest, tmp_path: Path, make_notebook: Callable[..., Path]
) -> Iterator[Work]:
    """On one CPU slot, or on the devices given as parameter: nothing computes, so they need not exist."""
    devices = getattr(request, "param", "cpu")
    settings = Settings(data_dir=tmp_path / "data", devices=devices)
    made = Work(
        settings, make_notebook('journal: str = ""\nseconds: float = 0.1', WORK), tmp_path / "journal"
    )
    yield made
    for process in made.workers:
        process.kill()
        process.wait()
    for id in made.ids:
        wait_for(lambda id=id: not made.processes(id), f"the end of the processes of {id}")


@pytest.fixture
def serve() -> Callable[..., None]:
    def serve(work: Work, during: Callable[[LocalDispatcher], None]) -> None:
        """Call `during` in a thread while a dispatcher of this process serves the queue."""

        async def run() -> None:
            dispatcher = LocalDispatcher(work.settings, work.store)
            work.service.on_change(dispatcher.wake)
            await dispatcher.start()
            try:
                await asyncio.to_thread(during, dispatcher)
            finally:
                await dispatcher.stop()

        asyncio.run(run())

    return serve


def test_the_queue_is_served_by_priority_then_age(work: Work, serve: Callable[..., None]) -> None:
    low, first, second = work.submit(), work.submit(priority=2), work.submit(priority=2)
    assert [work.service.get(id)["queue_position"] for id in (first, second, low)] == [1, 2, 3]

    def during(_: LocalDispatcher) -> None:
        for id in work.ids:
            assert work.wait(id, "succeeded", "failed").state == "succeeded"

    serve(work, during)
    started = sorted(work.ids, key=lambda id: work.store.get(id).started_at or "")
    assert started == [first, second, low]
    assert [work.store.get(id).attempt for id in work.ids] == [1, 1, 1]


def test_stopping_puts_runs_back_into_the_queue_and_they_go_on_later(
    work: Work, serve: Callable[..., None]
) -> None:
    id = work.submit(seconds=3)
    serve(work, lambda _: wait_for(lambda: len(work.journal()) == 1, "the begin"))
    stopped = work.store.get(id)
    assert (stopped.state, stopped.attempt, stopped.losses) == ("queued", 1, 0)
    assert work.processes(id) == []
    run_experiment(work.settings, id)
    ended = work.store.get(id)
    assert (ended.state, ended.attempt, work.journal().count("OVERLAP")) == ("succeeded", 2, 0)


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.3, 0.6, 1.2])
def test_a_cancel_wins_whenever_it_arrives(work: Work, serve: Callable[..., None], delay_s: float) -> None:
    def during(_: LocalDispatcher) -> None:
        id = work.submit(seconds=20)
        time.sleep(delay_s)
        work.service.cancel(id, "ada")
        work.wait(id, "cancelled", "failed", "succeeded")

    serve(work, during)
    assert [work.state(id) for id in work.ids] == ["cancelled"]
    assert "end" not in work.journal()


@pytest.mark.parametrize("work", ["cuda:0,cuda:1"], indirect=True)
def test_several_workers_run_everything_once_and_one_at_a_time_per_device(work: Work) -> None:
    ids = [work.submit(0.2) for _ in range(5)] + [work.submit(0.2, device="cuda:1")]
    workers = [work.worker() for _ in range(3)]
    for worker in workers:
        assert worker.wait(DEADLINE_S) == 0
    # A worker may leave while the others still finish.
    for id in ids:
        assert work.wait(id, "succeeded", "failed").attempt == 1
        assert work.journal(id) == ["begin 0", "end"]
    assert work.store.get(ids[-1]).assigned_device == "cuda:1"


def test_when_the_worker_is_killed_another_goes_on_once_the_device_is_free(work: Work) -> None:
    id = work.submit(seconds=2)
    first = work.worker()
    wait_for(lambda: len(work.journal()) == 1, "the begin")
    second = work.worker("run_worker(settings)")
    time.sleep(0.3)
    first.kill()
    ended = work.wait(id, "succeeded", "failed")
    assert (ended.state, ended.attempt, ended.losses) == ("succeeded", 2, 0)
    assert "OVERLAP" not in work.journal()
    assert ended.metrics["first"] > 0
    second.terminate()
    assert second.wait(DEADLINE_S) == 0


def test_when_the_supervisor_is_killed_the_run_goes_on_and_nothing_is_left_of_it(work: Work) -> None:
    id = work.submit(seconds=2)
    worker = work.worker()
    wait_for(lambda: len(work.journal()) == 1, "the begin")
    before = work.processes(id)
    [supervisor] = work.supervisors()
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not set(before) & set(psutil.pids()), "the end of the first attempt")
    ended = work.wait(id, "succeeded", "failed")
    assert (ended.state, ended.attempt, ended.losses) == ("succeeded", 2, 1)
    assert "OVERLAP" not in work.journal()
    assert worker.wait(DEADLINE_S) == 0


@pytest.mark.parametrize("work", ["cuda:0,cuda:1"], indirect=True)
def test_whatever_is_killed_whenever_everything_ends_and_nothing_overlaps(work: Work) -> None:
    chance = random.Random(7)
    code = "run_worker(settings.replace(max_attempts=100))"
    ids = [work.submit(0.6) for _ in range(4)]
    stops = 0  # rounds in which a worker's run may have been asked to stop, since its worker was gone
    for _ in range(6):
        while sum(worker.poll() is None for worker in work.workers) < 2:
            work.worker(code)
        time.sleep(chance.uniform(0.1, 1.5))
        victims = work.supervisors() if chance.random() < 0.5 else []
        workers = [worker.pid for worker in work.workers if worker.poll() is None and chance.random() < 0.6]
        victims += workers
        stops += bool(workers)
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for worker in work.workers:
            worker.poll()
    work.worker(code)
    for id in ids:
        ended = work.wait(id, "succeeded", "failed", "cancelled")
        assert (ended.state, ended.error) == ("succeeded", None)
        assert work.journal(id)[-1] == "end"
        assert ended.attempt <= 1 + ended.losses + stops
        assert work.journal(id).count("end") <= ended.attempt
    assert "OVERLAP" not in work.journal()


def test_in_the_foreground_one_experiment_is_run_and_no_other(work: Work) -> None:
    other, id = work.submit(priority=5), work.submit()
    polls: list[str] = []
    ended = run_experiment(work.settings, id, on_poll=lambda: polls.append(work.state(id)))
    assert (ended.state, work.state(other)) == ("succeeded", "queued")
    assert (polls[0], polls[-1]) == ("queued", "succeeded")


def test_in_the_foreground_an_experiment_that_another_runs_is_watched(work: Work) -> None:
    id = work.submit(seconds=1)
    work.worker()
    wait_for(lambda: len(work.journal()) == 1, "the begin")
    ended = run_experiment(work.settings, id)
    assert (ended.state, ended.attempt) == ("succeeded", 1)


def test_interrupting_the_foreground_cancels_and_keeps_what_there_is(work: Work) -> None:
    id = work.submit(seconds=30)
    command = work.worker(f"print(run_experiment(settings, {id!r}).state); raise SystemExit(130)")
    wait_for(lambda: len(work.journal()) == 1, "the begin")
    command.send_signal(signal.SIGINT)
    assert command.wait(DEADLINE_S) == 130
    assert work.state(id) == "cancelled"
    assert (work.store.directory(id) / "notebook.ipynb").exists()
    assert (work.store.directory(id) / "checkpoint" / "step").exists()


def test_terminating_the_foreground_puts_the_run_back(work: Work) -> None:
    id = work.submit(seconds=30)
    command = work.worker(f"run_experiment(settings, {id!r})")
    wait_for(lambda: len(work.journal()) == 1, "the begin")
    command.terminate()
    assert command.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert work.state(id) == "queued"


# What cannot start


def test_what_cannot_start_waits_longer_each_time_and_holds_up_nothing(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = work.submit(priority=5), work.submit()
    spawn = local.spawn

    def failing_spawn(settings: Settings, id: str, device: str, **options: Any) -> Any:
        if id == stuck:
            raise OSError("no more processes")
        return spawn(settings, id, device, **options)

    monkeypatch.setattr(local, "spawn", failing_spawn)
    slots = Slots(work.settings, work.store)
    slots.step()
    slots.step()
    pause = slots._pauses[stuck]
    assert [job.experiment_id for job in slots.jobs] == [other]
    first = pause.until
    pause.extend()
    assert pause.until > first
    wait_for(lambda: slots.step() or work.state(other) == "succeeded", "the other one's end")
    monkeypatch.undo()
    pause.until = 0.0
    wait_for(lambda: slots.step() or work.state(stuck) == "succeeded", "the end after all")
    slots.stop()


def test_an_experiment_that_somebody_holds_is_left_to_him(work: Work) -> None:
    id = work.submit()
    lock = work.store.lock(id)
    assert lock.acquire()
    slots = Slots(work.settings, work.store)
    wait_for(lambda: slots.step() or id in slots._pauses, "the supervisor's answer")
    assert (work.state(id), slots.jobs) == ("queued", [])
    lock.release()
    wait_for(lambda: slots.step() or work.state(id) == "succeeded", "the run")
    slots.stop()


def test_a_device_that_is_not_free_holds_up_nothing(work: Work, settings: Settings) -> None:
    waiting = work.submit(priority=5)
    gpus = settings.replace(data_dir=work.settings.data_dir, devices="cuda:0")
    slots = Slots(gpus, work.store)
    record = work.store.get(waiting)
    work.store.save(dataclasses.replace(record, device="cpu"))
    other = work.submit()
    slots.step()
    assert [job.experiment_id for job in slots.jobs] == [other]
    slots.stop()
    assert work.state(waiting) == "queued"
