"""Datasets made in the background of a server: started, watched, stopped, and taken up again after a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from dti_service.datasets import fetch, progress, uploads
from dti_service.datasets.catalogue import Dataset
from dti_service.datasets.guard.errors import GuardError, PreparationStopped
from dti_service.datasets.prepare import Datasets
from dti_service.errors import Conflict, NotFound
from dti_service.locks import is_locked

log = logging.getLogger(__name__)

WORKERS = 2
STOP_S = 5.0
KEEP_UPLOADS_S = 24 * 3600.0
KEEP_DOWNLOADS_S = 7 * 24 * 3600.0

Users = Callable[[str], list[str]]


class DatasetJobs:
    """The datasets of a server. `users(dataset id)` gives the experiments that need one."""

    def __init__(self, datasets: Datasets, users: Users = lambda dataset_id: []) -> None:
        self.datasets = datasets
        self.catalogue = datasets.catalogue
        self._users = users
        self._pool = ThreadPoolExecutor(WORKERS, "dti-dataset")
        self._jobs: dict[str, Future[Dataset]] = {}
        self._cancelled: set[str] = set()
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Go on with what an earlier server left unfinished, and clear away what nobody needs."""
        self.catalogue.tidy()
        self.collect()
        for dataset in reversed(self.catalogue.all()):
            unfinished = dataset.state in ("queued", "downloading")
            if unfinished and not is_locked(self.catalogue.lock_path(dataset.id)):
                self.submit(dataset.id)

    def stop(self) -> None:
        """Stop within seconds; what was begun is taken up by the next `start`."""
        self._stopping.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def collect(self) -> int:
        """Delete uploads and downloads that no dataset took for long; returns the bytes freed."""
        return uploads.collect(self.catalogue.uploads, KEEP_UPLOADS_S) + fetch.collect(
            self.catalogue.downloads, KEEP_DOWNLOADS_S
        )

    def submit(self, dataset_id: str) -> Future[Dataset]:
        """Make a recorded dataset in the background. Asked again while it is being made: the same future."""
        with self._lock:
            known = self._jobs.get(dataset_id)
            if known is not None:
                return known
            future = self._pool.submit(self._run, dataset_id)
            self._jobs[dataset_id] = future
        future.add_done_callback(lambda _: self._jobs.pop(dataset_id, None))
        return future

    def _run(self, dataset_id: str) -> Dataset:
        def should_stop() -> bool:
            return self._stopping.is_set() or dataset_id in self._cancelled

        try:
            return self.datasets.build(dataset_id, should_stop=should_stop)
        except (GuardError, PreparationStopped, NotFound):
            raise  # told to whoever asked, and written in the record
        except Exception:
            log.exception("The dataset %s could not be made", dataset_id)
            raise

    def delete(self, dataset_id: str, *, force: bool = False) -> None:
        """Delete a dataset, stopping its making first. Raises `NotFound`, and `Conflict` while it is in use or, without
        `force`, marked to be kept."""
        self.catalogue.get(dataset_id)
        if not force:
            self.catalogue.check_not_kept(dataset_id)
        users = self._users(dataset_id)
        if not users:
            self._cancel(dataset_id)
        try:
            self.catalogue.delete(dataset_id, users, force=force)
        finally:
            self._cancelled.discard(dataset_id)

    def _cancel(self, dataset_id: str) -> None:
        job = self._jobs.get(dataset_id)
        if job is None or job.cancel():
            return
        self._cancelled.add(dataset_id)
        until = time.monotonic() + STOP_S
        while not job.done() and time.monotonic() < until:
            time.sleep(0.02)
        if not job.done():
            raise Conflict("The dataset is being made and does not stop yet; try again in a moment")

    def view(self, dataset: Dataset) -> dict[str, Any]:
        """A dataset as clients see it."""
        directory = self.catalogue.directory(dataset.id)
        making = dataset.state in ("queued", "downloading")
        return {
            "id": dataset.id,
            "name": dataset.name,
            "owner": dataset.owner,
            "state": dataset.state,
            "keep": self.catalogue.kept(dataset.id),
            "created_at": dataset.created_at,
            "finished_at": dataset.finished_at,
            "documents": dataset.documents,
            "counts": dataset.counts,
            "progress": progress.read(directory / "progress.json") if making else None,
            "errors": dataset.errors,
            "links": {
                "self": f"dti/api/datasets/{dataset.id}",
                "images": f"dti/api/datasets/{dataset.id}/images",
            },
        }


def users_in(store: Any, datasets: Datasets) -> Users:
    """Which experiments of a store need a dataset: those that wait or run, and name it or were found to read it."""

    def users(dataset_id: str) -> list[str]:
        active = {experiment.id: experiment for experiment in [*store.queued(), *store.running()]}
        named = {
            id
            for id, experiment in active.items()
            if dataset_id in (experiment.dataset, experiment.parameters.get("dataset"))
        }
        return sorted(named | set(datasets.catalogue.users(dataset_id, active.__contains__)))

    return users
