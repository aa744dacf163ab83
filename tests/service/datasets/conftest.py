"""A small web site on the loopback interface, images made on the spot, and a data directory that must stay clean."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pytest_jupyter.jupyter_server import *  # noqa: F403 (its fixtures and hooks, for this folder)

from dti_service.datasets.guard.addresses import AllowList
from dti_service.datasets.guard.limits import Limits
from dti_service.datasets.guard.policy import Policy
from dti_service.datasets.jobs import DatasetJobs
from dti_service.datasets.prepare import Datasets


class Page:
    """A body with validators. `cut_after`: break the connection after so many bytes, `times` times."""

    def __init__(
        self,
        body: bytes,
        content_type: str = "application/octet-stream",
        *,
        etag: str | None = None,
        modified: str | None = None,
        headers: dict[str, str] | None = None,
        cut_after: int | None = None,
        times: int = 1,
        status: int = 200,
    ) -> None:
        self.body, self.content_type, self.etag, self.modified = body, content_type, etag, modified
        self.headers, self.cut_after, self.times, self.status = headers or {}, cut_after, times, status

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        if self.etag and request.headers.get("If-None-Match") == self.etag:
            request.send_response(304)
            request.end_headers()
            return
        start, status = 0, self.status
        wanted = request.headers.get("Range")
        if wanted and request.headers.get("If-Range") in (self.etag, self.modified):
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
        request.send_response(status)
        request.send_header("Content-Type", self.content_type)
        request.send_header("Content-Length", str(len(self.body) - start))
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        for name, value in {"ETag": self.etag, "Last-Modified": self.modified, **self.headers}.items():
            if value:
                request.send_header(name, value)
        request.end_headers()
        if self.cut_after is not None and self.times > 0:
            self.times -= 1
            request.wfile.write(self.body[start : start + self.cut_after])
            request.wfile.flush()
            request.connection.shutdown(2)
            return
        request.wfile.write(self.body[start:])


class Site:
    """`site.pages["/a.zip"] = Page(...)` or a function of the request; `site.requests` has what was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                page = site.pages.get(self.path)
                if page is None:
                    page = Page(b"nothing here", "text/plain", status=404)
                try:
                    page(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]  # clients break off
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def add(
        self, path: str, body: bytes, content_type: str = "application/octet-stream", **options: object
    ) -> str:
        self.pages[path] = Page(body, content_type, **options)  # type: ignore[arg-type]
        return self.url + path

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Make:
    """Files, made on the spot."""

    @staticmethod
    def picture(
        size: tuple[int, int] = (40, 30), colour: object = (200, 30, 60), mode: str = "RGB"
    ) -> Image.Image:
        return Image.new(mode, size, colour)  # type: ignore[arg-type]

    @classmethod
    def image(
        cls, form: str = "PNG", size: tuple[int, int] = (40, 30), colour: object = (200, 30, 60)
    ) -> bytes:
        stream = io.BytesIO()
        cls.picture(size, colour).save(stream, form)
        return stream.getvalue()

    @staticmethod
    def zip(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return stream.getvalue()

    @staticmethod
    def pdf(pages: int = 2, size: tuple[float, float] = (200, 100)) -> bytes:
        import pypdfium2

        document = pypdfium2.PdfDocument.new()
        for _ in range(pages):
            document.new_page(*size)
        stream = io.BytesIO()
        document.save(stream)
        return stream.getvalue()


@pytest.fixture
def make() -> type[Make]:
    return Make


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="session")
def limits() -> Limits:
    """Quick to reach, with short waits."""
    return dataclasses.replace(
        Limits(), connect_s=5.0, silence_s=10.0, attempts=2, image_pixels=4_000_000, reserve_bytes=1 << 20
    )


@pytest.fixture
def policy(limits: Limits) -> Policy:
    return Policy(limits=limits, allow=AllowList.parse("127.0.0.1"))


@pytest.fixture
def datasets(tmp_path: Path, policy: Policy) -> Datasets:
    return Datasets(tmp_path / "data", policy)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture
def leftovers(tmp_path: Path) -> Callable[[], list[str]]:
    """The files in the data directory: none, after a refusal."""
    return lambda: files_below(tmp_path / "data")


# -- a server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def jp_server_config(data_dir: Path) -> dict[str, Any]:
    traits = {"data_dir": str(data_dir), "devices": "cpu", "redis_url": "", "allow_hosts": ["127.0.0.1"]}
    return {
        "ServerApp": {"jpserver_extensions": {"dti_service": True}, "allow_unauthenticated_access": False},
        "DTIServiceApp": {**traits, "run_experiments": False, "max_upload_mb": 8},
    }


@pytest.fixture
def jobs(jp_serverapp: Any) -> DatasetJobs:
    return jp_serverapp.web_app.settings["dti_service_context"].datasets


@pytest.fixture
def fetch(http_server_client: Any, jp_auth_header: dict[str, str], jp_base_url: str) -> Callable[..., Any]:
    """`await fetch("POST", "datasets?wait=5", body=...)` below /dti/api; errors are answers like others."""

    async def fetch(method: str, path: str, **options: Any) -> Any:
        headers = {**jp_auth_header, **options.pop("headers", {})}
        if "json" in options:
            options["body"] = json.dumps(options.pop("json"))
            headers["Content-Type"] = "application/json"
        elif "form" in options:
            headers["Content-Type"], options["body"] = form_body(options.pop("form"))
        url = jp_base_url + "dti/api/" + path
        options = {"allow_nonstandard_methods": True, "request_timeout": 30, **options}
        return await http_server_client.fetch(
            url, method=method, headers=headers, raise_error=False, **options
        )

    return fetch


def form_body(parts: list[tuple[str, str | None, bytes]]) -> tuple[str, bytes]:
    """Content type and body of multipart/form-data; each part is (field, file name or None, content)."""
    body = b""
    for name, filename, content in parts:
        file = "" if filename is None else f'; filename="{filename}"'
        body += (
            f'--b0undary\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
            + content
            + b"\r\n"
        )
    return "multipart/form-data; boundary=b0undary", body + b"--b0undary--\r\n"
