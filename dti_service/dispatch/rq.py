"""Spreading runs over many machines with RQ on Redis.

Redis carries only the news that an experiment waits, and which worker is busy. What to run, in which order, and whether
it still has to run is decided by the store, on the file system that all machines share: an empty Redis, a job that is
delivered twice or a lost one cost nothing but a moment.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import UTC, datetime
from typing import Any

from redis import Redis, RedisError
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from rq import Queue
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from dti_service.dispatch.base import Dispatcher
from dti_service.experiment import Experiment
from dti_service.recovery import Rounds
from dti_service.settings import Settings
from dti_service.store import Store

log = logging.getLogger(__name__)

TASK = "dti_service.dispatch.rq_worker.run_waiting"
POLL_S = 1.0
RECOVERY_S = 10.0
KEPT_S = 3600  # how long Redis remembers a job that has ended
SILENT_S = 40.0  # after four missed heartbeats a worker counts as lost


def connect(url: str) -> Redis:
    """A connection that rides out short interruptions. The address, with its password, stays in this process."""
    return Redis.from_url(
        url,
        socket_connect_timeout=5,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=2.0, base=0.1), retries=5),
        retry_on_error=[ConnectionError, TimeoutError],
    )


def queue_name(device: str) -> str:
    """The queue of experiments that ask for `device`."""
    return f"dti-{device.replace(':', '-')}"


def queue_names(device: str) -> list[str]:
    """The queues that a worker on `device` serves: what asks for just this device first."""
    wanted = [device, *(["cuda"] if device.startswith("cuda:") else []), "auto"]
    return [queue_name(name) for name in wanted]


def make_queue(name: str, connection: Redis) -> Queue:
    return Queue(name, connection=connection, serializer=JSONSerializer)


class RQDispatcher(Dispatcher):
    """Tells RQ of every experiment that waits, and puts right what was lost. It runs nothing itself."""

    def __init__(self, settings: Settings, store: Store) -> None:
        if not settings.redis_url:
            raise ValueError("RQDispatcher needs settings.redis_url")
        self.settings = settings
        self.store = store
        self._connection: Any = connect(settings.redis_url)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.recovery = Rounds(store, settings, RECOVERY_S)
        self._reachable = True

    async def start(self) -> None:
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._serve, name="dti-rq-dispatcher", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """Ends this dispatcher; the workers go on."""
        if self._thread is not None:
            self._stopping.set()
            self._wake.set()
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self._connection.close()

    def wake(self) -> None:
        self._wake.set()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                self.step()
                if not self._reachable:
                    log.info("Redis can be reached again")
                self._reachable = True
            except (RedisError, OSError) as error:
                if self._reachable:
                    log.warning("Redis cannot be reached; experiments wait on disk: %s", error)
                self._reachable = False
            except Exception:
                log.exception("The dispatcher met an error and goes on")
            self._wake.wait(POLL_S)
            self._wake.clear()

    def step(self) -> None:
        """Put right what crashed; make sure that RQ knows of everything that waits. Raises RedisError."""
        self.recovery.step()
        for experiment in self.store.queued():
            announce(experiment, self._connection)


def job_id(experiment: Experiment) -> str:
    """One job for each attempt: what a lost worker leaves in Redis does not stand in the way of the next one."""
    return f"{experiment.id}-{experiment.attempt}"


def announce(experiment: Experiment, connection: Redis) -> bool:
    """Tell RQ that an experiment waits, unless it knows; says whether it was news. Raises RedisError."""
    queue = make_queue(queue_name(experiment.device), connection)
    id = job_id(experiment)
    try:
        job = Job.fetch(id, connection=connection, serializer=JSONSerializer)
    except NoSuchJobError:
        pass
    else:
        if _stands(job, queue):
            return False
        # It has ended without this experiment being run, or its worker was lost before it could begin.
        job.delete()
    try:
        queue.enqueue_call(
            TASK,
            args=(experiment.id,),
            job_id=id,
            unique=True,
            timeout=-1,
            result_ttl=KEPT_S,
            failure_ttl=KEPT_S,
            ttl=None,
        )
    except DuplicateJobError:
        return False  # another server was quicker
    return True


def _stands(job: Job, queue: Queue) -> bool:
    """Will a worker take this job, or has one that lives taken it?"""
    status = job.get_status()
    if status == JobStatus.QUEUED:
        return job.id in queue.job_ids
    if status != JobStatus.STARTED:
        return False
    beat = job.last_heartbeat
    return beat is not None and (datetime.now(UTC) - beat).total_seconds() < SILENT_S
