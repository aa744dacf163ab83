"""The commands' backend on a data directory of this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from dti_service import archive, audit, logs, transfer
from dti_service.errors import InvalidRequest, NotFound
from dti_service.requests import SubmitRequest, check_request
from dti_service.service import Service
from dti_service.settings import Settings
from dti_service.store import LOG, RESULTS

View = dict[str, Any]


class LocalBackend:
    """Calls the service directly; whoever uses the command line may name any notebook and folder. What is done leaves
    the same audit lines as over REST."""

    def __init__(self, settings: Settings) -> None:
        self.service = Service(settings)
        logs.keep_audit(settings)

    def problems(self, request: dict[str, Any]) -> list[dict[str, str]]:
        """Everything wrong with a request, without queueing it."""
        try:
            check_request(_as_request(request), self.service)
        except InvalidRequest as error:
            return [{**item, "field": item["field"].removeprefix("parameters.")} for item in error.errors]
        return []

    def submit(self, request: dict[str, Any]) -> View:
        with audited("submit experiment") as line:
            line.about = self.service.submit(_as_request(request)).id
        return self.get(line.about)

    def get(self, id: str) -> View:
        view = self.service.get(id)
        return {**view, "directory": str(self.service.store.directory(id))}

    def list(self, **query: Any) -> View:
        return self.service.list(**query)

    def cancel(self, id: str) -> View:
        with audited("cancel experiment", id):
            self.service.cancel(id, _user())
        return self.get(id)

    def delete(self, id: str, *, force: bool) -> None:
        with audited("delete experiment", id):
            self.service.delete(id, force=force)

    def rerun(self, id: str, changes: dict[str, Any]) -> View:
        with audited("rerun experiment", id) as line:
            line.about = self.service.rerun(id, changes, owner=_user(), trusted=True).id
        return self.get(line.about)

    def take_in(self, file: Path) -> View:
        """Put an experiment that was exported into this data directory."""
        with audited("import experiment") as line:
            line.about = transfer.take_in(self.service.store, file).id
        return self.get(line.about)

    def cleanup(self, older_than: str, datasets_older_than: str | None, *, dry_run: bool) -> dict[str, Any]:
        with contextlib.nullcontext() if dry_run else audited("clean up"):
            return self.service.cleanup(older_than, datasets_older_than=datasets_older_than, dry_run=dry_run)

    def log(self, id: str, start: int) -> bytes:
        path = self.service.store.directory(id) / LOG
        if not path.exists():
            return b""
        with path.open("rb") as file:
            file.seek(start)
            return file.read()

    def export(self, id: str, target: Path, *, whole: bool) -> None:
        """The results, or the whole experiment, as the zip that a server sends."""
        store = self.service.store
        if whole:
            packed = transfer.whole(store, id)
        else:
            ended = store.get(id).ended
            packed = archive.Archive(archive.members(store.directory(id) / RESULTS), exact=ended)
            if not packed.members:
                raise NotFound(f"Experiment {id} has no results yet")
        temporary = target.with_name(f".{target.name}.part")
        try:
            with temporary.open("wb") as file:
                file.writelines(packed.chunks())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def notebook_schema(self, notebook: str) -> dict[str, Any]:
        return self.service.notebook_schema(notebook, trusted=True)


def audited(action: str, about: str = "") -> contextlib.AbstractContextManager[audit.Line]:
    """One audit line for what is done inside, refused or not."""
    return audit.audited(_user(), action, about, via="command line")


def _as_request(request: dict[str, Any]) -> SubmitRequest:
    given = {name: value for name, value in request.items() if value is not None}
    return SubmitRequest(**given, owner=_user(), trusted=True)


def _user() -> str | None:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
