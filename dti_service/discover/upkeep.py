"""What the monitoring page of a front shows, and what its buttons clear: tasks of fronts, nobody else's work."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from dti_service.datasets.jobs import DatasetJobs
from dti_service.discover.tasks import Tasks
from dti_service.errors import Conflict, NotFound
from dti_service.retention import expired, in_use, unused
from dti_service.service import Service

QUEUE = "dti"
SIZE_REMEMBERED_S = 60.0
DEFAULT_DAYS = 30
MOST_DAYS = 36_500


class Upkeep:
    """For the tasks of one server. May block for as long as a walk over the data directory takes."""

    def __init__(self, service: Service, tasks: Tasks, datasets: DatasetJobs) -> None:
        self.service = service
        self.tasks = tasks
        self.datasets = datasets
        self._size = (0.0, 0)

    def queues(self) -> dict[str, Any]:
        store = self.service.store
        queue = {"name": QUEUE, "size": len(store.queued()), "processing": len(store.running())}
        return {"queues": {QUEUE: queue}}

    def monitor(self) -> dict[str, Any]:
        """Bytes in the data directory (as of the last minute), queues, GPUs."""
        measured_at, size = self._size
        if time.monotonic() - measured_at > SIZE_REMEMBERED_S or not measured_at:
            size = tree_size(self.service.settings.data_dir)
            self._size = (time.monotonic(), size)
        gpus = [item for item in self.service.monitor()["devices"] if item["device"].startswith("cuda:")]
        details = [
            {"gpu_index": number, "name": gpu["name"], "cuda_capability": None}
            for number, gpu in enumerate(gpus)
        ]
        gpu_info = {"cuda_available": bool(gpus), "num_gpus": len(gpus), "gpu_details": details}
        return {"total_size": size, **self.queues(), "gpu_info": gpu_info}

    def clear_old(self, days: int) -> dict[str, int]:
        """Delete tasks that ended more than `days` ago and are not kept, and datasets that only they used."""
        age_s = days * 24 * 3600.0
        runs = results = 0
        for id in expired(self.service.store, age_s):
            if self.tasks.known(id):
                had_results = self._delete(id)
                runs += had_results is not None
                results += bool(had_results)
        return {
            "cleared_runs": runs,
            "cleared_datasets": self._clear_datasets(age_s),
            "cleared_results": results,
        }

    def clear_one(self, id: str) -> dict[str, int]:
        """Delete one task. Raises Conflict while it waits or runs; nothing is counted for an unknown one."""
        try:
            experiment, task = self.tasks.find(id)
        except NotFound:
            return {"cleared_runs": 0, "cleared_datasets": 0, "cleared_results": 0}
        if not experiment.ended:
            raise Conflict("The task has not ended: cancel it first")
        had_results = self._delete(experiment.id)
        cleared = 0
        dataset, store = task.dataset_id, self.service.store
        if dataset is not None and not in_use(store, self.datasets.catalogue, dataset, store.named()):
            cleared = self._delete_dataset(dataset)
        return {
            "cleared_runs": int(had_results is not None),
            "cleared_datasets": cleared,
            "cleared_results": int(bool(had_results)),
        }

    def _delete(self, id: str) -> bool | None:
        """Delete a task; whether it had results, or None when it was gone or in use."""
        try:
            _, task = self.tasks.find(id)
            results = self.service.store.directory(id) / "results"
            had_results = any(results.iterdir()) if results.is_dir() else False
            self.service.delete(id)
        except (NotFound, Conflict):
            return None
        self.tasks.forget(task.experiment_id)
        return had_results

    def _clear_datasets(self, age_s: float) -> int:
        old = unused(self.service.store, self.datasets.catalogue, age_s)
        return sum(self._delete_dataset(id) for id in old if self.tasks.made(id))

    def _delete_dataset(self, id: str) -> int:
        try:
            self.datasets.delete(id)
        except (NotFound, Conflict):
            return 0
        self.tasks.forget_dataset(id)
        return 1


def tree_size(folder: Path) -> int:
    """Bytes of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total
