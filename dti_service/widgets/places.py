"""Where experiments are submitted and watched from a notebook: the data directory of this machine, or a server."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from dti_service import logs
from dti_service.audit import audited
from dti_service.client import Client
from dti_service.dispatch.local import Slots
from dti_service.errors import InvalidRequest, NotFound, ServiceError
from dti_service.execution.parameters import validate
from dti_service.presence import present
from dti_service.requests import SubmitRequest, check_request
from dti_service.service import Service
from dti_service.settings import Settings

View = dict[str, Any]
Request = dict[str, Any]


class Place(Protocol):
    """What `Desk` needs; a view is the experiment object of the REST interface, a request its body."""

    name: str
    waits: bool  # can this notebook wait for what it submits?

    def schema(self, notebook: str) -> dict[str, Any]: ...
    def check(self, request: Request) -> list[dict[str, str]]: ...
    def submit(self, request: Request) -> View: ...
    def get(self, id: str) -> View: ...
    def picture(self, id: str, path: str) -> bytes | None: ...
    def served(self, ids: Sequence[str]) -> contextlib.AbstractContextManager[Any]: ...


class Here:
    """The data directory of this machine. When neither a server nor a worker serves it, the notebook does while it
    waits."""

    def __init__(self, data_dir: Path) -> None:
        self.settings = Settings.from_env().replace(data_dir=data_dir)
        self.service = Service(self.settings)
        logs.keep_audit(self.settings)
        self.name = str(data_dir)
        # Run by the service, a notebook may do what any of its clients may, and must not wait for the device it holds.
        self.trusted = self.waits = "DTI_EXPERIMENT_DIR" not in os.environ

    def schema(self, notebook: str) -> dict[str, Any]:
        return self.service.notebook_schema(notebook, trusted=self.trusted)

    def check(self, request: Request) -> list[dict[str, str]]:
        try:
            check_request(self._request(request), self.service)
        except InvalidRequest as error:
            return error.errors
        return []

    def submit(self, request: Request) -> View:
        with audited(_user(), "submit experiment", via="notebook") as line:
            line.about = self.service.submit(self._request(request)).id
        return self.get(line.about)

    def get(self, id: str) -> View:
        return self.service.get(id)

    def picture(self, id: str, path: str) -> bytes | None:
        try:
            return (self.service.store.directory(id) / path).read_bytes()
        except OSError:
            return None

    @contextlib.contextmanager
    def served(self, ids: Sequence[str]) -> Iterator[Any]:
        """Gives a function to call now and then while waiting. What runs here at the end goes back into the queue."""
        if present(self.settings.data_dir) or self.settings.redis_url:
            yield lambda: None
            return
        slots = [Slots(self.settings, self.service.store, only=id) for id in ids]

        def step() -> None:
            for one in slots:
                one.step()

        try:
            yield step
        finally:
            for one in slots:
                one.stop()

    def _request(self, request: Request) -> SubmitRequest:
        given = dict(request)
        dataset = given.get("dataset")
        if dataset and "://" not in dataset and self.trusted and Path(dataset).expanduser().exists():
            given["dataset"] = str(Path(dataset).expanduser().resolve())  # the run has another current folder
        return SubmitRequest(**given, owner=_user(), trusted=self.trusted)


class There:
    """A server, over REST."""

    waits = True

    def __init__(self, url: str, token: str | None) -> None:
        self.client = Client(url, token)
        self.name = self.client.url

    def schema(self, notebook: str) -> dict[str, Any]:
        return self.client.notebook_schema(notebook)

    def check(self, request: Request) -> list[dict[str, str]]:
        """What the notebook's parameters say; the server itself refuses what else is wrong."""
        return validate(self.schema(request["notebook"]), request["parameters"])[1]

    def submit(self, request: Request) -> View:
        return self.client.submit(**request)

    def get(self, id: str) -> View:
        return self.client.get(id)

    def picture(self, id: str, path: str) -> bytes | None:
        with contextlib.suppress(NotFound):
            return self.client.artifact(id, path)
        return None

    @contextlib.contextmanager
    def served(self, ids: Sequence[str]) -> Iterator[Any]:
        yield lambda: None


def open_place(server: str | None, token: str | None, data_dir: Path) -> Place:
    """The server, else the data directory. Raises InvalidRequest with the remedy."""
    if not server:
        return Here(data_dir)
    if "DTI_EXPERIMENT_DIR" in os.environ:
        raise refused("server", "a run of the service works in its own data directory: leave it empty")
    if not server.startswith(("http://", "https://")):
        raise refused("server", f"{server[:200]} is no address: it begins with http:// or https://")
    place = There(server, token or os.environ.get("DTI_TOKEN"))
    try:
        place.client.notebooks()
    except ServiceError as error:
        remedy = "; set DTI_TOKEN to the server's token" if error.status in (401, 403) else ""
        raise refused("server", f"{error}{remedy}") from None
    return place


def refused(field: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {reason}", [{"field": field, "reason": reason}])


def _user() -> str | None:
    with contextlib.suppress(KeyError, OSError):
        return getpass.getuser()
    return None
