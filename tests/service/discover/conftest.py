"""A front of the platform, as far as the server can tell, and a site that offers datasets."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw


def pictures(count: int = 8, size: int = 24) -> dict[str, bytes]:
    """Discs and bars in two folders, as PNG files by their path."""
    rng = np.random.default_rng(0)
    files = {}
    for number in range(count):
        image = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(180, 255, 3)))
        draw = ImageDraw.Draw(image)
        shift = int(rng.integers(2, 6))
        if number % 2:
            draw.ellipse((shift, shift, shift + 14, shift + 14), fill=(20, 20, 120))
        else:
            draw.rectangle((shift, shift + 4, shift + 16, shift + 9), fill=(120, 20, 20))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files[f"{'ab'[number % 2]}/{number:02}.png"] = buffer.getvalue()
    return files


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Task:
    """What a front keeps of a task."""

    status: str = "PENDING"
    finished: bool = False
    events: list[str] = field(default_factory=list)
    error: str = ""
    result: bytes = b""
    saved_at: float = 0.0  # when the record was saved after the answer to the start


class Front:
    """Serves /media (datasets) and takes callbacks at /dti/<task>/watch. As the real ones do, it downloads the
    results inside the callback, before it answers."""

    def __init__(self) -> None:
        front = self
        self.media: dict[str, bytes] = {}
        self.tasks: dict[str, Task] = {}
        self.problems: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = front.media.get(self.path.split("?")[0])
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    front.watch(self.path, self.headers, json.loads(body))
                except Exception as error:
                    front.problems.append(f"{type(error).__name__}: {error}")
                    self.send_response(500)
                else:
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, id: str) -> Task:
        self.tasks[id] = Task()
        return self.tasks[id]

    def watch(self, path: str, headers: Any, event: dict[str, Any]) -> None:
        """A callback."""
        if headers["Content-Type"] != "application/json":
            self.problems.append("not JSON")
        id = path.split("/")[2]
        task = self.tasks[id]
        if event["experiment_id"] != id or "token=" not in path:
            self.problems.append(f"wrong ids in {event}")
        if not task.saved_at:
            self.problems.append("a callback came before the answer was saved")
        if task.finished:
            self.problems.append(f"{event['event']} for a finished task")
        task.events.append(event["event"])
        if event["event"] == "STARTED":
            task.status = "PROGRESS"
        elif event["event"] == "SUCCESS":
            task.status = "FETCHING RESULTS"
            answer = httpx.get(event["output"]["result_url"], timeout=60, follow_redirects=True)
            answer.raise_for_status()
            if zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is not None:
                self.problems.append("a broken zip")
            task.result, task.status, task.finished = answer.content, "SUCCESS", True
        elif event["event"] == "ERROR":
            task.error, task.status, task.finished = event["error"], "ERROR", True

    def wait(self, id: str, seconds: float = 240.0) -> Task:
        end = time.monotonic() + seconds
        while not self.tasks[id].finished:
            assert time.monotonic() < end, (self.tasks[id], self.problems)
            time.sleep(0.1)
        return self.tasks[id]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="session")
def front() -> Iterator[Front]:
    front = Front()
    front.media["/media/good.zip"] = packed(pictures())
    front.media["/media/empty.zip"] = packed({"readme.txt": b"no images"})
    front.media["/media/broken.zip"] = b"not a zip"
    yield front
    front.close()


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, live_server_factory: Callable[..., Any]) -> Any:
    """A server that may reach the front, at a base URL of its own."""
    folder: Path = tmp_path_factory.mktemp("api")
    server = live_server_factory(
        folder, "--ServerApp.base_url=/some/prefix/", "--DTIServiceApp.allow_hosts=127.0.0.1"
    )
    server.base = server.url + "some/prefix"
    server.url = server.base + "/"
    server.start()
    return server
