"""Log, notebook, report, results one by one and as a zip; thumbnails."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

from dti_service.experiment import Experiment
from dti_service.handlers.files import SANDBOX
from dti_service.service import Service

Fetch = Callable[..., Any]
Make = Callable[..., Experiment]


def png(size: tuple[int, int] = (400, 300), mode: str = "RGB", noise: bool = True) -> bytes:
    rng = np.random.default_rng(0)
    channels = {"RGB": 3, "RGBA": 4}[mode]
    shape = (size[1], size[0], channels)
    pixels = rng.integers(0, 255, shape, np.uint8) if noise else np.full(shape, 120, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "PNG")
    return buffer.getvalue()


def executed_notebook(script: str = "") -> str:
    cell = nbformat.v4.new_code_cell(
        "1 + 1", outputs=[nbformat.v4.new_output("display_data", {"text/html": script})]
    )
    return nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))


async def test_a_log_and_parts_of_it(fetch: Fetch, make: Make) -> None:
    text = "".join(f"line {i} – ü\n" for i in range(100_000))
    experiment = make("running", files={"log.txt": text})
    route = ("experiments", experiment.id, "log")
    response = await fetch("GET", *route)
    assert response.code == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.body.decode() == text
    part = await fetch("GET", *route, headers={"Range": "bytes=10-19"})
    assert (part.code, part.body) == (206, text.encode()[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(text.encode())}"
    rest = await fetch("GET", *route, headers={"Range": f"bytes={len(text.encode()) - 3}-"})
    assert (rest.code, rest.body) == (206, text.encode()[-3:])
    last = await fetch("GET", *route, headers={"Range": "bytes=-5"})
    assert last.body == text.encode()[-5:]
    beyond = await fetch("GET", *route, headers={"Range": f"bytes={len(text.encode())}-"})
    assert beyond.code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(text.encode())}"
    for nonsense in ("bytes=9-5", "lines=1-2", "bytes=0-1,4-5", "bytes=-", "bytes=a-b"):
        assert (await fetch("GET", *route, headers={"Range": nonsense})).code == 200


@pytest.mark.parametrize("lines", [0, 1, 3, 50_000, 200_000])
async def test_the_tail_of_a_log(fetch: Fetch, make: Make, lines: int) -> None:
    text = "".join(f"line {i}\n" for i in range(100_000)) + "unfinished"
    experiment = make("running", files={"log.txt": text})
    response = await fetch("GET", "experiments", experiment.id, "log", params={"tail": lines})
    kept = text.splitlines(keepends=True)
    assert response.body.decode() == "".join(kept[len(kept) - lines :] if lines < len(kept) else kept)


async def test_versions_spare_what_is_known(fetch: Fetch, make: Make, service: Service) -> None:
    experiment = make("running", files={"log.txt": "one\n"})
    route = ("experiments", experiment.id, "log")
    first = await fetch("GET", *route)
    etag = first.headers["ETag"]
    known = await fetch("GET", *route, headers={"If-None-Match": etag})
    assert (known.code, known.body) == (304, b"")
    since = await fetch("GET", *route, headers={"If-Modified-Since": first.headers["Last-Modified"]})
    assert since.code == 304
    with (service.store.directory(experiment.id) / "log.txt").open("a") as stream:
        stream.write("two\n")
    assert (await fetch("GET", *route, headers={"If-None-Match": etag})).body == b"one\ntwo\n"
    stale = await fetch("GET", *route, headers={"Range": "bytes=4-", "If-Range": etag})
    assert (stale.code, stale.body) == (200, b"one\ntwo\n")


async def test_head_tells_size_and_version_only(fetch: Fetch, make: Make) -> None:
    experiment = make("succeeded", files={"log.txt": "12345", "results/a.json": "{}"})
    for route, size in ((("log",), "5"), (("artifacts", "a.json"), "2")):
        response = await fetch("HEAD", "experiments", experiment.id, *route)
        assert (response.code, response.body) == (200, b"")
        assert response.headers["Content-Length"] == size
        assert response.headers["ETag"]


@pytest.mark.parametrize("route", ["log", "notebook", "notebook.html", "report.html", "results.zip"])
async def test_what_is_not_there_yet_is_not_found(fetch: Fetch, make: Make, route: str) -> None:
    experiment = make("queued")
    response = await fetch("GET", "experiments", experiment.id, route)
    assert response.code == 404
    assert json.loads(response.body)["message"]


async def test_the_executed_notebook_while_it_runs(fetch: Fetch, make: Make) -> None:
    experiment = make("running", files={"notebook.ipynb": executed_notebook()})
    response = await fetch("GET", "experiments", experiment.id, "notebook")
    assert response.headers["Content-Type"] == "application/json"
    assert "".join(json.loads(response.body)["cells"][0]["source"]) == "1 + 1"


async def test_the_notebook_as_a_page_cannot_act(fetch: Fetch, make: Make, service: Service) -> None:
    script = "<script>fetch('/api/contents')</script>"
    experiment = make("running", files={"notebook.ipynb": executed_notebook(script)})
    response = await fetch("GET", "experiments", experiment.id, "notebook.html")
    assert response.code == 200
    policy = response.headers["Content-Security-Policy"]
    assert policy == SANDBOX
    assert policy.startswith("sandbox;")
    assert "allow-scripts" not in policy
    assert b"1 " in response.body
    etag = response.headers["ETag"]
    assert (
        await fetch("GET", "experiments", experiment.id, "notebook.html", headers={"If-None-Match": etag})
    ).code == 304
    path = service.store.directory(experiment.id) / "notebook.ipynb"
    path.write_text(executed_notebook("changed"))
    os.utime(path, ns=(1, 1))
    changed = await fetch(
        "GET", "experiments", experiment.id, "notebook.html", headers={"If-None-Match": etag}
    )
    assert changed.code == 200
    path.write_text("{not a notebook")
    assert (await fetch("GET", "experiments", experiment.id, "notebook.html")).code == 409


async def test_html_of_a_run_is_sandboxed(fetch: Fetch, make: Make) -> None:
    files = {
        "results/report.html": "<h1>r</h1>",
        "results/clusters.html": "<h1>c</h1>",
        "results/x.svg": "<svg/>",
    }
    experiment = make("succeeded", files=dict(files))
    for route in (("report.html",), ("artifacts", "clusters.html"), ("artifacts", "x.svg")):
        response = await fetch("GET", "experiments", experiment.id, *route)
        assert response.code == 200
        assert response.headers["Content-Security-Policy"] == SANDBOX
        assert response.headers["X-Content-Type-Options"] == "nosniff"


TABLE = (
    "image_id,path,cluster_id,distance,dist_cluster_0,dist_cluster_1,date,matrix_affine\n"
    '0,"a, b/0.jpg",1,0.5,0.75,0.5,1480,"[1.0, 0.0]"\n'
    "1,c.jpg,0,0.25,0.25,0.5,,\n"
)


async def test_members_are_the_table_without_what_can_wait(fetch: Fetch, make: Make) -> None:
    experiment = make("running", files={"log.txt": ""})
    route = ("experiments", experiment.id, "members")
    early = await fetch("GET", *route)
    assert (early.code, early.body) == (204, b"")
    files: dict[str, bytes | str] = {
        "results/cluster_by_path.csv": TABLE,
        "results/clusters/cluster1/0_raw.jpg": b"x",
        "results/clusters/cluster1/0_tsf.jpg": b"x",
    }
    experiment = make("succeeded", files=dict(files))
    route = ("experiments", experiment.id, "members")
    for _ in range(2):  # made, then kept
        answer = await fetch("GET", *route)
        assert answer.code == 200
        assert json.loads(answer.body) == {
            "images": "jpg",
            "masked_prototypes": False,
            "columns": TABLE.splitlines()[0].split(","),
            "table": 'image_id,path,cluster_id,distance,date\n0,"a, b/0.jpg",1,0.5,1480\n1,c.jpg,0,0.25,\n',
        }
    again = await fetch("GET", *route, headers={"If-None-Match": answer.headers["Etag"]})
    assert again.code == 304


async def test_members_follow_the_table_and_say_what_it_lacks(
    fetch: Fetch, make: Make, service: Service
) -> None:
    experiment = make("running", files={"results/cluster_by_path.csv": TABLE})
    route = ("experiments", experiment.id, "members")
    assert json.loads((await fetch("GET", *route)).body)["images"] is None
    results = service.store.directory(experiment.id) / "results"
    (results / "cluster_by_path.csv").write_text(TABLE + "2,d.jpg,0,0.125,0.125,0.5,,\n")
    (results / "masked_prototypes").mkdir()
    (results / "masked_prototypes" / "prototype0.png").write_bytes(b"x")
    later = json.loads((await fetch("GET", *route)).body)
    assert later["table"].endswith("2,d.jpg,0,0.125,\n")
    assert later["masked_prototypes"] is True
    (results / "cluster_by_path.csv").write_text(TABLE + "3\n")
    assert (await fetch("GET", *route)).code == 422


async def test_artifacts_are_listed_with_sizes_while_it_runs(fetch: Fetch, make: Make) -> None:
    files: dict[str, bytes | str] = {
        "results/prototypes/prototype0.png": png(),
        "results/cluster_by_path.csv": "a,b\n",
        "results/.tmp-half": "x",
        "checkpoint/state.json": "{}",
    }
    experiment = make("running", files=files)
    page = json.loads((await fetch("GET", "experiments", experiment.id, "artifacts")).body)
    assert [(item["path"], item["type"]) for item in page["items"]] == [
        ("cluster_by_path.csv", "text/csv; charset=utf-8"),
        ("prototypes/prototype0.png", "image/png"),
    ]
    assert page["items"][0]["size"] == 4
    assert (page["total"], page["next_cursor"]) == (2, None)
    params = {"limit": 1}
    first = json.loads((await fetch("GET", "experiments", experiment.id, "artifacts", params=params)).body)
    params = {"limit": 1, "cursor": first["next_cursor"]}
    second = json.loads((await fetch("GET", "experiments", experiment.id, "artifacts", params=params)).body)
    assert first["items"] + second["items"] == page["items"]
    assert second["next_cursor"] is None
    prefix = json.loads(
        (await fetch("GET", "experiments", experiment.id, "artifacts", params={"prefix": "prototypes/"})).body
    )
    assert prefix["total"] == 1


async def test_an_artifact_by_the_names_of_list_and_events(fetch: Fetch, make: Make) -> None:
    experiment = make("running", files={"results/a b/ü.txt": "text", "live/p-00000001.png": png((8, 8))})
    for name in ("a%20b/%C3%BC.txt", "results/a%20b/%C3%BC.txt"):
        response = await fetch("GET", "experiments", experiment.id, "artifacts", *name.split("/"))
        assert (response.code, response.body) == (200, b"text")
    live = await fetch("GET", "experiments", experiment.id, "artifacts", "live", "p-00000001.png")
    assert live.headers["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    "name",
    [
        "../experiment.json",
        "..%2Fexperiment.json",
        "prototypes/../../experiment.json",
        "%2Fetc%2Fpasswd",
        "..%5Cexperiment.json",
        "results/../experiment.json",
        "live/../experiment.json",
        "link.txt",
        "folder/passwd",
        "prototypes",
        "absent.png",
        ".",
        "a%00b",
        "x" * 5000,
    ],
)
async def test_no_way_out_of_the_results(
    fetch: Fetch, make: Make, service: Service, name: str, tmp_path: Path
) -> None:
    experiment = make("succeeded", files={"results/prototypes/note.txt": "x"})
    results = service.store.directory(experiment.id) / "results"
    (results / "link.txt").symlink_to(results.parent / "experiment.json")
    (results / "folder").symlink_to("/etc")
    response = await fetch("GET", "experiments", experiment.id, "artifacts", *name.split("/"))
    assert response.code == 404


async def test_the_results_as_a_zip(fetch: Fetch, make: Make, service: Service, data_dir: Path) -> None:
    large = os.urandom(700_000)
    files: dict[str, bytes | str] = {
        "results/prototypes/prototype0.png": png(),
        "results/metrics.json": "{}",
        "results/model.safetensors": large,
        "results/.tmp-half": "x",
    }
    experiment = make("succeeded", files=files)
    before = {path for path in data_dir.rglob("*") if "index.sqlite3" not in path.name}
    response = await fetch("GET", "experiments", experiment.id, "results.zip")
    assert response.headers["Content-Type"] == "application/zip"
    assert f"{experiment.id}.zip" in response.headers["Content-Disposition"]
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert int(response.headers["Content-Length"]) == len(response.body)
    with zipfile.ZipFile(io.BytesIO(response.body)) as opened:
        assert opened.namelist() == ["metrics.json", "model.safetensors", "prototypes/prototype0.png"]
        assert opened.read("model.safetensors") == large
    part = await fetch("GET", "experiments", experiment.id, "results.zip", headers={"Range": "bytes=1000-"})
    assert (part.code, part.body) == (206, response.body[1000:])
    etag = response.headers["ETag"]
    known = await fetch("GET", "experiments", experiment.id, "results.zip", headers={"If-None-Match": etag})
    assert known.code == 304
    assert {path for path in data_dir.rglob("*") if "index.sqlite3" not in path.name} == before


async def test_the_zip_of_a_running_experiment(fetch: Fetch, make: Make) -> None:
    experiment = make("running", files={"results/metrics.json": "{}"})
    response = await fetch("GET", "experiments", experiment.id, "results.zip", headers={"Range": "bytes=5-"})
    assert response.code == 200
    assert zipfile.ZipFile(io.BytesIO(response.body)).namelist() == ["metrics.json"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
async def test_thumbnails_are_small_and_made_once(
    fetch: Fetch, make: Make, service: Service, mode: str
) -> None:
    experiment = make("succeeded", files={"results/p/a.png": png((900, 600), mode)})
    route = ("experiments", experiment.id, "artifacts", "p", "a.png")
    webp = await fetch("GET", *route, params={"thumbnail": 128}, headers={"Accept": "image/webp,*/*"})
    jpeg = await fetch("GET", *route, params={"thumbnail": 128}, headers={"Accept": "image/jpeg"})
    for response, form in ((webp, "WEBP"), (jpeg, "JPEG")):
        assert response.code == 200
        assert response.headers["Content-Type"] == f"image/{form.lower()}"
        assert len(response.body) <= 5 * 1024
        image = Image.open(io.BytesIO(response.body))
        assert image.format == form
        assert max(image.size) <= 128
    cached = sorted((service.store.directory(experiment.id) / "thumbnails").iterdir())
    assert len(cached) == 2
    stamps = [path.stat().st_mtime_ns for path in cached]
    again = await fetch("GET", *route, params={"thumbnail": 128}, headers={"Accept": "image/webp"})
    assert again.body == webp.body
    assert [path.stat().st_mtime_ns for path in cached] == stamps
    listed = json.loads((await fetch("GET", "experiments", experiment.id, "artifacts")).body)
    assert listed["total"] == 1
    larger = await fetch("GET", *route, params={"thumbnail": 256})
    assert max(Image.open(io.BytesIO(larger.body)).size) == 256


async def test_a_small_picture_is_not_enlarged(fetch: Fetch, make: Make) -> None:
    experiment = make("succeeded", files={"results/a.png": png((28, 28), noise=False)})
    response = await fetch(
        "GET", "experiments", experiment.id, "artifacts", "a.png", params={"thumbnail": 128}
    )
    assert Image.open(io.BytesIO(response.body)).size == (28, 28)


@pytest.mark.parametrize("content", [b"", b"not an image", png()[:200], b"GIF89a"])
async def test_only_images_have_thumbnails(fetch: Fetch, make: Make, content: bytes) -> None:
    experiment = make("succeeded", files={"results/a.png": content})
    response = await fetch(
        "GET", "experiments", experiment.id, "artifacts", "a.png", params={"thumbnail": 128}
    )
    assert response.code == 422
    for size in ("0", "31", "513", "big"):
        params = {"thumbnail": size}
        assert (
            await fetch("GET", "experiments", experiment.id, "artifacts", "a.png", params=params)
        ).code == 400


async def test_the_original_file_of_an_image(make: Make, fetch: Fetch, tmp_path: Path) -> None:
    """From the folder that the run read, and from nowhere else; formats that browsers do not draw come as PNG."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (300, 200), "red").save(folder / "a.jpg")
    Image.new("I;16", (30, 20), 65535).save(folder / "b.tif")
    (folder / "c.png").write_text("no image")
    Image.new("L", (8, 8)).save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    paths = [
        folder / "a.jpg",
        folder / "b.tif",
        folder / "c.png",
        tmp_path / "outside.png",
        folder / "link.png",
    ]
    images = {str(n): {"name": path.name, "path": str(path)} for n, path in enumerate(paths)}
    table = json.dumps({"root": str(folder), "images": images})
    experiment = make("succeeded", files={"results/original.json": table}, dataset=str(folder))

    async def get(number: int) -> Any:
        return await fetch("GET", "experiments", experiment.id, "originals", str(number))

    first = await get(0)
    assert first.body == (folder / "a.jpg").read_bytes()
    assert first.headers["Content-Type"] == "image/jpeg"
    second = await get(1)
    with Image.open(io.BytesIO(second.body)) as shown:
        assert (shown.format, shown.size, shown.getextrema()) == ("PNG", (30, 20), (255, 255))
    assert (await get(2)).code == 422
    for number in (3, 4, 9):
        assert (await get(number)).code == 404, number
    assert (await fetch("HEAD", "experiments", experiment.id, "originals", "0")).body == b""
