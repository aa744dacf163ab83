"""The description of the REST interface, which the tests hold against the routes."""

from __future__ import annotations

from pathlib import Path

from jupyter_server.auth.decorator import authorized
from tornado import web

from dti_service.handlers.base import Handler
from dti_service.handlers.files import FileHandler

DOCUMENT = Path(__file__).parent.parent / "openapi.yaml"


class OpenAPIHandler(FileHandler):
    """/dti/api/openapi.yaml"""

    @web.authenticated
    @authorized("read", resource="notebooks")
    async def get(self) -> None:
        self.query()
        await self.send_file(DOCUMENT)


HANDLERS: list[tuple[str, type[Handler]]] = [(r"/dti/api/openapi\.yaml", OpenAPIHandler)]
