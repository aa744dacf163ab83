"""The body of `POST /clustering/start`, in the forms that four generations of fronts send it.

Form or JSON is told by the content type, an old or new dataset by the keys, flat or nested parameters by their types;
each of `documents`, `crops` and `parameters` may be a JSON value or its text.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from dti_service.errors import BadRequest, InvalidRequest
from dti_sprites.errors import ConfigError
from dti_sprites.platform import config_from_parameters

JSONParser = Callable[[bytes], Any]

# The kinds of documents that a front may name; others of ours (folders, uploads) are not for it.
DOCUMENT_TYPES = ("zip", "pdf", "iiif", "url_list", "img")
LONGEST_ID = 200
# Keys of the request that are no parameters, when those are spread beside them.
_OWN_KEYS = frozenset(
    {
        "experiment_id",
        "clustering_id",
        "notify_url",
        "parameters",
        "documents",
        "crops",
        "dataset_url",
        "dataset_id",
    }
)

Problems = list[dict[str, str]]


@dataclass(frozen=True)
class Start:
    """A request to cluster, whatever generation it came from."""

    experiment_id: str  # the front's own name for the task
    documents: list[dict[str, Any]]
    parameters: dict[str, Any]
    crops: list[Any] | None = None
    notify_url: str | None = None
    echo: dict[str, Any] = field(default_factory=dict)  # what the answer repeats besides the ids

    @property
    def dataset(self) -> dict[str, Any]:
        """The same as a request for a dataset."""
        body: dict[str, Any] = {"documents": self.documents, "unreadable": "skip"}
        return {**body, "crops": self.crops} if self.crops else body


def read_body(content_type: str, body: bytes, parse_json: JSONParser) -> dict[str, Any]:
    """The fields of a form or of a JSON object. `BadRequest` when it is neither."""
    kind = content_type.split(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        try:
            return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=1000))
        except ValueError as error:
            raise BadRequest("The form cannot be read") from error
    value = parse_json(body) if body.strip() else {}
    if not isinstance(value, dict):
        raise BadRequest("The body must be a form or a JSON object")
    return value


def read_start(values: Mapping[str, Any], parse_json: JSONParser) -> Start:
    """What a front asks for. Raises InvalidRequest with every problem that can be told before any download."""
    problems: Problems = []
    given = {name: value for name, value in values.items() if value is not None and value != ""}

    def decoded(name: str, kind: type, words: str) -> Any:
        value = given.get(name)
        if isinstance(value, str):
            try:
                value = parse_json(value.encode("utf-8", errors="replace"))
            except BadRequest:
                problems.append(_problem(name, "is not valid JSON"))
                return None
        if value is not None and not isinstance(value, kind):
            problems.append(_problem(name, f"must be {words}"))
            return None
        return value

    experiment_id = _identifier(given, problems)
    documents = _documents(given, decoded, problems)
    crops = decoded("crops", list, "a list")
    if "parameters" in given:
        parameters = decoded("parameters", dict, "an object") or {}
    else:
        parameters = {name: value for name, value in given.items() if name not in _OWN_KEYS}
    problems += check_parameters(parameters)
    notify_url = given.get("notify_url")
    if notify_url is not None and not isinstance(notify_url, str):
        problems.append(_problem("notify_url", "must be an address"))
    if problems:
        raise InvalidRequest("The task cannot be started", problems)
    echo: dict[str, Any] = {name: given[name] for name in ("clustering_id", "dataset_id") if name in given}
    return Start(experiment_id, documents, parameters, crops or None, notify_url, echo)


def check_parameters(parameters: Mapping[str, Any]) -> Problems:
    """What is wrong with a front's parameters; nothing for those that can be run."""
    try:
        config_from_parameters(parameters)
    except ConfigError as error:
        return [_problem(f"parameters.{name}", reason) for name, reason in error.errors]
    return []


def check_notebook(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Problems in the parameters of the notebook `dti_discover`, for requests that do not come from a front."""
    found = check_parameters(values.get("request") or {})
    return [(f"request.{item['field'].removeprefix('parameters.')}", item["reason"]) for item in found]


def _identifier(given: Mapping[str, Any], problems: Problems) -> str:
    value = given.get("experiment_id", given.get("clustering_id"))
    if value is None:
        return str(uuid.uuid4())
    if not isinstance(value, str | int) or not str(value).isprintable() or len(str(value)) > LONGEST_ID:
        problems.append(_problem("experiment_id", f"must be a text of at most {LONGEST_ID} characters"))
        return ""
    return str(value)


def _documents(
    given: Mapping[str, Any], decoded: Callable[..., Any], problems: Problems
) -> list[dict[str, Any]]:
    found = decoded("documents", list, "a list of documents")
    if found is None and not any(problem["field"] == "documents" for problem in problems):
        if "dataset_url" not in given:
            problems.append(_problem("documents", "is required (or dataset_url)"))
            return []
        if not isinstance(given["dataset_url"], str):
            problems.append(_problem("dataset_url", "must be an address"))
            return []
        return [{"type": "zip", "src": given["dataset_url"]}]
    documents = []
    for number, item in enumerate(found or []):
        kind = item.get("type") if isinstance(item, dict) else None
        if kind in DOCUMENT_TYPES:
            documents.append(
                {name: item[name] for name in ("type", "src", "uid") if item.get(name) is not None}
            )
        elif not isinstance(item, dict):
            problems.append(
                _problem(f"documents[{number}]", 'must be an object such as {"type": "zip", "src": "..."}')
            )
        else:
            problems.append(
                _problem(f"documents[{number}].type", f"must be one of {', '.join(DOCUMENT_TYPES)}")
            )
    if found == []:
        problems.append(_problem("documents", "must name at least one document"))
    return documents


def _problem(field_name: str, reason: str) -> dict[str, str]:
    return {"field": field_name[:120], "reason": reason}


def readable(message: str, problems: Problems) -> str:
    """One line for a front, which shows a refusal as it is."""
    details = "; ".join(f"{item['field']}: {item['reason']}" for item in problems)
    return f"{message}: {details}" if details else message
