"""The notebooks that can be submitted by name, and the schema of their parameters."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from dti_service.handlers.base import Handler

RESOURCE = "notebooks"


class NotebooksHandler(Handler):
    """/dti/api/notebooks"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self) -> None:
        self.query()
        self.answer_list((await self.quick(self.service.notebooks))["items"])


class NotebookHandler(Handler):
    """/dti/api/notebooks/{name}"""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, name: str) -> None:
        self.query()
        self.answer(await self.quick(self.service.notebook_schema, name))


HANDLERS: list[tuple[str, type[Handler]]] = [
    (r"/dti/api/notebooks", NotebooksHandler),
    (r"/dti/api/notebooks/(.+)", NotebookHandler),
]
