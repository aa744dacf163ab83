"""What demos add to the server: routes, static files, and a page that shows a result with the demo's own renderer.

Everything is below /dti/demos/<name>/. Authentication and authorisation are put around every verb here, whatever a
demo's own code says, and a handler that asks to be open to strangers is refused.
"""

from __future__ import annotations

import importlib
import logging
import re
from pathlib import Path
from typing import Any, ClassVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.utils import url_path_join
from tornado import web

from dti_service.demos import Broken, Demo
from dti_service.errors import Conflict, NotFound
from dti_service.handlers.base import Handler
from dti_service.handlers.files import FileHandler, below
from dti_service.handlers.pages import POLICY, WEB, fill, static_version
from dti_service.service import Service

log = logging.getLogger(__name__)

Route = tuple[str, type[Handler]]
READ = ("read", "artifacts")
VERBS = ("get", "head", "post", "put", "patch", "delete")


class DemoHandler(FileHandler):
    """Base of the handlers of a demo: `self.service`, `self.answer(value)`, `self.query(...)`, `self.json_body()`,
    `await self.quick(function, ...)` for short blocking work, `await self.slow(...)` for longer work, and
    `await self.send_file(path)`. Errors of `dti_service.errors` become answers.

    `permissions`: (action, resource) that the server's authorizer is asked for, by verb; reading needs the right to
    read results, everything else that to change them.
    """

    demo: ClassVar[Demo]  # set when the routes are made
    permissions: ClassVar[dict[str, tuple[str, str]]] = {}

    async def directory(self, id: str) -> Path:
        """The directory of a finished experiment of this demo. Raises NotFound, Conflict."""
        experiment = await self.quick(self.service.store.get, id)
        if experiment.notebook != self.demo.name:
            raise NotFound(f"Experiment {id} is of {experiment.notebook}, not of {self.demo.name}")
        if experiment.state != "succeeded":
            raise Conflict(f"Experiment {id} is {experiment.state}")
        return self.service.store.directory(id)


class DemoStaticHandler(DemoHandler):
    """/dti/demos/<name>/static/{path}"""

    async def get(self, path: str) -> None:
        await self._file(path)

    async def head(self, path: str) -> None:
        await self._file(path)

    async def _file(self, path: str) -> None:
        assert self.demo.static is not None
        await self.send_file(await self.quick(below, Path(self.demo.static), path), policy=POLICY)


class DemoViewHandler(DemoHandler):
    """/dti/demos/<name>/view/{id}: a page with the result as the demo's renderer shows it."""

    answer_type = "text/html; charset=utf-8"

    @property
    def content_security_policy(self) -> str:
        return POLICY

    async def get(self, id: str) -> None:
        self.query()
        await self.directory(id)
        experiment = await self.quick(self.service.store.get, id)
        demo = url_path_join(self.base_url, "dti/demos", self.demo.name)
        values = {
            "title": experiment.name,
            "static": url_path_join(self.base_url, "dti/static", static_version()),
            "page_url": url_path_join(self.base_url, f"dti/#/e/{id}"),
            "experiment_url": url_path_join(self.base_url, "dti/api/experiments", id),
            "demo_url": demo,
            "renderer_url": url_path_join(demo, "static", self.demo.renderer),
        }
        self.set_header("Cache-Control", "no-store")
        self.finish(fill((WEB / "demo.html").read_text(encoding="utf-8"), values))


def demo_routes(service: Service) -> list[Route]:
    """The routes of all demos, below the base URL. A demo whose routes cannot be used becomes a broken one."""
    found: list[Route] = []
    for name, demo in list(service.demos.items()):
        if isinstance(demo, Demo):
            try:
                found += routes_of(demo)
            except Exception as error:
                service.demos[name] = Broken(name, f"its routes: {type(error).__name__}: {error}")
                log.warning("The demo %s cannot be used: its routes: %s", name, error)
    return found


def routes_of(demo: Demo) -> list[Route]:
    """Its own routes and those that come with static files and a renderer. Raises whatever its module does, TypeError
    and ValueError for handlers that are refused."""
    own = list(importlib.import_module(demo.handlers).HANDLERS) if demo.handlers else []
    for entry in own:
        pattern, handler = entry
        re.compile(pattern)
        _check(handler)
    if demo.static is not None:
        own.append(("/static/(.+)", DemoStaticHandler))
    if demo.renderer:
        own.append(("/view/([^/]+)", DemoViewHandler))
    root = f"/dti/demos/{re.escape(demo.name)}"
    return [(root + "/" + pattern.lstrip("/"), _guarded(handler, demo)) for pattern, handler in own]


def _check(handler: Any) -> None:
    name = getattr(handler, "__qualname__", repr(handler))
    if not (isinstance(handler, type) and issubclass(handler, DemoHandler)):
        raise TypeError(f"{name} must be a subclass of dti_service.handlers.demos.DemoHandler")
    for verb in VERBS:
        if getattr(getattr(handler, verb), "__allow_unauthenticated", False):
            raise ValueError(f"{name}.{verb} may not be open without authentication")
    for method in ("prepare", "_execute", "current_user", "get_current_user", "check_xsrf_cookie"):
        if getattr(handler, method) is not getattr(DemoHandler, method):
            raise ValueError(f"{name} may not replace {method}, which authenticates")


def _guarded(handler: type[DemoHandler], demo: Demo) -> type[DemoHandler]:
    """`handler` with authentication and authorisation around every verb that it implements."""
    verbs: dict[str, Any] = {}
    for verb in VERBS:
        method = getattr(handler, verb)
        if method is not getattr(Handler, verb):
            action, resource = handler.permissions.get(
                verb, READ if verb in ("get", "head") else ("write", "artifacts")
            )
            verbs[verb] = web.authenticated(authorized(action, resource=resource)(method))
    return type(handler.__name__, (handler,), {**verbs, "demo": demo, "__module__": handler.__module__})
