"""One function for each route: what is asked, and how the answer is read. Used by both clients."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from dti_service.client.uploads import AsyncForm, Form

R = TypeVar("R")
View = dict[str, Any]
Page = dict[str, Any]

API = "dti/api"
FINISHED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Call(Generic[R]):
    """A request and the function that reads its answer. `repeatable`: sending it twice does no harm."""

    method: str
    path: str
    parse: Callable[[httpx.Response], R]
    options: dict[str, Any] = field(default_factory=dict)
    repeatable: bool = True


def _json(answer: httpx.Response) -> Any:
    return answer.json()


def _nothing(answer: httpx.Response) -> None:
    return None


def _content(answer: httpx.Response) -> bytes:
    return answer.content


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def experiment_path(id: str, *rest: str) -> str:
    return "/".join([API, "experiments", quote(id, safe=""), *rest])


def submit(
    notebook: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    dataset: str | None = None,
    name: str | None = None,
    notify_url: str | Sequence[str] | None = None,
    priority: int | None = None,
    device: str | None = None,
    resume_from: str | None = None,
    idempotency_key: str | None = None,
) -> Call[View]:
    """Queue a notebook; returns the experiment. Sent with an idempotency key (a new one unless given), so that a
    request repeated after a broken connection never queues twice."""
    body = _given(
        notebook=notebook,
        parameters=dict(parameters) if parameters is not None else None,
        dataset=dataset,
        name=name,
        notify_url=notify_url if notify_url is None or isinstance(notify_url, str) else list(notify_url),
        priority=priority,
        device=device,
        resume_from=resume_from,
    )
    key = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return Call("POST", f"{API}/experiments", _json, {"json": body, "headers": key})


def get(id: str) -> Call[View]:
    """One experiment. `NotFound` when there is none."""
    return Call("GET", experiment_path(id), _json)


def list_(
    *,
    state: str | None = None,
    notebook: str | None = None,
    q: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Page]:
    """A page of experiments, newest first: `{"items", "next_cursor", "total"}`."""
    query = _given(state=state, notebook=notebook, q=q, sort=sort, limit=limit, cursor=cursor)
    return Call("GET", f"{API}/experiments", _json, {"params": query})


def cancel(id: str) -> Call[View]:
    """Ask a queued or running experiment to stop; what it has made is kept."""
    return Call("POST", experiment_path(id, "cancel"), _json)


def rerun(id: str, **changes: Any) -> Call[View]:
    """Queue the same request again, with other `parameters`, `name`, `device` ... where given."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    return Call("POST", experiment_path(id, "rerun"), _json, {"json": changes, "headers": key})


def assign(
    id: str,
    dataset: str | None = None,
    *,
    documents: Sequence[Mapping[str, Any]] | None = None,
    idempotency_key: str | None = None,
    **options: Any,
) -> Call[View]:
    """Queue a run that labels new images with the model of a finished experiment; returns that new experiment.

    The images are a `dataset`, as for `submit`, or `documents` that the server fetches. `options`: `name`, `device`,
    `priority`, `notify_url`, `parameters` of the notebook `assign_images`. `Conflict` unless the experiment has
    succeeded and left a model. Its results have the layout of any run; `fits` in the table tells which images the
    model knows."""
    listed = None if documents is None else [dict(document) for document in documents]
    body = _given(dataset=dataset, documents=listed, **options)
    key = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    return Call("POST", experiment_path(id, "assign"), _json, {"json": body, "headers": key})


def update(
    id: str, *, name: str | None = None, tags: Sequence[str] | None = None, keep: bool | None = None
) -> Call[View]:
    """Change what people call an experiment, its tags, and whether clean-up spares it."""
    body = _given(name=name, tags=list(tags) if tags is not None else None, keep=keep)
    return Call("PATCH", experiment_path(id), _json, {"json": body})


def delete(id: str, *, force: bool = False) -> Call[None]:
    """Delete an experiment and its files. `Conflict` while it runs, and while it is to be kept unless with `force`."""
    return Call("DELETE", experiment_path(id), _nothing, {"params": {"force": "true"}} if force else {})


def log(id: str, start: int = 0) -> Call[bytes]:
    """What the notebook has printed, from byte `start` on; empty when there is no more."""

    # The byte before is asked for, too: a file that has not grown then has something to answer, which is no error.
    def parse(answer: httpx.Response) -> bytes:
        if answer.status_code in (404, 416):
            return b""
        return answer.content[1:] if answer.status_code == 206 else answer.content[start:]

    headers = {"Range": f"bytes={start - 1}-"} if start else {}
    return Call("GET", experiment_path(id, "log"), parse, {"headers": headers})


def events(id: str, *, after: int = 0) -> Call[list[dict[str, Any]]]:
    """The events there are after a position, each with its own position as `id`."""
    options = {"params": {"after": after}, "headers": {"Accept": "application/json"}}
    return Call("GET", experiment_path(id, "events"), lambda answer: answer.json()["items"], options)


def notebook(id: str) -> Call[View]:
    """The executed notebook as it stands."""
    return Call("GET", experiment_path(id, "notebook"), _json)


def artifacts(id: str) -> Call[list[View]]:
    """The files that the experiment has made so far: `path`, `size`, ..."""
    return Call("GET", experiment_path(id, "artifacts"), lambda answer: answer.json()["items"])


def artifact(id: str, path: str) -> Call[bytes]:
    """The content of one file of `artifacts`."""
    return Call("GET", experiment_path(id, "artifacts", quote(path)), _content)


def results(id: str) -> Call[bytes]:
    """The zip of all results."""
    return Call("GET", experiment_path(id, "results.zip"), _content)


def whole(id: str) -> Call[bytes]:
    """The zip of everything that is kept of an experiment, as `dti import` takes it."""
    return Call("GET", experiment_path(id, "experiment.zip"), _content)


def datasets(
    *, state: str | None = None, q: str | None = None, limit: int | None = None, cursor: str | None = None
) -> Call[Page]:
    """A page of datasets, newest first."""
    query = _given(state=state, q=q, limit=limit, cursor=cursor)
    return Call("GET", f"{API}/datasets", _json, {"params": query})


def dataset(id: str) -> Call[View]:
    """One dataset: `state` is queued, downloading, ready or failed."""
    return Call("GET", f"{API}/datasets/{quote(id, safe='')}", _json)


def add_documents(documents: Sequence[Mapping[str, Any]], *, name: str | None = None) -> Call[View]:
    """A dataset of documents that the server fetches: `{"type": "iiif", "src": address}`; also zip, pdf, url_list."""
    body = _given(documents=[dict(document) for document in documents], name=name)
    return Call("POST", f"{API}/datasets", _json, {"json": body}, repeatable=False)


def update_dataset(id: str, *, keep: bool) -> Call[View]:
    """Change whether a dataset is to be kept: no clean-up takes it, and it is deleted only with `force`."""
    return Call("PATCH", f"{API}/datasets/{quote(id, safe='')}", _json, {"json": {"keep": keep}})


def delete_dataset(id: str, *, force: bool = False) -> Call[None]:
    """Delete a dataset and its images. `Conflict` while experiments use it, and while it is to be kept unless with
    `force`."""
    options = {"params": {"force": "true"}} if force else {}
    return Call("DELETE", f"{API}/datasets/{quote(id, safe='')}", _nothing, options)


def upload(form: Form | AsyncForm) -> Call[View]:
    return Call(
        "POST", f"{API}/datasets", _json, {"content": form, "headers": form.headers}, repeatable=False
    )


def notebooks() -> Call[list[View]]:
    """The notebooks that can be submitted by name."""
    return Call("GET", f"{API}/notebooks", lambda answer: answer.json()["items"])


def notebook_schema(name: str) -> Call[View]:
    """One notebook with the JSON Schema of its parameters."""
    return Call("GET", f"{API}/notebooks/{quote(name, safe='')}", _json)


def queue() -> Call[View]:
    """What waits, in the order in which it will start."""
    return Call("GET", f"{API}/queue", _json)


def workers() -> Call[View]:
    """The devices and what runs on them."""
    return Call("GET", f"{API}/workers", _json)


def monitor() -> Call[View]:
    """Sizes on disk, counts, devices."""
    return Call("GET", f"{API}/monitor", _json)


def cleanup(older_than: str, *, datasets_older_than: str | None = None, dry_run: bool = False) -> Call[View]:
    """Delete finished experiments older than `older_than` ("30d", "12h") that are not marked `keep`; and datasets that
    no experiment uses, for as long as `datasets_older_than` (None: as the server's setting says)."""
    body = {"older_than": older_than, "datasets_older_than": datasets_older_than, "dry_run": dry_run}
    given = {name: value for name, value in body.items() if value is not None}
    return Call("POST", f"{API}/cleanup", _json, {"json": given})


def health() -> Call[View]:
    """Whether the server is up; the one route that needs no token."""
    return Call("GET", f"{API}/health", _json)
