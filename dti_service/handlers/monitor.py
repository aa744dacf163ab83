"""How the service is doing: queue, devices, disk, metrics; and clearing what is old."""

from __future__ import annotations

from jupyter_server.auth.decorator import authorized
from tornado import web

from dti_service.handlers.base import Handler
from dti_service.handlers.fields import flag, read_object, text

RESOURCE = "workers"

CLEANUP_FIELDS = {"older_than": text(longest=32), "datasets_older_than": text(longest=32), "dry_run": flag}


class QueueHandler(Handler):
    """/dti/api/queue"""

    _track_activity = False

    @web.authenticated
    @authorized("read", resource="experiments")
    async def get(self) -> None:
        self.query()
        view = await self.quick(self.service.queue)
        self.answer({state: [self.linked(item) for item in items] for state, items in view.items()})


class WorkersHandler(Handler):
    """/dti/api/workers"""

    _track_activity = False

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self) -> None:
        self.query()
        self.answer_list((await self.quick(self.service.workers))["items"])


class MonitorHandler(Handler):
    """/dti/api/monitor"""

    _track_activity = False

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self) -> None:
        self.query()
        self.answer(await self.slow(self.service.monitor))


class CleanupHandler(Handler):
    """/dti/api/cleanup"""

    @web.authenticated
    @authorized("write", resource="experiments")
    async def post(self) -> None:
        self.query()
        values = read_object(self.json_body(), CLEANUP_FIELDS, required=("older_than",))
        if not values.get("dry_run"):
            self.administer()
        self.answer(await self.slow(self.service.cleanup, **values))


class MetricsHandler(Handler):
    """/dti/metrics"""

    _track_activity = False

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self) -> None:
        self.query()
        content = await self.quick(self.context.metrics.render)
        self.answer_type = self.context.metrics.content_type
        self.finish(content)


HANDLERS: list[tuple[str, type[Handler]]] = [
    (r"/dti/api/queue", QueueHandler),
    (r"/dti/api/workers", WorkersHandler),
    (r"/dti/api/monitor", MonitorHandler),
    (r"/dti/api/cleanup", CleanupHandler),
    (r"/dti/metrics", MetricsHandler),
]
