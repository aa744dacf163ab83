"""Whether the server is up: the one route that needs no token, and tells nothing that a stranger may not know."""

from __future__ import annotations

from jupyter_server.auth.decorator import allow_unauthenticated

from dti_service.handlers.base import Handler


class HealthHandler(Handler):
    """/dti/api/health"""

    _track_activity = False

    @allow_unauthenticated
    async def get(self) -> None:
        self.query()
        checks = await self.quick(self.context.health)
        healthy = all(checks.values())
        self.answer({"status": "ok" if healthy else "failing", "checks": checks}, 200 if healthy else 503)


HANDLERS: list[tuple[str, type[Handler]]] = [(r"/dti/api/health", HealthHandler)]
