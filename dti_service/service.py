"""The use cases: what REST, the command line and the compatibility routes can do with experiments."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dti_service.demos import Demo, find_demos
from dti_service.errors import Conflict, NotFound, Unavailable
from dti_service.experiment import Experiment, timestamp, transition
from dti_service.ids import new_id
from dti_service.index import Query
from dti_service.monitor import monitor as monitor_view
from dti_service.monitor import workers as workers_view
from dti_service.requests import SubmitRequest, check_request, digest
from dti_service.retention import expired
from dti_service.settings import Settings
from dti_service.store import CHECKPOINT, Store
from dti_service.views import experiment_view

__all__ = ["Service", "SubmitRequest"]

log = logging.getLogger(__name__)

LEAST_FREE_BYTES = 200 * 2**20
CANCEL_CLAIM_S = 0.5


class Service:
    """Experiments of one data directory. Everything here may block shortly; nothing here runs notebooks."""

    def __init__(self, settings: Settings, *, wake: Any = None) -> None:
        self.settings = settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self.store = Store(settings.data_dir)
        self.demos = find_demos(settings.installed_demos)
        self._wake = wake or (lambda: None)

    def on_change(self, wake: Any) -> None:
        """`wake()` is called when there may be something new for a dispatcher to do."""
        self._wake = wake

    # One experiment

    def submit(self, request: SubmitRequest) -> Experiment:
        """Check a request and queue it. Nothing is written unless all of it is right.

        Raises InvalidRequest with every problem, Conflict for an idempotency key used before for something else,
        Unavailable when the disk is nearly full.
        """
        if request.idempotency_key:
            earlier = self.store.find_by_key(request.idempotency_key, request.owner)
            if earlier is not None:
                if earlier.request_digest != digest(request):
                    raise Conflict("This Idempotency-Key was used for another request")
                return earlier
        notebook, parameters = check_request(request, self)
        if shutil.disk_usage(self.settings.data_dir).free < LEAST_FREE_BYTES:
            raise Unavailable("The data disk is nearly full: delete old experiments first")
        now = timestamp()
        experiment = Experiment(
            id=new_id(),
            notebook=request.notebook,
            name=request.name or _default_name(request),
            parameters=parameters,
            dataset=request.dataset,
            owner=request.owner,
            priority=request.priority,
            device=request.device,
            notify_url=list(request.notify_url),
            resume_from=request.resume_from,
            idempotency_key=request.idempotency_key,
            request_digest=digest(request) if request.idempotency_key else None,
            time_limit_s=request.time_limit_s,
            created_at=now,
            queued_at=now,
        )
        checkpoint = None
        if request.resume_from:
            checkpoint = self.store.directory(request.resume_from) / CHECKPOINT
        self.store.create(experiment, notebook, checkpoint)
        self._wake()
        return experiment

    def rerun(
        self,
        id: str,
        changes: Mapping[str, Any] | None = None,
        *,
        owner: str | None = None,
        trusted: bool = False,
    ) -> Experiment:
        """Queue the request of an experiment again, with `changes`. Raises as `submit`, and ExperimentNotFound."""
        experiment = self.store.get(id)
        values: dict[str, Any] = {
            "notebook": experiment.notebook,
            "parameters": {name: value for name, value in experiment.parameters.items() if name != "dataset"},
            "dataset": experiment.dataset,
            "name": experiment.name,
            "notify_url": experiment.notify_url,
            "priority": experiment.priority,
            "device": experiment.device,
            "time_limit_s": experiment.time_limit_s,
            "owner": owner or experiment.owner,
        }
        given = {name: value for name, value in (changes or {}).items() if value is not None}
        if "parameters" in given:
            # Only what differs is said; null takes a parameter back to the notebook's default.
            merged = {**values["parameters"], **given["parameters"]}
            given["parameters"] = {name: value for name, value in merged.items() if value is not None}
        values |= given
        # Whoever may run it again need not be allowed to name its folder: that was checked the first time.
        trusted = trusted or not changes or {"notebook", "dataset", "parameters"}.isdisjoint(changes)
        return self.submit(SubmitRequest(**values, trusted=trusted))

    def get(self, id: str) -> dict[str, Any]:
        """The experiment as clients see it. Raises ExperimentNotFound."""
        return experiment_view(self.store.get(id), self.store, self.queue_positions())

    def patch(self, id: str, **changes: Any) -> Experiment:
        """Change name, tags or keep. Raises ExperimentNotFound."""
        return self.store.annotate(
            id, **{name: value for name, value in changes.items() if value is not None}
        )

    def cancel(self, id: str, by: str | None = None) -> Experiment:
        """Ask for the end of an experiment; one that has ended stays as it is. Raises ExperimentNotFound."""
        experiment = self.store.get(id)
        if experiment.ended:
            return experiment
        if experiment.origin == "interactive" and experiment.state == "running" and not self.store.alive(id):
            raise Conflict(
                f"Experiment {id} is run by hand and its process is gone: it will be marked as lost"
            )
        self.store.request_cancel(id, by)
        with self.store.claim(id, CANCEL_CLAIM_S) as free:
            experiment = self.store.get(id)
            if free and experiment.state == "queued":
                experiment = transition(experiment, "cancelled")
                self.store.save(experiment)
                self.store.events(id).append("state", state="cancelled", attempt=experiment.attempt)
        self._wake()
        return experiment

    def delete(self, id: str) -> None:
        """Remove an experiment and all its files. Raises ExperimentNotFound, Conflict while it runs."""
        self.store.delete(id)

    # Many experiments

    def list(self, **query: Any) -> dict[str, Any]:
        """{items, next_cursor, total}. Raises BadRequest for an unknown sort or cursor."""
        page = self.store.page(Query(**{name: value for name, value in query.items() if value is not None}))
        positions = self.queue_positions()
        items = [experiment_view(experiment, self.store, positions) for experiment in page.items]
        if query.get("state") == "cancelling":
            items = [item for item in items if item["state"] == "cancelling"]
        return {"items": items, "next_cursor": page.next_cursor, "total": page.total}

    def queue_positions(self) -> dict[str, int]:
        """1 for the experiment that runs next, and so on."""
        return {experiment.id: place for place, experiment in enumerate(self.store.queued(), start=1)}

    def queue(self) -> dict[str, Any]:
        """What waits, in order, and what runs."""
        positions = self.queue_positions()
        waiting = [experiment_view(item, self.store, positions) for item in self.store.queued()]
        running = [experiment_view(item, self.store, positions) for item in self.store.running()]
        return {"queued": waiting, "running": running}

    def workers(self) -> dict[str, Any]:
        return workers_view(self.store)

    def monitor(self) -> dict[str, Any]:
        return monitor_view(self.settings, self.store)

    def reindex(self) -> dict[str, Any]:
        """Build the index anew from the directories: {experiments, skipped: [{path, reason}]}."""
        return self.store.index.rebuild()

    def cleanup(self, older_than: str | float, *, dry_run: bool = False) -> dict[str, Any]:
        """Delete experiments that ended longer ago than this ("30d", or seconds) and are not kept.

        Returns {experiments: [ids], bytes, dry_run}. Raises InvalidRequest for a time that is none.
        """
        old = expired(self.store, older_than)
        freed = 0
        deleted = []
        for id in old:
            size = sum(file.stat().st_size for file in self.store.directory(id).rglob("*") if file.is_file())
            if not dry_run:
                try:
                    self.store.delete(id)
                except (Conflict, NotFound):
                    continue
            freed += size
            deleted.append(id)
        return {"experiments": deleted, "bytes": freed, "dry_run": dry_run}

    # Notebooks

    def notebooks(self) -> dict[str, Any]:
        """The notebooks that can be run by name: {items: [{name, title, description} or {name, error}]}."""
        from dti_service.execution.parameters import notebook_schema

        items = []
        for name, demo in sorted(self.demos.items()):
            if isinstance(demo, Demo):
                schema = notebook_schema(demo.notebook)
                title = schema.get("title") or demo.title or name
                items.append({"name": name, "title": title, "description": schema.get("description", "")})
            else:
                items.append({"name": name, "error": demo.reason})
        return {"items": items}

    def notebook_path(self, name: str, *, trusted: bool = False) -> tuple[Path, Demo | None]:
        """The notebook of that name, or for trusted callers at that path. Raises NotFound."""
        demo = self.demos.get(name)
        if isinstance(demo, Demo):
            return demo.notebook, demo
        if demo is not None:
            raise NotFound(f"The notebook {name} cannot be used: {demo.reason}")
        path = Path(name).expanduser()
        if trusted and path.suffix == ".ipynb":
            if path.is_file():
                return path.resolve(), self._demo_at(path.resolve())
            raise NotFound(f"There is no notebook {path}")
        known = ", ".join(sorted(key for key, value in self.demos.items() if isinstance(value, Demo)))
        raise NotFound(f"There is no notebook {name[:100]}; known: {known}")

    def _demo_at(self, path: Path) -> Demo | None:
        demos = [demo for demo in self.demos.values() if isinstance(demo, Demo)]
        return next((demo for demo in demos if demo.notebook.resolve() == path), None)

    def notebook_schema(self, name: str, *, trusted: bool = False) -> dict[str, Any]:
        """JSON Schema of the parameters. Raises NotFound."""
        from dti_service.execution.parameters import notebook_schema

        path, _ = self.notebook_path(name, trusted=trusted)
        return notebook_schema(path)


def _default_name(request: SubmitRequest) -> str:
    title = Path(request.notebook).stem.replace("_", " ")
    dataset = request.dataset or request.parameters.get("dataset")
    return f"{title}: {Path(str(dataset)).name}" if dataset else title
