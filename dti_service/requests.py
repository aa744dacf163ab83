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

from dti_service import finished, start_from
from dti_service.dataset_paths import SAMPLE
from dti_service.datasets.guard.addresses import AllowList, check_url
from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.prepare import Datasets
from dti_service.devices import device_names
from dti_service.dispatch.slots import can_run
from dti_service.errors import InvalidRequest, NotFound
from dti_service.store import CHECKPOINT

if TYPE_CHECKING:
    from dti_service.service import Service

LONGEST_NAME = 200
PRIORITIES = range(-1000, 1001)
# Given by the service itself to the notebook, never by a client.
INJECTED = ("experiment_dir",)
# Parameters that name a file beside the images.
FILES = ("labels",)
MOST_TAGS, LONGEST_TAG = 32, 64


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
    repeats: str | None = (
        None  # an experiment whose notebook and folders were accepted before, set by the service
    )

    def __post_init__(self) -> None:
        urls = self.notify_url or []
        object.__setattr__(self, "notify_url", [urls] if isinstance(urls, str) else list(urls))
        object.__setattr__(self, "parameters", dict(self.parameters or {}))
        object.__setattr__(self, "device", self.device or "auto")
        object.__setattr__(self, "priority", self.priority or 0)


Problems = list[dict[str, str]]


@dataclass(frozen=True)
class Checked:
    """What a request that can be used comes to."""

    notebook: Path
    parameters: dict[str, Any]
    dataset: str | None
    device: str


def check_request(request: SubmitRequest, service: Service) -> Checked:
    """Raises InvalidRequest with all problems."""
    from dti_service.execution.parameters import NotebookError, notebook_schema, validate

    problems: Problems = []
    parameters = dict(request.parameters)
    repeated = None if request.repeats is None else service.store.get(request.repeats)
    try:
        notebook, demo = service.notebook_of(request)
        schema = notebook_schema(notebook)
    except (NotFound, NotebookError, OSError) as error:
        raise InvalidRequest("The request cannot be used", [_problem("notebook", str(error))]) from None
    for name in INJECTED:
        if parameters.pop(name, None) is not None:
            problems.append(_problem(f"parameters.{name}", "is set by the service"))
    declared = schema.get("properties", {})
    if request.dataset is not None:
        if "dataset" not in declared:
            problems.append(_problem("dataset", "this notebook takes no dataset"))
        elif parameters.setdefault("dataset", request.dataset) != request.dataset:
            problems.append(_problem("dataset", "differs from parameters.dataset: give it once"))
    device = request.device
    if "device" in declared and isinstance(parameters.get("device"), str):
        # Which device it gets is for the queue to say; in the run it has another name.
        asked = parameters.pop("device")
        device = asked if device == "auto" else device
    values, errors = validate(schema, parameters)
    problems += [_problem(f"parameters.{error['field']}", error["reason"]) for error in errors]
    if demo is not None and demo.check is not None:
        known = {problem["field"] for problem in problems}
        found = [_problem(f"parameters.{name}", reason) for name, reason in demo.check(values)]
        problems += [problem for problem in found if problem["field"] not in known]
    for name, reason in finished.problems(
        service.store, demo.name if demo is not None else "", values, trusted=request.trusted
    ):
        problems.append(_problem(f"parameters.{name}", reason))
    for name, reason in start_from.problems(service.store.root, values):
        problems.append(_problem(f"parameters.{name}", reason))
    dataset = parameters.get("dataset")
    if isinstance(dataset, str) and (repeated is None or dataset != repeated.dataset):
        problems += _dataset(dataset, request, service)
    for name in FILES:
        if isinstance(values.get(name), str) and (
            repeated is None or values[name] != repeated.parameters.get(name)
        ):
            problems += _file(name, values[name], request, service)
    problems += _device(device, service)
    problems += _rest(request, service)
    if problems:
        raise InvalidRequest("The request cannot be used", problems)
    return Checked(notebook, values, dataset if isinstance(dataset, str) else None, device)


def _dataset(dataset: str, request: SubmitRequest, service: Service) -> Problems:
    if dataset == SAMPLE:
        return []
    if request.trusted and _is_relative(dataset):
        return [_problem("dataset", RELATIVE)]
    try:
        Datasets.from_settings(service.settings).check(
            dataset, local=request.trusted, owner=request.owner or ""
        )
    except InvalidRequest as error:
        return error.errors
    return []


def _file(name: str, text: str, request: SubmitRequest, service: Service) -> Problems:
    """Whoever is not trusted may name files only in the folders that the server offers."""
    field_name = f"parameters.{name}"
    if request.trusted and _is_relative(text):
        return [_problem(field_name, RELATIVE)]
    try:
        path = Path(text).expanduser()
        if not request.trusted:
            roots = service.settings.dataset_roots
            # Resolved first, so that neither ".." nor a link leads out of the allowed folders.
            if not any(
                path.is_absolute() and path.resolve().is_relative_to(root.resolve()) for root in roots
            ):
                return [
                    _problem(field_name, "must be a file in a folder that this server is set up to offer")
                ]
        if not path.is_file():
            return [_problem(field_name, "there is no such file")]
    except (OSError, RuntimeError, ValueError):
        return [_problem(field_name, "is not the path of a file")]
    return []


RELATIVE = "must be an absolute path: the run has another current folder"


def _is_relative(text: str) -> bool:
    try:
        path = Path(text).expanduser()
        return not path.is_absolute() and path.exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _device(device: str, service: Service) -> Problems:
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", device):
        return [_problem("device", "must be auto, cpu, cuda or cuda:N")]
    if service.settings.redis_url is None and not can_run(service.settings, device):
        here = ", ".join(device_names(service.settings))
        return [_problem("device", f"there is no {device} here; experiments run on {here}")]
    return []


def _rest(request: SubmitRequest, service: Service) -> Problems:
    problems: Problems = []
    if request.name is not None and not 0 < len(request.name.strip()) <= LONGEST_NAME:
        problems.append(_problem("name", f"must have 1 to {LONGEST_NAME} characters"))
    if request.priority not in PRIORITIES:
        problems.append(_problem("priority", f"must be from {PRIORITIES[0]} to {PRIORITIES[-1]}"))
    allowed = AllowList.parse(service.settings.allow_hosts)
    for url in request.notify_url:
        try:
            check_url(url, allowed)
        except GuardError as error:
            problems.append(_problem("notify_url", f"{error.reason}; {error.remedy}"))
    if request.time_limit_s is not None and not 0 < request.time_limit_s <= service.settings.time_limit_s:
        limit = round(service.settings.time_limit_s)
        problems.append(_problem("time_limit_s", f"must be more than 0 and at most {limit}"))
    if request.resume_from is not None:
        problems += _resume(request.resume_from, service)
    return problems


def check_annotations(changes: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for a name, tags or a mark to keep that cannot be used."""
    problems: Problems = []
    for name, value in changes.items():
        if name == "name":
            fits = isinstance(value, str) and 0 < len(value.strip()) <= LONGEST_NAME
            reason = f"must have 1 to {LONGEST_NAME} characters"
        elif name == "tags":
            fits = (
                isinstance(value, list)
                and len(value) <= MOST_TAGS
                and all(isinstance(tag, str) and 0 < len(tag.strip()) <= LONGEST_TAG for tag in value)
            )
            reason = f"must be at most {MOST_TAGS} words of 1 to {LONGEST_TAG} characters"
        elif name == "keep":
            fits, reason = isinstance(value, bool), "must be true or false"
        else:
            fits, reason = False, "cannot be changed"
        if not fits:
            problems.append(_problem(name, reason))
    if problems:
        raise InvalidRequest("The changes cannot be used", problems)


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
    for name in ("owner", "idempotency_key", "trusted", "repeats"):
        values.pop(name)
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _problem(field_name: str, reason: str) -> dict[str, str]:
    return {"field": field_name, "reason": reason}
