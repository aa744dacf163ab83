"""A worker of RQ: one process per device. Jobs run in the supervisor's process tree, never in the worker."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis import RedisError
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker

from dti_service.devices import device_names
from dti_service.dispatch.local import POLL_S, Slots
from dti_service.dispatch.rq import connect, make_queue, queue_names
from dti_service.errors import NotFound
from dti_service.execution.attempt import NOT_CLAIMED
from dti_service.execution.processes import bound_to_parent
from dti_service.execution.warm import WarmPool
from dti_service.presence import announced
from dti_service.settings import Settings
from dti_service.store import Store

log = logging.getLogger(__name__)

WORKER_TTL_S = 60
HEARTBEAT_S = 10.0
RECONNECT_S = 2.0

_worker: DeviceWorker | None = None


class DeviceWorker(SimpleWorker):
    """Runs one job after the other on one device. A job only waits for a supervisor, so that the worker stays able to
    show that it lives, and a cut connection to Redis does not touch the run."""

    def __init__(self, settings: Settings, device: str) -> None:
        assert settings.redis_url is not None
        self.settings = settings.replace(devices=device)
        self.device = device
        self.store = Store(settings.data_dir)
        self._beat_at = 0.0
        self.pool = WarmPool(self.settings) if settings.warm_kernels else None
        self.make_ready()
        connection = connect(settings.redis_url)
        host = re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())
        super().__init__(
            [make_queue(name, connection) for name in queue_names(device)],
            name=f"{host}-{device.replace(':', '-')}-{os.getpid()}",
            connection=connection,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL_S,
            log_job_description=False,
        )

    @property
    def asked_to_stop(self) -> bool:
        return bool(self._stop_requested)

    def make_ready(self) -> None:
        """Have a kernel stand by for the next run, if that is wanted."""
        if self.pool is not None:
            self.pool.maintain()

    def beat(self, job: Any) -> None:
        """Tell Redis that worker and job live; that it cannot be reached is no reason to end a run."""
        if time.monotonic() < self._beat_at:
            return
        self._beat_at = time.monotonic() + HEARTBEAT_S
        try:
            self.heartbeat(WORKER_TTL_S)
            if job is not None:
                job.heartbeat(datetime.now(UTC), ttl=WORKER_TTL_S)
        except (RedisError, OSError) as error:
            log.warning("Redis cannot be reached; the run goes on: %s", error)

    def run_one(self, announced: str, job: Any) -> str | None:
        """Run what is first in the store's order among what this device may run; returns its id, None if there is
        nothing. `announced` only told that something waits: priorities may have changed meanwhile."""
        probe = Slots(self.settings, self.store)
        running = probe.turns.look()
        for id, wanted in self.store.waiting():
            if not any(slot.accepts(wanted) for slot in probe.slots):
                continue
            if not probe.turns.may_start(id, running.copy()):
                continue
            slots = Slots(self.settings, self.store, only=id, pool=self.pool)
            try:
                if self._see_through(slots, id, job):
                    return id
            finally:
                slots.stop()
                self.make_ready()
        log.info("Nothing is left to do for %s", announced)
        return None

    def _see_through(self, slots: Slots, id: str, job: Any) -> bool:
        """Start the experiment and wait for the end of its supervisor; False when somebody else has it."""
        process: subprocess.Popen[bytes] | None = None
        while not self.asked_to_stop:
            try:
                if process is None:
                    slots.step()
                    if not slots.jobs and self.store.get(id).state != "queued":
                        return False
                    process = slots.jobs[0].process if slots.jobs else None
            except NotFound:
                return False
            if process is not None and process.poll() is not None:
                return process.returncode != NOT_CLAIMED
            self.beat(job)
            time.sleep(POLL_S)
        return True


def run_waiting(id: str) -> str | None:
    """The job: run what waits. Never raises for what happens in a run; that is on the experiment's record."""
    from rq import get_current_job

    if _worker is None:
        raise RuntimeError("this job needs a worker started by `dti worker`")
    return _worker.run_one(id, get_current_job())


def serve(settings: Settings, *, burst: bool = False) -> None:
    """Serve the queues from this process, or for several devices from one process each, until asked to stop."""
    devices = device_names(settings)
    if len(devices) == 1:
        _serve_device(settings, devices[0], burst)
    else:
        _serve_all(devices, settings, burst)


def _serve_device(settings: Settings, device: str, burst: bool) -> None:
    """Work, and again after Redis was away, until asked to stop."""
    global _worker
    while True:
        _worker = None
        try:
            _worker = DeviceWorker(settings, device)
            with announced(settings.data_dir, "worker", devices=device):
                _worker.work(burst=burst, logging_level="WARNING")
            return
        except (RedisError, OSError) as error:
            if _worker is not None and _worker.asked_to_stop:
                return
            log.warning("Redis cannot be reached; trying again: %s", error)
            time.sleep(RECONNECT_S)
        finally:
            if _worker is not None and _worker.pool is not None:
                _worker.pool.close()


def _serve_all(devices: list[str], settings: Settings, burst: bool) -> None:
    command = [sys.executable, "-m", "dti_service", "worker", "--data-dir", str(settings.data_dir)]
    workers = [
        subprocess.Popen(
            [*command, "--device", device, *(["--burst"] if burst else [])], preexec_fn=bound_to_parent()
        )
        for device in devices
    ]

    def forward(number: int, _frame: Any) -> None:
        for worker in workers:
            with suppress(ProcessLookupError):
                worker.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    for worker in workers:
        worker.wait()
