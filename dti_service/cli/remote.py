"""The commands' backend on a server, over REST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dti_service.client import Client
from dti_service.execution.parameters import validate

View = dict[str, Any]


class RemoteBackend:
    """Calls a server through the client that scripts use too."""

    def __init__(self, url: str, token: str | None) -> None:
        # `host:port` is what people type.
        self.client = Client(url if "://" in url else f"http://{url}", token)

    def problems(self, request: dict[str, Any]) -> list[dict[str, str]]:
        """What the notebook's schema says; the server itself refuses what else is wrong."""
        return validate(self.notebook_schema(request["notebook"]), request["parameters"])[1]

    def submit(self, request: dict[str, Any]) -> View:
        given = {name: value for name, value in request.items() if value is not None}
        return self.client.submit(**given)

    def get(self, id: str) -> View:
        view = self.client.get(id)
        return {**view, "address": f"{self.client.url}dti/#/e/{view['id']}"}

    def list(self, **query: Any) -> View:
        return self.client.list(**{name: value for name, value in query.items() if value is not None})

    def cancel(self, id: str) -> View:
        return self.client.cancel(id)

    def delete(self, id: str, *, force: bool) -> None:
        self.client.delete(id, force=force)

    def rerun(self, id: str, changes: dict[str, Any]) -> View:
        return self.client.rerun(id, **changes)

    def cleanup(self, older_than: str, datasets_older_than: str | None, *, dry_run: bool) -> dict[str, Any]:
        return self.client.cleanup(older_than, datasets_older_than=datasets_older_than, dry_run=dry_run)

    def log(self, id: str, start: int) -> bytes:
        return self.client.log(id, start)

    def export(self, id: str, target: Path, *, whole: bool) -> None:
        self.client.download_results(id, target, whole=whole)

    def notebook_schema(self, notebook: str) -> dict[str, Any]:
        return self.client.notebook_schema(notebook)
