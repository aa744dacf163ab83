"""How clients see an experiment: the record, and what is known only at this moment."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from dti_service.errors import NotFound
from dti_service.experiment import Experiment
from dti_service.store import CANCEL, NOTEBOOK, RESULTS, Store

NO_PROGRESS = {"step": 0, "total": 0, "unit": "", "eta_s": None, "phase": "", "images": None, "cell": None}


def experiment_view(
    experiment: Experiment, store: Store, positions: Mapping[str, int], base: str = "/dti/api/experiments"
) -> dict[str, Any]:
    """The experiment object of the REST interface."""
    folder = store.root / experiment.id
    state: str = experiment.state
    if state == "running" and (folder / CANCEL).exists():
        state = "cancelling"
    progress = None
    if experiment.attempt:
        with contextlib.suppress(NotFound, OSError):
            progress = store.progress(experiment.id)
    return {
        "id": experiment.id,
        "name": experiment.name,
        "state": state,
        "notebook": experiment.notebook,
        "parameters": experiment.parameters,
        "dataset": experiment.dataset,
        "tags": experiment.tags,
        "keep": experiment.keep,
        "owner": experiment.owner,
        "origin": experiment.origin,
        "priority": experiment.priority,
        "created_at": experiment.created_at,
        "queued_at": experiment.queued_at,
        "started_at": experiment.started_at,
        "finished_at": experiment.finished_at,
        "attempt": experiment.attempt,
        "device": experiment.assigned_device or experiment.device,
        "queue_position": positions.get(experiment.id),
        "progress": {**NO_PROGRESS, **(progress or {})},
        "metrics": experiment.metrics,
        "error": experiment.error,
        "resume_from": experiment.resume_from,
        "links": _links(
            experiment, base, (folder / NOTEBOOK).exists(), (folder / RESULTS / "report.html").exists()
        ),
    }


def _links(experiment: Experiment, base: str, notebook: bool, report: bool) -> dict[str, str]:
    self_link = f"{base}/{experiment.id}"
    names = ["events", "log", "artifacts", "results.zip", "curations"]
    names += ["notebook", "notebook.html"] if notebook else []
    names += ["report.html"] if report else []
    return {"self": self_link, **{name.replace(".", "_"): f"{self_link}/{name}" for name in names}}
