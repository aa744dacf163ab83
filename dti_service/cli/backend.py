"""One set of commands on the local data directory or a remote server: both answer with REST views."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from dti_service.cli.output import TERMINAL
from dti_service.errors import InvalidRequest
from dti_service.ids import is_id

View = dict[str, Any]

MOST_LOOKED_AT = 500


class Backend(Protocol):
    """What the commands need; `View` is the experiment object of the REST interface."""

    def problems(self, request: dict[str, Any]) -> list[dict[str, str]]: ...
    def submit(self, request: dict[str, Any]) -> View: ...
    def get(self, id: str) -> View: ...
    def list(self, **query: Any) -> dict[str, Any]: ...
    def cancel(self, id: str) -> View: ...
    def delete(self, id: str, *, force: bool) -> None: ...
    def rerun(self, id: str, changes: dict[str, Any]) -> View: ...
    def cleanup(
        self, older_than: str, datasets_older_than: str | None, *, dry_run: bool
    ) -> dict[str, Any]: ...
    def log(self, id: str, start: int) -> bytes: ...
    def export(self, id: str, target: Path, *, whole: bool) -> None: ...
    def notebook_schema(self, notebook: str) -> dict[str, Any]: ...


def open_backend(arguments: argparse.Namespace) -> Backend:
    """The backend that `--server` and `--data-dir` ask for."""
    if arguments.server:
        from dti_service.cli.remote import RemoteBackend

        return RemoteBackend(arguments.server, arguments.token or os.environ.get("DTI_TOKEN"))
    from dti_service.cli.local import LocalBackend

    return LocalBackend(open_settings(arguments))


def open_settings(arguments: argparse.Namespace) -> Any:
    """Settings from the environment, with the command line's data directory."""
    from dti_service.settings import Settings

    if arguments.data_dir:
        os.environ["DTI_DATA_DIR"] = str(Path(arguments.data_dir).expanduser().resolve())
    return Settings.from_env()


def resolve(backend: Backend, text: str) -> str:
    """The id that is meant: itself, or its beginning or end. Raises InvalidRequest when that is not one experiment's.

    A text that cannot be part of an id comes back as it is; whoever asks for it is told that there is none.
    """
    word = text.strip().lower()
    if is_id(word) or not re.fullmatch(r"[0-9a-f-]{4,}", word):
        return text
    items = backend.list(q=word, limit=MOST_LOOKED_AT)["items"]
    found = [view for view in items if view["id"].startswith(word) or view["id"].endswith(word)]
    if len(found) > 1:
        named = [{"field": view["id"], "reason": view["name"]} for view in found[:5]]
        raise InvalidRequest(f"{text} may be any of {len(found)} experiments: say more of the id", named)
    return found[0]["id"] if found else text


def follow(backend: Backend, id: str, on_update: Callable[[View], None], poll_s: float = 0.3) -> View:
    """Call `on_update` with the experiment until it has ended; returns the final view."""
    for view in _views(backend, id, poll_s):
        on_update(view)
    return view


def _views(backend: Backend, id: str, poll_s: float) -> Iterator[View]:
    while True:
        view = backend.get(id)
        yield view
        if view["state"] in TERMINAL:
            return
        time.sleep(poll_s)
