"""The client against a real server, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dti_service import AsyncClient, Client
from dti_service.client import Unreachable
from dti_service.errors import Conflict, InvalidRequest, NotFound, ServiceError


@pytest.fixture
def client(live_server: Any) -> Iterator[Client]:
    with Client(live_server.url, live_server.token, backoff=0.01) as client:
        yield client


def test_from_submission_to_results(client: Client, tmp_path: Path) -> None:
    experiment = client.submit("tiny", {"n_prototypes": 4}, name="by the client")
    assert experiment["state"] == "queued"
    steps: list[int] = []
    ended = client.wait(
        experiment["id"], progress=lambda event: steps.append(event["step"]), timeout=120, poll_s=0.2
    )
    assert ended["state"] == "succeeded", ended["error"]
    assert ended["metrics"]["k"] == 4
    assert steps[-1] == 4
    kinds = [event["kind"] for event in client.events(experiment["id"])]
    assert kinds[0] == "state"
    assert "progress" in kinds
    assert b"printed by the notebook" in client.log(experiment["id"])
    size = len(client.log(experiment["id"]))
    assert client.log(experiment["id"], start=size) == b""
    assert client.log(experiment["id"], start=size - 3) == client.log(experiment["id"])[-3:]
    assert client.notebook(experiment["id"])["nbformat"] == 4
    paths = [item["path"] for item in client.artifacts(experiment["id"])]
    assert {"metrics.json", "prototypes/note.txt"} <= set(paths)
    assert client.artifact(experiment["id"], "prototypes/note.txt").startswith(b"hello")
    target = client.download_results(experiment["id"], tmp_path / "results.zip")
    assert "prototypes/note.txt" in zipfile.ZipFile(target).namelist()
    assert [path.name for path in tmp_path.iterdir()] == ["results.zip"]


def test_small_matters(client: Client) -> None:
    made = client.submit("tiny", {"seconds": 30}, priority=-5)
    assert client.update(made["id"], name="renamed", tags=["a"], keep=True)["tags"] == ["a"]
    assert made["id"] in [item["id"] for item in client.list(q="renamed")["items"]]
    assert client.cancel(made["id"])["state"] in ("cancelled", "cancelling")
    again = client.rerun(made["id"], name="again")
    assert again["id"] != made["id"]
    client.cancel(again["id"])
    for item in (made, again):
        assert client.wait(item["id"], timeout=60, poll_s=0.1)["state"] == "cancelled"
    client.update(again["id"], keep=True)
    with pytest.raises(Conflict, match="marked to be kept"):
        client.delete(again["id"])
    client.delete(again["id"], force=True)
    with pytest.raises(NotFound):
        client.get(again["id"])
    assert len(list(client.iterate(limit=1))) == client.list()["total"]
    assert client.notebook_schema("tiny")["properties"]["n_prototypes"]["default"] == 3
    assert "tiny" in [item["name"] for item in client.notebooks()]
    assert client.health()["status"] == "ok"
    assert client.monitor()["devices"]
    assert set(client.queue()) == {"queued", "running"}
    assert "items" in client.workers()
    assert client.cleanup("30d", dry_run=True)["experiments"] == []


def test_refusals_are_the_errors_of_the_service(client: Client, live_server: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.submit("tiny", {"n_prototypes": 0})
    assert refused.value.errors[0]["field"] == "parameters.n_prototypes"
    with pytest.raises(NotFound):
        client.get("absent")
    key = "the-same"
    client.cancel(client.submit("tiny", idempotency_key=key)["id"])
    with pytest.raises(Conflict):
        client.submit("tiny", {"n_prototypes": 9}, idempotency_key=key)
    with Client(live_server.url, "wrong") as stranger, pytest.raises(ServiceError) as forbidden:
        stranger.list()
    assert forbidden.value.status == 403


def test_the_same_from_an_event_loop(live_server: Any, tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncClient(live_server.url, live_server.token) as client:
            experiment = await client.submit("tiny", {"n_prototypes": 2})
            kinds = [event["kind"] async for event in client.events(experiment["id"])]
            assert "progress" in kinds
            view = await client.wait(experiment["id"], timeout=60)
            assert view["state"] == "succeeded"
            target = await client.download_results(experiment["id"], tmp_path / "r.zip")
            assert zipfile.ZipFile(target).testzip() is None
            found = [item["id"] async for item in client.iterate(limit=1, q=experiment["id"])]
            assert found == [experiment["id"]]
            with pytest.raises(NotFound):
                await client.get("absent")

    asyncio.run(run())


# -- servers that misbehave ---------------------------------------------------------------------------------

Script = Callable[[BaseHTTPRequestHandler, int], None]


@pytest.fixture
def scripted() -> Iterator[Callable[[Script], str]]:
    """`scripted(answer)` is the address of a server whose n-th request is answered by `answer(request, n)`."""
    servers: list[ThreadingHTTPServer] = []

    def start(script: Script) -> str:
        count = iter(range(1000))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.received = self.rfile.read(length)
                script(self, next(count))

            do_GET = do_POST = answer

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def send(
    request: BaseHTTPRequestHandler,
    status: int,
    body: bytes = b"{}",
    *,
    length: int | None = None,
    **headers: str,
) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    request.wfile.write(body)
    if length is not None and length != len(body):
        request.close_connection = True


def test_what_will_pass_is_tried_again(scripted: Callable[[Script], str]) -> None:
    statuses = [503, 502, 429, 200]
    url = scripted(lambda request, n: send(request, statuses[n], b'{"items": []}', Retry_After="0"))
    with Client(url, backoff=0.01) as client:
        assert client.queue() == {"items": []}


def test_a_submission_keeps_its_key_when_it_is_repeated(scripted: Callable[[Script], str]) -> None:
    keys: list[str] = []

    def answer(request: BaseHTTPRequestHandler, n: int) -> None:
        keys.append(request.headers["Idempotency-Key"])
        if n == 0:
            request.close_connection = True  # the answer is lost
        else:
            send(request, 201, b'{"id": "x"}')

    with Client(scripted(answer), backoff=0.01) as client:
        assert client.submit("tiny") == {"id": "x"}
        assert len(keys) == 2
        assert keys[0] == keys[1]
        client.submit("tiny")
        assert keys[2] != keys[0]


def test_patience_ends(scripted: Callable[[Script], str]) -> None:
    count: list[int] = []
    url = scripted(lambda request, n: (count.append(n), send(request, 503))[1])
    with Client(url, retries=3, backoff=0.001) as client, pytest.raises(Unreachable, match="4 tries"):
        client.queue()
    assert len(count) == 4
    with Client("http://127.0.0.1:1", retries=1, backoff=0.001) as client, pytest.raises(Unreachable):
        client.queue()


def test_a_broken_stream_of_events_goes_on_where_it_stopped(scripted: Callable[[Script], str]) -> None:
    asked: list[str] = []
    first = b'retry: 2000\n\nid: 10\nevent: state\ndata: {"kind":"state"}\n\n: here\n\nid: 20\nevent: progress\nda'
    rest = (
        b'id: 20\nevent: progress\ndata: {"kind":"progress"}\n\nid: 20\nevent: end\ndata: {"kind":"end"}\n\n'
    )

    def answer(request: BaseHTTPRequestHandler, n: int) -> None:
        asked.append(request.headers["Last-Event-ID"])
        body = (first, first[-20:], rest)[n]
        send(request, 200, body, length=len(body) + 1 if n < 2 else None, Content_Type="text/event-stream")

    with Client(scripted(answer), backoff=0.001) as client:
        events = list(client.events("x"))
    assert events == [{"kind": "state", "id": 10}, {"kind": "progress", "id": 20}]
    assert asked == ["0", "10", "10"]


def test_a_broken_download_goes_on_where_it_stopped(
    scripted: Callable[[Script], str], tmp_path: Path
) -> None:
    whole = bytes(range(256)) * 1000
    ranges: list[str | None] = []

    def answer(request: BaseHTTPRequestHandler, n: int) -> None:
        ranges.append(request.headers.get("Range"))
        if n == 0:
            send(request, 200, whole[:100_000], length=len(whole), ETag='"v1"')
        else:
            assert request.headers["If-Range"] == '"v1"'
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            span = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
            send(request, 206, whole[start:], ETag='"v1"', Content_Range=span)

    with Client(scripted(answer), backoff=0.001) as client:
        target = client.download_results("x", tmp_path / "r.zip")
    assert target.read_bytes() == whole
    assert ranges == [None, "bytes=100000-"]


def test_a_download_of_another_version_starts_again(
    scripted: Callable[[Script], str], tmp_path: Path
) -> None:
    def answer(request: BaseHTTPRequestHandler, n: int) -> None:
        if n == 0:
            send(request, 200, b"old" * 1000, length=6000, ETag='"v1"')
        else:
            send(request, 200, b"new", ETag='"v2"')

    with Client(scripted(answer), backoff=0.001) as client:
        assert client.download_results("x", tmp_path / "r.zip").read_bytes() == b"new"


def test_a_download_that_fails_leaves_nothing(scripted: Callable[[Script], str], tmp_path: Path) -> None:
    url = scripted(
        lambda request, n: send(request, 404, json.dumps({"message": "There are no results yet"}).encode())
    )
    with Client(url) as client, pytest.raises(NotFound, match="no results yet"):
        client.download_results("x", tmp_path / "r.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_becomes_a_dataset(client: Client, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a/1.png", 'b/quote" ü.png', ".hidden/3.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (len(name), 50, 60)).save(path)
    dataset = client.upload(tmp_path / "images", name="by the client")
    assert (dataset["state"], dataset["counts"]["images"], dataset["name"]) == ("ready", 2, "by the client")
    assert client.dataset(dataset["id"])["id"] == dataset["id"]
    assert dataset["id"] in [item["id"] for item in client.datasets(q="client")["items"]]
    single = client.upload([tmp_path / "images" / "a" / "1.png"])
    assert single["counts"]["images"] == 1
    assert client.update_dataset(single["id"], keep=True)["keep"] is True
    with pytest.raises(Conflict, match="kept"):
        client.delete_dataset(single["id"])
    client.delete_dataset(dataset["id"])
    client.delete_dataset(single["id"], force=True)
    with pytest.raises(NotFound):
        client.dataset(dataset["id"])
    with pytest.raises(InvalidRequest):
        client.upload(tmp_path / "absent")
    with pytest.raises(InvalidRequest):
        client.add_documents([{"type": "zip", "src": "ftp://example.org/a.zip"}])


def test_uploads_from_an_event_loop(live_server: Any, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (12, 12)).save(tmp_path / "a.png")

    async def run() -> None:
        async with AsyncClient(live_server.url, live_server.token) as client:
            dataset = await client.upload([tmp_path / "a.png"])
            assert dataset["state"] == "ready"

    asyncio.run(run())


def test_a_model_that_is_not_there_is_not_applied(live_server: Any) -> None:
    with Client(live_server.url, live_server.token) as client:
        with pytest.raises(NotFound):
            client.assign("019aaf2e-4b1f-7c3a-9f00-3b6f1c2d4e5f", "sample")
        waiting = client.submit("dti_sprites", {"epochs": 1})
        client.cancel(waiting["id"])
        with pytest.raises(Conflict, match="only a finished model"):
            client.assign(waiting["id"], documents=[{"type": "zip", "src": "https://example.org/a.zip"}])


def test_a_log_is_read_on_without_errors(client: Client, live_server: Any) -> None:
    id = client.wait(client.submit("tiny")["id"], poll_s=0.1)["id"]
    whole = client.log(id)
    assert b"printed by the notebook" in whole
    for start in (1, 5, len(whole) - 1, len(whole)):
        assert client.log(id, start) == whole[start:]
    lines = [line for line in live_server.output().splitlines() if id in line]
    assert not any(" 416 " in line for line in lines)
