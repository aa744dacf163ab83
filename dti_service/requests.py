"""A request for an experiment, and everything that can be wrong with it before anything is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dti_service.dataset_paths import SAMPLE
from dti_service.datasets.prepare import Datasets
from dti_service.errors import InvalidRequest, NotFound
from dti_service.store import CHECKPOINT

if TYPE_CHECKING:
    from dti_service.service import Service

LONGEST_NAME = 200
PRIORITIES = range(-1000, 1001)
# Given by the service itself to the notebook, never by a client.
INJECTED = ("experiment_dir",)


@dataclass(frozen=True)
class SubmitRequest:
    """What a client asks for. `trusted` callers (the local command line) may name any notebook and folder."""

    notebook: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    name: str | None = None
    notify_url: list[str] | str = field(default_factory=list)
    priority: int = 0
    device: str = "auto"
    resume_from: str | None = None
    owner: str | None = None
    idempotency_key: str | None = None
    time_limit_s: float | None = None
    trusted: bool = False

    def __post_init__(self) -> None:
        urls = self.notify_url or []
        object.__setattr__(self, "notify_url", [urls] if isinstance(urls, str) else list(urls))
        object.__setattr__(self, "parameters", dict(self.parameters or {}))
        object.__setattr__(self, "device", self.device or "auto")
        object.__setattr__(self, "priority", self.priority or 0)


Problems = list[dict[str, str]]


def check_request(request: SubmitRequest, service: Service) -> tuple[Path, dict[str, Any]]:
    """The notebook's file and the parameters to run it with. Raises InvalidRequest with all problems."""
    from dti_service.execution.parameters import validate

    problems: Problems = []
    parameters = dict(request.parameters)
    try:
        notebook, demo = service.notebook_path(request.notebook, trusted=request.trusted)
    except NotFound as error:
        raise InvalidRequest("The request cannot be used", [_problem("notebook", str(error))]) from None
    schema = service.notebook_schema(request.notebook, trusted=request.trusted)
    for name in INJECTED:
        if parameters.pop(name, None) is not None:
            problems.append(_problem(f"parameters.{name}", "is set by the service"))
    declared = schema.get("properties", {})
    if request.dataset is not None:
        if "dataset" not in declared:
            problems.append(_problem("dataset", "this notebook takes no dataset"))
        elif parameters.setdefault("dataset", request.dataset) != request.dataset:
            problems.append(_problem("dataset", "differs from parameters.dataset: give it once"))
    if "device" in declared and request.device != "auto":
        parameters.pop("device", None)
    values, errors = validate(schema, parameters)
    problems += [_problem(f"parameters.{error['field']}", error["reason"]) for error in errors]
    if demo is not None and demo.check is not None:
        known = {problem["field"] for problem in problems}
        found = [_problem(f"parameters.{name}", reason) for name, reason in demo.check(values)]
        problems += [problem for problem in found if problem["field"] not in known]
    dataset = parameters.get("dataset")
    if isinstance(dataset, str):
        problems += _dataset(dataset, request, service)
    problems += _rest(request, service)
    if problems:
        raise InvalidRequest("The request cannot be used", problems)
    return notebook, values


def _dataset(dataset: str, request: SubmitRequest, service: Service) -> Problems:
    if dataset == SAMPLE:
        return []
    path = Path(dataset).expanduser()
    if request.trusted and not path.is_absolute() and path.exists():
        return [_problem("dataset", "must be an absolute path: the run has another current folder")]
    try:
        Datasets.from_settings(service.settings).check(
            dataset, local=request.trusted, owner=request.owner or ""
        )
    except InvalidRequest as error:
        return error.errors
    return []


def _rest(request: SubmitRequest, service: Service) -> Problems:
    problems: Problems = []
    if request.name is not None and not 0 < len(request.name.strip()) <= LONGEST_NAME:
        problems.append(_problem("name", f"must have 1 to {LONGEST_NAME} characters"))
    if request.priority not in PRIORITIES:
        problems.append(_problem("priority", f"must be from {PRIORITIES[0]} to {PRIORITIES[-1]}"))
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", request.device):
        problems.append(_problem("device", "must be auto, cpu, cuda or cuda:N"))
    for url in request.notify_url:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or len(url) > 4096:
            problems.append(_problem("notify_url", f"must be an http or https address, not {url[:100]!r}"))
    if request.time_limit_s is not None and not 0 < request.time_limit_s <= service.settings.time_limit_s:
        limit = round(service.settings.time_limit_s)
        problems.append(_problem("time_limit_s", f"must be more than 0 and at most {limit}"))
    if request.resume_from is not None:
        problems += _resume(request.resume_from, service)
    return problems


def _resume(id: str, service: Service) -> Problems:
    try:
        folder = service.store.directory(id) / CHECKPOINT
        experiment = service.store.get(id)
    except NotFound as error:
        return [_problem("resume_from", str(error))]
    if not experiment.ended:
        return [_problem("resume_from", f"experiment {id} has not ended")]
    if not folder.is_dir() or not any(folder.iterdir()):
        return [_problem("resume_from", f"experiment {id} left no checkpoint")]
    return []


def digest(request: SubmitRequest) -> str:
    """Equal for requests that ask for the same: tells whether an idempotency key is used twice for one thing."""
    values = dataclasses.asdict(request)
    for name in ("owner", "idempotency_key", "trusted"):
        values.pop(name)
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _problem(field_name: str, reason: str) -> dict[str, str]:
    return {"field": field_name, "reason": reason}
