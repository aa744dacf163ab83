"""The use cases: what REST, the command line and the compatibility routes can do with experiments."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dti_service.demos import Demo, find_demos, with_page
from dti_service.errors import Conflict, InvalidRequest, NotFound, Unavailable
from dti_service.experiment import Experiment, timestamp, transition
from dti_service.finished import NOTEBOOK as ASSIGN_NOTEBOOK
from dti_service.finished import PARAMETER as FINISHED
from dti_service.finished import check_finished
from dti_service.ids import is_id, new_id
from dti_service.index import Query
from dti_service.locks import try_lock
from dti_service.monitor import monitor as monitor_view
from dti_service.monitor import workers as workers_view
from dti_service.naming import default_name
from dti_service.quotas import Quotas, enough_room, folder_size
from dti_service.recovery import recover
from dti_service.requests import LONGEST_NAME, SubmitRequest, check_annotations, check_request, digest
from dti_service.retention import age_s, expired, last_used, unused
from dti_service.settings import Settings
from dti_service.store import CHECKPOINT, SOURCE, Store
from dti_service.views import experiment_view

__all__ = ["Service", "SubmitRequest"]

log = logging.getLogger(__name__)

Announce = Callable[[Experiment], None]

CANCEL_CLAIM_S = 0.5
KEY_LOCK_S = 10.0
DAY_S = 24 * 3600.0


class Service:
    """Experiments of one data directory. Everything here may block shortly; nothing here runs notebooks."""

    def __init__(self, settings: Settings, *, wake: Any = None) -> None:
        self.settings = settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self.store = Store(settings.data_dir)
        self.quotas = Quotas(settings, self.store)
        self.demos = find_demos(settings.installed_demos)
        self._wake = wake or (lambda: None)

    def on_change(self, wake: Any) -> None:
        """`wake()` is called when there may be something new for a dispatcher to do."""
        self._wake = wake

    # One experiment

    def submit(self, request: SubmitRequest, announce: Announce | None = None) -> Experiment:
        """Check a request and queue it. Nothing is written unless all of it is right. `announce` is called with a new
        experiment before anybody can see it.

        Raises InvalidRequest with every problem, Conflict for an idempotency key used before for something else and
        for a user who has no more room, Unavailable when the disk is nearly full.
        """
        if not request.idempotency_key:
            return self._submit(request, announce)
        # Two requests with one key may arrive at once, at several servers.
        with try_lock(self.store.locks / "idempotency.lock", KEY_LOCK_S) as alone:
            if not alone:
                raise Unavailable("Too many requests at once: try again")
            earlier = self.store.find_by_key(request.idempotency_key, request.owner)
            if earlier is None:
                return self._submit(request, announce)
        if earlier.request_digest != digest(request):
            raise Conflict("This Idempotency-Key was used for another request")
        return earlier

    def _images(self, dataset: str | None) -> str | None:
        """What a dataset is called: one of this server by its own name, never by its id."""
        if dataset is None or not is_id(dataset):
            return dataset
        with contextlib.suppress(NotFound, OSError, ValueError):
            return self.quotas.catalogue.get(dataset).name or None
        return None

    def _submit(self, request: SubmitRequest, announce: Announce | None) -> Experiment:
        checked = check_request(request, self)
        self.quotas.check_experiment(request.owner)
        if not enough_room(self.settings):
            raise Unavailable("The data disk is nearly full: delete old experiments first")
        now = timestamp()
        experiment = Experiment(
            id=new_id(),
            notebook=request.notebook,
            name=request.name or default_name(request.notebook, self._images(checked.dataset)),
            parameters=checked.parameters,
            dataset=checked.dataset,
            owner=request.owner,
            priority=request.priority,
            device=checked.device,
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
        try:
            self._note_use(checked.dataset, experiment.id)
            if announce is not None:
                announce(experiment)
            self.store.create(experiment, checked.notebook, checkpoint)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable("The data disk is full: delete old experiments first") from error
            raise
        self._wake()
        return experiment

    def _note_use(self, dataset: str | None, id: str) -> None:
        """Mark a dataset before the experiment exists that names it, so that no cleanup takes it away in between."""
        if dataset is None or not is_id(dataset):
            return
        try:
            self.quotas.catalogue.mark_used(dataset, id)
        except FileNotFoundError:
            problem = {"field": "dataset", "reason": f"the dataset {dataset} has just been deleted"}
            raise InvalidRequest("The request cannot be used", [problem]) from None

    def rerun(
        self,
        id: str,
        changes: Mapping[str, Any] | None = None,
        *,
        owner: str | None = None,
        trusted: bool = False,
        announce: Announce | None = None,
    ) -> Experiment:
        """Queue the request of an experiment again, with `changes`. Raises as `submit`, and ExperimentNotFound.

        Its notebook and folders were accepted the first time, and are now too, whoever asks. Of `parameters`, only
        what differs is said; null takes a parameter back to the notebook's default.
        """
        experiment = self.store.get(id)
        given = {name: value for name, value in (changes or {}).items() if value is not None}
        parameters = {**experiment.parameters, **given.pop("parameters", {})}
        # Said twice, the later word counts: a changed `dataset` stands in both places.
        dataset = given.pop("dataset", None) or parameters.get("dataset") or experiment.dataset
        parameters.pop("dataset", None)
        values: dict[str, Any] = {
            "notebook": experiment.notebook,
            "name": experiment.name,
            "notify_url": experiment.notify_url,
            "priority": experiment.priority,
            "device": experiment.device,
            "time_limit_s": experiment.time_limit_s,
            "owner": owner or experiment.owner,
            **given,
            "parameters": {name: value for name, value in parameters.items() if value is not None},
            "dataset": dataset,
        }
        repeats = None if "notebook" in given else id
        return self.submit(SubmitRequest(**values, trusted=trusted, repeats=repeats), announce)

    def assign(self, id: str, request: SubmitRequest, announce: Announce | None = None) -> Experiment:
        """Queue a run that labels the dataset of `request` with the model of a finished experiment.

        The notebook of `request` does not matter. Raises as `submit`, ExperimentNotFound, and Conflict when the
        experiment has not succeeded or left no model.
        """
        source = check_finished(self.store, id)
        parameters = {**request.parameters, FINISHED: id}
        if request.parameters.get(FINISHED, id) != id:
            reason = "is the experiment of the address: leave it out"
            raise InvalidRequest(
                "The request cannot be used", [{"field": f"parameters.{FINISHED}", "reason": reason}]
            )
        name = request.name or f"{source.name}: new images"[:LONGEST_NAME]
        whole = replace(request, notebook=ASSIGN_NOTEBOOK, parameters=parameters, name=name)
        return self.submit(whole, announce)

    def get(self, id: str) -> dict[str, Any]:
        """The experiment as clients see it. Raises ExperimentNotFound."""
        experiment = self.store.get(id)
        positions = self.queue_positions() if experiment.state == "queued" else {}
        return self._view(experiment, positions)

    def patch(self, id: str, **changes: Any) -> Experiment:
        """Change name, tags or keep. Raises ExperimentNotFound, InvalidRequest."""
        given = {name: value for name, value in changes.items() if value is not None}
        check_annotations(given)
        return self.store.annotate(id, **given)

    def cancel(self, id: str, by: str | None = None) -> Experiment:
        """Ask for the end of an experiment; one that has ended stays as it is. Raises ExperimentNotFound."""
        experiment = self.store.get(id)
        if experiment.ended:
            return experiment
        self.store.request_cancel(id, by)
        with self.store.claim(id, CANCEL_CLAIM_S) as free:
            experiment = self.store.get(id)
            if free and experiment.state == "queued":
                experiment = transition(experiment, "cancelled")
                self.store.save(experiment)
                self.store.events(id).append("state", state="cancelled", attempt=experiment.attempt)
        if experiment.state == "running" and not self.store.alive(id):
            recover(self.store, self.settings)
            experiment = self.store.get(id)
        self._wake()
        return experiment

    def delete(self, id: str, *, force: bool = False) -> None:
        """Remove an experiment and all its files.

        Raises ExperimentNotFound, and Conflict while it runs or, without `force`, while it is marked to be kept.
        """
        if not self.store.delete(id, unless_kept=not force):
            reason = f"Experiment {id} is marked to be kept: take that mark away first (keep: false), or ask with force"
            raise Conflict(reason)

    # Many experiments

    def list(self, **query: Any) -> dict[str, Any]:
        """{items, next_cursor, total}; and while a new index is being built `index`: {building, done, total}, the list
        being that of the newest so far. Raises BadRequest for an unknown sort or cursor."""
        page = self.store.page(Query(**{name: value for name, value in query.items() if value is not None}))
        answer: dict[str, Any] = {
            "items": self._views(page.items),
            "next_cursor": page.next_cursor,
            "total": page.total,
        }
        building = self.store.index.building
        if building is not None:
            answer["index"] = {"building": True, "done": building.done, "total": building.total}
        return answer

    def views(self, ids: Iterable[str]) -> Sequence[dict[str, Any]]:
        """These experiments as clients see them; those that do not exist, or cannot be read, are left out."""
        found = []
        for id in ids:
            with contextlib.suppress(NotFound, ValueError):
                found.append(self.store.get(id))
        return self._views(found)

    def _views(self, experiments: Sequence[Experiment]) -> Sequence[dict[str, Any]]:
        waits = any(experiment.state == "queued" for experiment in experiments)
        positions = self.queue_positions() if waits else {}
        return [self._view(experiment, positions) for experiment in experiments]

    def _view(self, experiment: Experiment, positions: Mapping[str, int]) -> dict[str, Any]:
        return with_page(self.demos, experiment_view(experiment, self.store, positions))

    def queue_positions(self) -> dict[str, int]:
        """1 for the experiment that runs next, and so on; nobody's while not all that wait are known."""
        if self.store.index.building is not None:
            return {}
        return {id: place for place, (id, _) in enumerate(self.store.waiting(), start=1)}

    def queue(self) -> dict[str, Any]:
        """What waits, in order, and what runs."""
        return {"queued": self._views(self.store.queued()), "running": self._views(self.store.running())}

    def workers(self) -> dict[str, Any]:
        return workers_view(self.store)

    def monitor(self) -> dict[str, Any]:
        return monitor_view(self.settings, self.store)

    def reindex(self) -> dict[str, Any]:
        """Build the index anew from the directories: {experiments, skipped: [{path, reason}]}."""
        return self.store.index.rebuild()

    def cleanup(
        self,
        older_than: str | float,
        *,
        datasets_older_than: str | float | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Delete experiments that ended longer ago than this ("30d", or seconds) and are not kept; and datasets that no
        remaining experiment uses, when they were neither made nor used since `datasets_older_than` (None: as the
        setting says, which may be never).

        Returns {experiments: [ids], datasets: [ids], bytes, dry_run}. Raises InvalidRequest for a time that is none.
        """
        if datasets_older_than is None and self.settings.dataset_retention_days:
            datasets_older_than = self.settings.dataset_retention_days * DAY_S
        if datasets_older_than is not None:
            age_s(datasets_older_than, "datasets_older_than")  # nothing is deleted when the request is wrong
        freed = 0
        deleted = []
        for id in expired(self.store, older_than):
            try:
                size = folder_size(self.store.directory(id))
                if not dry_run and not self.store.delete(id, unless_kept=True):
                    continue
            except (Conflict, NotFound, ValueError, OSError) as error:
                log.warning("Experiment %s is not removed now: %s", id, error)
                continue
            freed += size
            deleted.append(id)
        datasets: Sequence[str] = ()
        if datasets_older_than is not None:
            datasets, more = self._clean_datasets(datasets_older_than, deleted, dry_run)
            freed += more
        return {"experiments": deleted, "datasets": [*datasets], "bytes": freed, "dry_run": dry_run}

    def _clean_datasets(
        self, older_than: str | float, without: Sequence[str], dry_run: bool
    ) -> tuple[Sequence[str], int]:
        catalogue = self.quotas.catalogue
        limit = time.time() - age_s(older_than)
        freed = 0
        deleted = []
        for id in unused(self.store, catalogue, older_than, without=set(without)):
            try:
                size = folder_size(catalogue.directory(id))
                # A request that names it may have been accepted since it was looked for: that leaves a mark.
                if not dry_run and last_used(catalogue, catalogue.get(id)) >= limit:
                    continue
                if not dry_run:
                    catalogue.delete(id)
            except (Conflict, NotFound, OSError) as error:
                log.warning("Dataset %s is not removed now: %s", id, error)
                continue
            freed += size
            deleted.append(id)
        return deleted, freed

    # Notebooks

    def notebooks(self) -> dict[str, Any]:
        """The notebooks that can be run by name: {items: [{name, title, description, version} or {name, error}]}."""
        from dti_service.execution.parameters import NotebookError, notebook_schema

        items = []
        for name, demo in sorted(self.demos.items()):
            if not isinstance(demo, Demo):
                items.append({"name": name, "error": demo.reason})
                continue
            try:
                schema = notebook_schema(demo.notebook)
            except (NotebookError, OSError) as error:
                items.append({"name": name, "error": f"its notebook cannot be read: {error}"})
                continue
            title = schema.get("title") or demo.title or name
            description = schema.get("description") or demo.description
            items.append({"name": name, "title": title, "description": description, "version": demo.version})
        return {"items": items}

    def notebook_of(self, request: SubmitRequest) -> tuple[Path, Demo | None]:
        """The notebook that a request asks for; one that is repeated is kept in its experiment. Raises NotFound."""
        try:
            return self.notebook_path(request.notebook, trusted=request.trusted)
        except NotFound:
            if request.repeats is None:
                raise
            kept = self.store.directory(request.repeats) / SOURCE
            if not kept.is_file():
                raise
            return kept, None

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
