"""Datasets over HTTP: uploads, documents, pages of images, deletion, uploads that go on where they broke off."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from PIL import Image

from dti_service.datasets.jobs import DatasetJobs
from dti_service.experiment import Experiment, timestamp
from dti_service.ids import new_id

Fetch = Callable[..., Any]


def read(response: Any) -> Any:
    return json.loads(response.body)


def files(folder: Path) -> list[str]:
    """Below datasets/, without what belongs to other parts of the service."""
    return sorted(p.relative_to(folder).as_posix() for p in (folder / "datasets").rglob("*") if p.is_file())


async def test_single_images_become_one_dataset(fetch: Fetch, make: Any, jp_base_url: str) -> None:
    form = [
        ("name", None, b"coins"),
        ("files", "a.png", make.image()),
        ("files", "sub/b.jpg", make.image("JPEG")),
    ]
    response = await fetch("POST", "datasets", form=form)
    assert response.code == 201
    view = read(response)
    assert (view["state"], view["name"], view["counts"]["images"]) == ("ready", "coins", 2)
    assert (
        response.headers["Location"] == f"{jp_base_url}dti/api/datasets/{view['id']}" == view["links"]["self"]
    )
    assert read(await fetch("GET", f"datasets/{view['id']}")) == view
    page = read(await fetch("GET", f"datasets/{view['id']}/images"))
    assert [(item["n"], item["file"]) for item in page["items"]] == [(0, "a.png"), (1, "sub/b.jpg")]
    assert (page["total"], page["next_cursor"]) == (2, None)


async def test_folder_as_it_is_dragged_onto_a_page(fetch: Fetch, make: Any, jobs: DatasetJobs) -> None:
    form = [
        ("files", "set/a.png", make.image()),
        ("files", "set/.DS_Store", b"x"),
        ("files", "set/labels.csv", b"name,label\na.png,coin\n"),
    ]
    view = read(await fetch("POST", "datasets", form=form))
    assert view["counts"]["images"] == 1
    table = jobs.catalogue.directory(view["id"]) / "labels.csv"
    assert table.read_text() == "name,label\nset/a.png,coin\n"


async def test_archive_and_images_together(fetch: Fetch, make: Any, data_dir: Path) -> None:
    archive = make.zip({"x/a.png": make.image(), "x/b.png": make.image()})
    form = [
        ("files", "a.png", make.image()),
        ("files", "Mes coins à moi.zip", archive),
        ("files", "b.pdf", make.pdf(1)),
    ]
    view = read(await fetch("POST", "datasets", form=form))
    assert view["counts"]["images"] == 4
    assert [document["type"] for document in view["documents"]] == ["upload"] * 3
    items = read(await fetch("GET", f"datasets/{view['id']}/images"))["items"]
    assert [item["file"] for item in items] == [
        "upload/a.png",
        "Mescoinsàmoi/x/a.png",
        "Mescoinsàmoi/x/b.png",
        "b/b_0001.jpg",
    ]
    assert not any("upload" in Path(name).parts[1] for name in files(data_dir))


async def test_documents_by_address(fetch: Fetch, make: Any, site: Any) -> None:
    url = site.add("/d.zip", make.zip({"a.png": make.image(), "b.png": make.image()}))
    response = await fetch("POST", "datasets", json={"documents": [{"type": "zip", "src": url, "uid": "d"}]})
    assert response.code == 201
    assert read(response)["documents"] == [
        {"uid": "d", "type": "zip", "src": url, "title": None, "images": 2}
    ]


async def test_image_its_parts_its_version_and_its_thumbnail(fetch: Fetch, make: Any) -> None:
    content = make.image("JPEG", (300, 200))
    view = read(await fetch("POST", "datasets", form=[("files", "é.jpg", content)]))
    path = f"datasets/{view['id']}/images/0"
    whole = await fetch("GET", path)
    assert whole.body == content
    assert whole.headers["Content-Type"] == "image/jpeg"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    part = await fetch("GET", path, headers={"Range": "bytes=10-19"})
    assert (part.code, part.body) == (206, content[10:20])
    assert (await fetch("GET", path, headers={"If-None-Match": whole.headers["Etag"]})).code == 304
    assert (await fetch("HEAD", path)).headers["Content-Length"] == str(len(content))
    for size in (128, 64):
        small = await fetch("GET", f"{path}?thumbnail={size}")
        assert small.headers["Content-Type"] == "image/webp"
        with Image.open(io.BytesIO(small.body)) as image:
            assert max(image.size) == size


async def test_pages_of_images(fetch: Fetch, make: Any) -> None:
    form = [("files", f"{i}.png", make.image(size=(i + 1, 5))) for i in range(5)]
    view = read(await fetch("POST", "datasets", form=form))
    seen: list[int] = []
    cursor = ""
    while cursor is not None:
        page = read(
            await fetch(
                "GET", f"datasets/{view['id']}/images?limit=2" + (f"&cursor={cursor}" if cursor else "")
            )
        )
        seen += [item["width"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [1, 2, 3, 4, 5]


async def test_list_is_paged_filtered_and_sorted(fetch: Fetch, make: Any) -> None:
    for name in ("one", "two", "three"):
        await fetch(
            "POST", "datasets", form=[("name", None, name.encode()), ("files", "a.png", make.image())]
        )
    page = read(await fetch("GET", "datasets?limit=2"))
    assert ([item["name"] for item in page["items"]], page["total"]) == (["three", "two"], 3)
    rest = read(await fetch("GET", f"datasets?limit=2&cursor={page['next_cursor']}"))
    assert ([item["name"] for item in rest["items"]], rest["next_cursor"]) == (["one"], None)
    assert (
        next(item["name"] for item in read(await fetch("GET", "datasets?sort=created_at"))["items"]) == "one"
    )
    assert read(await fetch("GET", "datasets?q=TWO"))["total"] == 1
    assert read(await fetch("GET", "datasets?state=failed"))["total"] == 0
    assert (await fetch("GET", "datasets?sort=size")).code == 400


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.zip", "traversal", "leads out"),
        ("a.png", b"no image", "not an image"),
        ("a.pdf", b"no pdf", "not a PDF"),
        ("../../a.png", "image", "leads out"),
        ("/etc/passwd", "image", "absolute"),
        ("C:\\a.png", "image", "absolute"),
        ("a.txt", b"hello", "not an image"),
    ],
)
async def test_hostile_upload_gets_422_and_leaves_nothing(
    fetch: Fetch, make: Any, data_dir: Path, name: str, content: Any, word: str
) -> None:
    contents = {"traversal": make.zip({"../a.png": make.image()}), "image": make.image()}
    sent = contents.get(content, content)
    response = await fetch("POST", "datasets", form=[("files", name.replace("\\", "\\\\"), sent)])
    assert response.code == 422
    answer = read(response)
    assert word in answer["message"]
    assert answer["errors"][0]["field"]
    assert "Traceback" not in response.body.decode()
    assert str(data_dir) not in response.body.decode()
    assert files(data_dir) == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=" + "b" * 300, b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b\r\n"),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--bgarbage\r\n\r\n\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: y\r\n\r\nv\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: y\r\n" * 5000 + b"\r\nv\r\n--b--"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nv\r\n--b--',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xff\r\n--b--',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nv',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="f"; filename=""\r\n\r\nv\r\n--b--',
        ),
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("application/json", b""),
        ("application/json", b'{"documents": []}'),
        ("application/json", b'{"documents": [{"type": "zip", "src": "http://10.0.0.1/a.zip"}]}'),
        ("application/json", b'{"documents": [{"type": "folder", "src": "/etc"}]}'),
        (
            "application/json",
            b'{"documents": [{"type": "upload", "files": [{"name": "a", "sha256": "%s"}]}]}' % (b"0" * 64),
        ),
        ("text/plain", b"hello"),
    ],
)
async def test_malformed_request_is_a_4xx(
    fetch: Fetch, data_dir: Path, content_type: str, body: bytes
) -> None:
    response = await fetch("POST", "datasets", body=body, headers={"Content-Type": content_type})
    assert 400 <= response.code < 500
    assert read(response)["message"]
    assert files(data_dir) == []


async def test_upload_that_is_too_large(fetch: Fetch, data_dir: Path) -> None:
    form = [("files", "a.png", bytes(9 << 20))]
    assert (await fetch("POST", "datasets", form=form)).code == 413
    form = [("files", f"{i}.png", bytes(8 << 20)) for i in range(10)]
    assert (await fetch("POST", "datasets", form=form)).code == 413
    assert files(data_dir) == []


async def test_large_upload_is_not_held_in_memory(
    fetch: Fetch,
    jp_base_url: str,
    jp_http_port: int,
    jp_auth_header: dict[str, str],
    jobs: DatasetJobs,
    make: Any,
) -> None:
    """60 MB through a raw socket, so that the client does not hold them either."""
    import dataclasses

    jobs.datasets.policy = dataclasses.replace(
        jobs.datasets.policy, limits=dataclasses.replace(jobs.datasets.policy.limits, document_bytes=1 << 30)
    )
    picture = make.image("BMP", (4000, 5000))  # 60 MB
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.bmp"\r\n\r\n'
    tail = b"\r\n--b--\r\n"
    _reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
    length = len(head) + len(picture) + len(tail)
    lines = [
        f"POST {jp_base_url}dti/api/datasets HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: {jp_auth_header['Authorization']}",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {length}",
        "Connection: close",
    ]
    process = psutil.Process()
    before = highest = process.memory_info().rss
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + head)
    for start in range(0, len(picture), 1 << 20):
        writer.write(picture[start : start + (1 << 20)])
        await writer.drain()
        highest = max(highest, process.memory_info().rss)
    writer.write(tail)
    answer = await _reader.read()
    writer.close()
    assert b" 201 " in answer.split(b"\r\n", 1)[0]
    assert highest - before < 30 << 20


async def test_client_that_goes_away_leaves_nothing(
    jp_serverapp: Any,
    jp_base_url: str,
    jp_http_port: int,
    jp_auth_header: dict[str, str],
    data_dir: Path,
    fetch: Fetch,
) -> None:
    _reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
    lines = [
        f"POST {jp_base_url}dti/api/datasets HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: {jp_auth_header['Authorization']}",
        "Content-Type: multipart/form-data; boundary=b",
        "Content-Length: 1000000",
    ]
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(300_000)
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + part)
    await writer.drain()
    for _ in range(100):
        if files(data_dir):
            break
        await asyncio.sleep(0.02)
    assert files(data_dir)
    writer.close()
    for _ in range(100):
        if not files(data_dir):
            break
        await asyncio.sleep(0.02)
    assert files(data_dir) == []


async def test_nobody_without_the_token(
    http_server_client: Any, jp_base_url: str, make: Any, data_dir: Path
) -> None:
    for method, path in (("POST", "datasets"), ("GET", "datasets"), ("PUT", f"uploads/{'0' * 64}")):
        body = make.zip({"a.png": make.image()}) if method != "GET" else None
        response = await http_server_client.fetch(
            f"{jp_base_url}dti/api/{path}", method=method, body=body, raise_error=False
        )
        assert response.code == 403
    assert files(data_dir) == []


async def test_answers_are_as_the_document_says(fetch: Fetch, make: Any) -> None:
    from jsonschema import Draft202012Validator, FormatChecker

    from dti_service.handlers.openapi import DOCUMENT

    components = yaml.safe_load(DOCUMENT.read_text())["components"]

    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(value)

    view = read(await fetch("POST", "datasets", form=[("files", "a.png", make.image())]))
    check("Dataset", view)
    check("DatasetPage", read(await fetch("GET", "datasets")))
    check("ImagePage", read(await fetch("GET", f"datasets/{view['id']}/images")))
    check("Upload", read(await fetch("GET", f"uploads/{'ab' * 32}")))
    check("Error", read(await fetch("GET", f"datasets/{new_id()}")))


# -- slow documents ------------------------------------------------------------------------------------------------


async def test_slow_documents_are_made_in_the_background(
    fetch: Fetch, site: Any, make: Any, jobs: DatasetJobs
) -> None:
    import threading

    gate = threading.Event()
    content = make.zip({"a.png": make.image()})

    def page(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:20])
        gate.wait(20)
        request.wfile.write(content[20:])

    site.pages["/slow.zip"] = page
    documents = [{"type": "zip", "src": site.url + "/slow.zip"}]
    view = read(await fetch("POST", "datasets?wait=0", json={"documents": documents}))
    assert view["state"] in ("queued", "downloading")
    while read(await fetch("GET", f"datasets/{view['id']}"))["progress"] is None:
        await asyncio.sleep(0.02)
    assert read(await fetch("GET", f"datasets/{view['id']}"))["progress"]["unit"] == "bytes"
    assert read(await fetch("GET", f"datasets/{view['id']}/images"))["items"] == []
    gate.set()
    while (state := read(await fetch("GET", f"datasets/{view['id']}"))["state"]) != "ready":
        assert state == "downloading"
        await asyncio.sleep(0.02)


async def test_failure_in_the_background_is_in_the_record(fetch: Fetch, site: Any, data_dir: Path) -> None:
    documents = [{"type": "zip", "src": site.url + "/none.zip"}]
    view = read(await fetch("POST", "datasets?wait=0", json={"documents": documents}))
    while read(await fetch("GET", f"datasets/{view['id']}"))["state"] != "failed":
        await asyncio.sleep(0.02)
    failed = read(await fetch("GET", f"datasets/{view['id']}"))
    assert "404" in failed["errors"][0]["reason"]
    assert (await fetch("DELETE", f"datasets/{view['id']}")).code == 204
    assert files(data_dir) == []


async def test_dataset_in_the_making_can_be_deleted(fetch: Fetch, site: Any, data_dir: Path) -> None:
    def page(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        for _ in range(200):
            request.wfile.write(bytes(1000))
            request.wfile.flush()
            import time

            time.sleep(0.02)

    site.pages["/slow.zip"] = page
    documents = [{"type": "zip", "src": site.url + "/slow.zip"}]
    view = read(await fetch("POST", "datasets?wait=0", json={"documents": documents}))
    await asyncio.sleep(0.2)
    assert (await fetch("DELETE", f"datasets/{view['id']}")).code == 204
    assert (await fetch("GET", f"datasets/{view['id']}")).code == 404


async def test_unfinished_datasets_are_taken_up_by_the_next_server(
    jp_serverapp: Any, jobs: DatasetJobs, site: Any, make: Any, fetch: Fetch
) -> None:
    url = site.add("/d.zip", make.zip({"a.png": make.image()}))
    dataset = jobs.datasets.create({"documents": [{"type": "zip", "src": url}]})
    jobs.start()
    while jobs.catalogue.get(dataset.id).state != "ready":
        await asyncio.sleep(0.02)


async def test_dataset_of_a_waiting_experiment_is_not_deleted(
    fetch: Fetch, jp_serverapp: Any, make: Any, tmp_path: Path
) -> None:
    view = read(await fetch("POST", "datasets", form=[("files", "a.png", make.image())]))
    store = jp_serverapp.web_app.settings["dti_service_context"].service.store
    notebook = tmp_path / "n.ipynb"
    notebook.write_text("{}")
    moment = timestamp()
    experiment = Experiment(
        id=new_id(), notebook="n", name="n", dataset=view["id"], created_at=moment, queued_at=moment
    )
    store.create(experiment, notebook)
    response = await fetch("DELETE", f"datasets/{view['id']}")
    assert response.code == 409
    assert experiment.id in read(response)["message"]
    store.delete(experiment.id)
    assert (await fetch("DELETE", f"datasets/{view['id']}")).code == 204
    assert (await fetch("DELETE", f"datasets/{view['id']}")).code == 404


async def test_a_kept_dataset_is_deleted_only_with_force(fetch: Fetch, make: Any, data_dir: Path) -> None:
    view = read(await fetch("POST", "datasets", form=[("files", "a.png", make.image())]))
    assert view["keep"] is False
    path = f"datasets/{view['id']}"
    marked = await fetch("PATCH", path, json={"keep": True})
    assert (marked.code, read(marked)) == (200, {**view, "keep": True})
    for query in ("", "?force=false"):
        refused = await fetch("DELETE", path + query)
        assert refused.code == 409
        assert "keep: false" in read(refused)["message"]
    assert (await fetch("DELETE", f"{path}?force=maybe")).code == 400
    assert [item["keep"] for item in read(await fetch("GET", "datasets"))["items"]] == [True]
    assert (await fetch("PATCH", path, json={"keep": "yes"})).code == 422
    assert (await fetch("PATCH", path, json={"name": "other"})).code == 422
    assert read(await fetch("PATCH", path, json={}))["keep"] is True
    assert read(await fetch("PATCH", path, json={"keep": False}))["keep"] is False
    assert read(await fetch("PATCH", path, json={"keep": True}))["keep"] is True
    assert (await fetch("DELETE", f"{path}?force=true")).code == 204
    assert (await fetch("PATCH", path, json={"keep": True})).code == 404
    assert not (data_dir / path).exists()


async def test_unknown_ids_and_images(fetch: Fetch, make: Any) -> None:
    known = read(await fetch("POST", "datasets", form=[("files", "a.png", make.image())]))["id"]
    for dataset in ("..", "%2e%2e", "x", "0" * 36, ".uploads", new_id()):
        for rest in ("", "/images", "/images/0"):
            assert (await fetch("GET", f"datasets/{dataset}{rest}")).code in (404, 405)
    for rest in ("images/1", "images/-1", "images/x", "images/99999999999999"):
        assert (await fetch("GET", f"datasets/{known}/{rest}")).code == 404
    for query in ("thumbnail=9999", "thumbnail=x", "size=3"):
        assert (await fetch("GET", f"datasets/{known}/images/0?{query}")).code == 400


# -- uploads in pieces ---------------------------------------------------------------------------------------------


async def test_upload_in_pieces(fetch: Fetch, make: Any, data_dir: Path) -> None:
    content = make.zip({"a.png": make.image()})
    digest = hashlib.sha256(content).hexdigest()
    path = f"uploads/{digest}"
    assert read(await fetch("GET", path)) == {"sha256": digest, "received": 0, "complete": False}
    total = len(content)
    first = await fetch("PUT", path, body=content[:50], headers={"Content-Range": f"bytes 0-49/{total}"})
    assert read(first) == {"sha256": digest, "received": 50, "complete": False}
    wrong = await fetch(
        "PUT", path, body=content[60:], headers={"Content-Range": f"bytes 60-{total - 1}/{total}"}
    )
    assert wrong.code == 409
    rest = await fetch(
        "PUT", path, body=content[50:], headers={"Content-Range": f"bytes 50-{total - 1}/{total}"}
    )
    assert read(rest) == {"sha256": digest, "received": total, "complete": True}
    document = {"type": "upload", "files": [{"name": "a.zip", "sha256": digest}]}
    view = read(await fetch("POST", "datasets", json={"documents": [document]}))
    assert view["counts"]["images"] == 1
    assert not any(".uploads" in name for name in files(data_dir))
    # The content is known now: the same dataset can be asked for without sending it again.
    again = read(await fetch("POST", "datasets", json={"documents": [document]}))
    assert again["state"] == "ready"
    assert again["id"] != view["id"]


async def test_upload_with_another_hash_is_thrown_away(fetch: Fetch, data_dir: Path) -> None:
    path = f"uploads/{'ab' * 32}"
    response = await fetch("PUT", path, body=b"other content")
    assert response.code == 422
    assert "hash" in read(response)["message"]
    assert files(data_dir) == []


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("bytes 0-9", 400),
        ("bytes 9-0/10", 400),
        ("bytes 0-10/10", 400),
        ("bytes 0-9/99999999999", 413),
        ("items 0-9/10", 400),
        ("bytes 5-9/10", 409),
        ("bytes 0-9/10", 400),
    ],
)
async def test_ranges_that_do_not_add_up(fetch: Fetch, data_dir: Path, header: str, code: int) -> None:
    response = await fetch("PUT", f"uploads/{'ab' * 32}", body=b"1234567", headers={"Content-Range": header})
    assert response.code == code
    assert read(response)["message"]
    assert not any(name.endswith(".lock") for name in files(data_dir))


async def test_uploads_are_named_by_a_hash(fetch: Fetch) -> None:
    for name in ("x", "..", "AB" * 32, "a" * 63):
        assert (await fetch("GET", f"uploads/{name}")).code == 404
