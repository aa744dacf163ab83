"""The page at /dti/ and its static files."""

from __future__ import annotations

import functools
import hashlib
import html
import re
import time
from pathlib import Path
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from dti_service import __version__
from dti_service.handlers.context import Context
from dti_service.handlers.files import Content, FileHandler, below, content_type, open_file

RESOURCE = "experiments"

WEB = Path(__file__).parent.parent / "web"

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)


def fill(template: str, values: dict[str, str]) -> str:
    """Replace each `{{ name }}` by its value, escaped for text and attributes; an unknown name is an error."""
    return re.sub(
        r"\{\{\s*(\w+)\s*\}\}", lambda match: html.escape(values[match.group(1)], quote=True), template
    )


def static_version(folder: Path = WEB / "static") -> str:
    """`_static_version`, looked up at most once in two seconds: a first visit asks for some thirty files."""
    return _static_version(folder, int(time.monotonic() / 2))


@functools.lru_cache(4)
def _static_version(folder: Path, moment: int) -> str:
    """A name for the present state of the page's files. It stands in their addresses, and in those of all modules
    that import each other by relative names, so that a browser may keep them without asking."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return f"v-{digest.hexdigest()[:16]}"


@functools.lru_cache(256)
def _kept(folder: Path, version: str, name: str) -> Content:
    """A file of the page in its state `version`, held in memory: they are small, and a visit asks for some forty."""
    opened = open_file(below(folder, name))
    try:
        return Content(opened.stream.read(), opened.modified, opened.etag)
    finally:
        opened.close()


class PageHandler(JupyterHandler):
    """/dti/"""

    def initialize(self, context: Context) -> None:
        self.context = context

    @property
    def content_security_policy(self) -> str:
        return POLICY

    def lab_url(self) -> str:
        """Where JupyterLab opens the experiments' folder; "" where it does not run or cannot see it."""
        extensions = self.serverapp.extension_manager.extensions if self.serverapp is not None else {}
        root = Path(self.settings.get("server_root_dir", "")).expanduser().resolve()
        folder = (self.context.settings.data_dir / "experiments").resolve()
        if "jupyterlab" not in extensions or not folder.is_relative_to(root):
            return ""
        return url_path_join(self.base_url, "lab/tree", quote(folder.relative_to(root).as_posix()))

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self) -> None:
        if not self.request.path.endswith("/"):
            query = f"?{self.request.query}" if self.request.query else ""
            self.redirect(self.request.path + "/" + query)
            return
        values = {
            "base_url": self.base_url,
            "page_url": url_path_join(self.base_url, "dti/"),
            "lab_url": self.lab_url(),
            "static": f"static/{static_version()}",
            "xsrf_token": self.xsrf_token.decode(),
            "version": __version__,
            "username": str(getattr(self.current_user, "display_name", "") or ""),
        }
        self.set_header("Cache-Control", "no-store")
        self.finish(fill((WEB / "index.html").read_text(encoding="utf-8"), values))


class StaticHandler(FileHandler):
    """/dti/static/{path}"""

    @property
    def content_security_policy(self) -> str:
        return POLICY

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, name: str) -> None:
        await self._static(name)

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def head(self, name: str) -> None:
        await self._static(name)

    async def _static(self, name: str) -> None:
        version, _, rest = name.partition("/")
        if re.fullmatch(r"v-[0-9a-f]{16}", version):
            name = rest
            if version == static_version():
                self.caching = "private, max-age=31536000, immutable"
                content = _kept(WEB / "static", version, name)
                await self.send(content, content_type(Path(name)), Path(name).name, policy=POLICY)
                return
        await self.send_file(await self.quick(below, WEB / "static", name), policy=POLICY)


HANDLERS: list[tuple[str, type[JupyterHandler]]] = [
    (r"/dti/?", PageHandler),
    (r"/dti/static/(.+)", StaticHandler),
]
