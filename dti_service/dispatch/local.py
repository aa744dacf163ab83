"""The local dispatcher: the queue is the set of experiments on disk, the workers are processes of this machine."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
import time
from dataclasses import dataclass

from dti_service.dispatch.base import Dispatcher
from dti_service.dispatch.slots import Slot
from dti_service.execution.supervisor import spawn
from dti_service.experiment import Experiment
from dti_service.monitor import device_names
from dti_service.recovery import recover
from dti_service.settings import Settings
from dti_service.store import Store

log = logging.getLogger(__name__)

POLL_S = 0.25
RECOVERY_S = 5.0
STOP_S = 30.0


@dataclass
class Job:
    """A supervisor that this process started, and the slot it uses."""

    experiment_id: str
    process: subprocess.Popen[bytes]
    slot: Slot


class Slots:
    """The devices of this machine and what this process runs on them. Not thread-safe: one thread uses it.

    `only` restricts it to one experiment; everything else is left to other processes.
    """

    def __init__(self, settings: Settings, store: Store, *, only: str | None = None) -> None:
        self.settings = settings
        self.store = store
        self.only = only
        self.free = [Slot(store, device) for device in device_names(settings)]
        self.jobs: list[Job] = []
        self._recovered_at = -RECOVERY_S

    @property
    def devices(self) -> list[str]:
        return [slot.device for slot in self.free] + [job.slot.device for job in self.jobs]

    def step(self) -> None:
        """Collect supervisors that have ended, put right what crashed, start what can be started."""
        self._collect()
        now = time.monotonic()
        if now - self._recovered_at >= RECOVERY_S:
            self._recovered_at = now
            recover(self.store, self.settings)
        if self.free:
            self._start()

    def _collect(self) -> None:
        for job in [job for job in self.jobs if job.process.poll() is not None]:
            self._let_go(job)
            # A supervisor that was killed left its experiment running: see to it now, not at the next round.
            self._recovered_at = -RECOVERY_S

    def _let_go(self, job: Job) -> None:
        if job.process.stdin is not None:
            job.process.stdin.close()
        job.slot.lock.release()
        self.jobs.remove(job)
        self.free.append(job.slot)

    def _start(self) -> None:
        started = {job.experiment_id for job in self.jobs}
        for experiment in self.store.queued():
            if experiment.id in started or (self.only and experiment.id != self.only):
                continue
            slot = self._slot_for(experiment)
            if slot is None:
                if not self.free:
                    return
                continue
            log.info("Experiment %s starts on %s", experiment.id, slot.device)
            try:
                process = spawn(self.settings, experiment.id, slot.device)
            except OSError:
                slot.lock.release()
                raise
            self.free.remove(slot)
            self.jobs.append(Job(experiment.id, process, slot))

    def _slot_for(self, experiment: Experiment) -> Slot | None:
        """A free device that the experiment may use, locked for it."""
        for slot in self.free:
            if slot.accepts(experiment) and slot.lock.acquire():
                return slot
        return None

    def stop(self) -> None:
        """Have every run stop gracefully and go back into the queue; returns when all supervisors have ended."""
        for job in self.jobs:
            if job.process.stdin is not None:
                job.process.stdin.close()  # the supervisor takes the end of its input as the wish to stop
        end = time.monotonic() + STOP_S
        for job in list(self.jobs):
            try:
                job.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("The supervisor of experiment %s does not end and is killed", job.experiment_id)
                job.process.kill()
                job.process.wait()
            self._let_go(job)


class LocalDispatcher(Dispatcher):
    """Serves the queue from a thread of this process, so that a busy server never delays it."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.slots = Slots(settings, store)
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        self._thread = threading.Thread(target=self._serve, name="dti-dispatcher", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        if self._thread is None:
            return
        self._stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    def wake(self) -> None:
        self._wake.set()

    def _serve(self) -> None:
        while not self._stopping:
            try:
                self.slots.step()
            except Exception:
                # A full disk, a damaged record: the next round may go better, and nothing is lost meanwhile.
                log.exception("The dispatcher met an error and goes on")
                time.sleep(1.0)
            self._wake.wait(POLL_S)
            self._wake.clear()
        self.slots.stop()
