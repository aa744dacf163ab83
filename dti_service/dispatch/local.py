"""The local dispatcher: the queue is the set of experiments on disk, the workers are processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import subprocess
import threading
import time
from dataclasses import dataclass

from dti_service.dispatch.base import Dispatcher
from dti_service.dispatch.slots import Slot, find_slots
from dti_service.dispatch.turns import Turns
from dti_service.errors import NotFound
from dti_service.execution.attempt import NOT_CLAIMED
from dti_service.execution.supervisor import spawn
from dti_service.execution.warm import WarmPool
from dti_service.quotas import enough_room
from dti_service.recovery import Rounds
from dti_service.settings import Settings
from dti_service.store import Store

log = logging.getLogger(__name__)

POLL_S = 0.25
RECOVERY_S = 5.0
STOP_S = 30.0
LONGEST_PAUSE_S = 60.0
WARM_PAUSE_S = 20.0
TELL_S = 60.0  # between two lines about a full disk


@dataclass(frozen=True)
class Job:
    """A supervisor that this process started, and the slot it uses."""

    experiment_id: str
    process: subprocess.Popen[bytes]
    slot: Slot


@dataclass
class Pause:
    """An experiment that could not be started is left alone for a while, longer each time."""

    tries: int = 0
    until: float = 0.0

    def extend(self) -> None:
        self.until = time.monotonic() + min(0.5 * 2**self.tries, LONGEST_PAUSE_S)
        self.tries += 1


class Slots:
    """The devices of this machine and what this process runs on them. Not thread-safe: one thread uses it.

    `only` restricts it to one experiment; everything else is left to other processes. `pool` starts the supervisors,
    with a kernel that stands ready if it keeps one; whoever made it closes it.
    """

    def __init__(
        self, settings: Settings, store: Store, *, only: str | None = None, pool: WarmPool | None = None
    ) -> None:
        self.settings = settings
        self.store = store
        self.only = only
        self.slots = find_slots(settings, store)
        self.jobs: list[Job] = []
        self.pool = pool
        self.turns = Turns(settings, store)
        self._warm_at = 0.0
        self._told_at = 0.0
        self._pauses: dict[str, Pause] = {}
        # Looking at all experiments is for whoever serves them all.
        thorough = {} if only is None else {"thorough_s": math.inf}
        self._recovery = Rounds(store, settings, RECOVERY_S, **thorough)

    @property
    def free(self) -> list[Slot]:
        busy = [job.slot for job in self.jobs]
        return [slot for slot in self.slots if slot not in busy]

    def step(self) -> None:
        """Collect supervisors that have ended, put right what crashed, start what can be started."""
        self._collect()
        self._recovery.step()
        self._start()
        if self.pool is not None and time.monotonic() >= self._warm_at:
            self.pool.maintain()

    def anything_to_do(self) -> bool:
        """Does anything run here, or wait that may run here?"""
        waiting = (device for id, device in self.store.waiting() if self.only in (None, id))
        return bool(self.jobs) or any(slot.accepts(device) for device in waiting for slot in self.slots)

    def _collect(self) -> None:
        for job in [job for job in self.jobs if job.process.poll() is not None]:
            self._let_go(job)
            if job.process.returncode == 0:
                self._pauses.pop(job.experiment_id, None)
            else:
                # Somebody else has it, or the supervisor could not start, or was killed: put that right now.
                self._pauses.setdefault(job.experiment_id, Pause()).extend()
                self._recovery.soon(thorough=job.process.returncode != NOT_CLAIMED)

    def _let_go(self, job: Job) -> None:
        _close_leash(job)
        job.slot.lock.release()
        self.jobs.remove(job)

    def _start(self) -> None:
        free = self.free
        if not free:
            return
        now = time.monotonic()
        started = {job.experiment_id for job in self.jobs}
        waiting = self.store.waiting()
        if self.store.index.building is not None:
            return  # what has waited longest may not be known yet
        if waiting and not self._room():
            return
        running = self.turns.look(started)
        self.turns.forget({id for id, _ in waiting} | started)
        for id, wanted in waiting:
            if not free:
                break
            paused = id in self._pauses and now < self._pauses[id].until
            if paused or id in started or self.only not in (None, id):
                continue
            for slot in free:
                if slot.accepts(wanted) and slot.lock.acquire():
                    if self.turns.may_start(id, running):
                        free.remove(slot)
                        self._start_on(slot, id)
                    else:
                        slot.lock.release()
                    break
        if self._pauses:
            gone = self._pauses.keys() - {id for id, _ in waiting}
            for id in gone - started:
                del self._pauses[id]

    def _room(self) -> bool:
        """Is there space on the disk for a run? What waits keeps its place until there is."""
        if enough_room(self.settings):
            return True
        if time.monotonic() >= self._told_at:
            self._told_at = time.monotonic() + TELL_S
            log.warning(
                "No run starts: the data disk has less than %g GB free. Delete old experiments or datasets",
                self.settings.min_free_gb,
            )
        return False

    def _start_on(self, slot: Slot, id: str) -> None:
        log.info("Experiment %s starts on %s", id, slot.device)
        try:
            # The supervisor inherits the slot's lock: should we die, the device stays taken until it has ended.
            held = [slot.lock.handle]
            if self.pool is not None:
                process = self.pool.spawn(id, slot.device, keep_open=held)
                # The next one is made ready when this run has had the processor for its own start.
                self._warm_at = time.monotonic() + WARM_PAUSE_S
            else:
                process = spawn(self.settings, id, slot.device, keep_open=held)
        except OSError as error:
            slot.lock.release()
            self._pauses.setdefault(id, Pause()).extend()
            log.warning("Experiment %s cannot be started now: %s", id, error)
            return
        self.jobs.append(Job(id, process, slot))

    def stop(self) -> None:
        """Have every run stop gracefully and go back into the queue; returns when all supervisors have ended."""
        for job in self.jobs:
            _close_leash(job)
        end = time.monotonic() + STOP_S
        for job in list(self.jobs):
            try:
                job.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("The supervisor of experiment %s does not end and is killed", job.experiment_id)
                job.process.kill()
                job.process.wait()
            self._let_go(job)


def _close_leash(job: Job) -> None:
    """The supervisor takes the end of its input as the wish to stop."""
    if job.process.stdin is not None:
        with contextlib.suppress(OSError):
            job.process.stdin.close()


class LocalDispatcher(Dispatcher):
    """Serves the queue from a thread of this process, so that a busy server never delays it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._serve, name="dti-dispatcher", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        if self._thread is None:
            return
        self._stopping.set()
        self._wake.set()
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    def wake(self) -> None:
        self._wake.set()

    def _serve(self) -> None:
        pool = WarmPool(self.settings) if self.settings.warm_kernels else None
        slots = Slots(self.settings, self.store, pool=pool)
        try:
            while not self._stopping.is_set():
                try:
                    slots.step()
                except NotFound:
                    pass  # deleted meanwhile
                except Exception:
                    # A full disk, a damaged record: the next round may go better, and nothing is lost meanwhile.
                    log.exception("The dispatcher met an error and goes on")
                    self._stopping.wait(1.0)
                self._wake.wait(POLL_S)
                self._wake.clear()
        finally:
            slots.stop()
            if pool is not None:
                pool.close()
