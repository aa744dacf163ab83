"""Similarity search: the distance by itself, and the whole demo on a real server with a real tiny model."""

from __future__ import annotations

import csv
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from dti_service import Client
from dti_service.errors import InvalidRequest, NotFound
from dti_service.execution.parameters import notebook_schema
from dti_service.similarity import DEMO
from dti_service.similarity.search import Gallery, load, neighbours, save, signatures
from dti_sprites.data.samples import write_digits


def gallery(n: int = 7, k: int = 4) -> Gallery:
    rows = signatures(np.random.default_rng(0).random((n, k)))
    return Gallery([f"é{i}.png" for i in range(n)], [f"results/{i}.png" for i in range(n)], rows)


def test_neighbours_are_those_of_brute_force() -> None:
    rows = gallery(600).signatures
    order, distances = neighbours(rows, range(600), 5)
    far = np.sqrt(np.square(rows[:, None].astype(np.float64) - rows[None]).mean(-1))
    np.fill_diagonal(far, np.inf)
    expected = np.argsort(far, axis=1, kind="stable")[:, :5]
    np.testing.assert_allclose(distances, np.take_along_axis(far, expected, 1), rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(far, order, 1), distances, rtol=1e-5)


def test_equal_images_are_at_no_distance_in_their_order() -> None:
    order, distances = neighbours(np.ones((4, 3), np.float32), [2], 9)
    assert order.tolist() == [[0, 1, 3]]
    assert distances.tolist() == [[0, 0, 0]]
    assert neighbours(np.ones((1, 3), np.float32), [0], 9)[0].shape == (1, 0)


def test_signatures_of_log_densities() -> None:
    found = signatures(np.array([[-4.0, 0.0], [5.0, -3.0]]))
    np.testing.assert_allclose(found, [[0, 2], [3, 1]])


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    asked = gallery()
    save(tmp_path, asked, 3)
    again = load(tmp_path)
    assert (again.names, again.pictures) == (asked.names, asked.pictures)
    np.testing.assert_array_equal(again.signatures, asked.signatures)
    rows = list(csv.DictReader((tmp_path / "neighbours.csv").open(encoding="utf-8")))
    assert len(rows) == 7 * 3
    assert [row["neighbour"] for row in rows[:3]] == [near["name"] for near in asked.nearest(0, 3)]
    with pytest.raises(NotFound, match="0 to 6"):
        asked.nearest(7, 3)
    (tmp_path / "similarity.npz").write_bytes(b"no zip")
    with pytest.raises(NotFound):
        load(tmp_path)


def test_the_notebook_explains_its_parameters_and_keeps_no_outputs() -> None:
    schema = notebook_schema(DEMO.notebook)
    assert not schema.get("x-problems")
    assert all(item["description"] and "default" in item for item in schema["properties"].values())
    cells = nbformat.read(DEMO.notebook, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty handwritten digits, the first of them twice."""
    everything = write_digits(tmp_path_factory.mktemp("digits") / "all")
    folder = tmp_path_factory.mktemp("some")
    paths = sorted((everything / "images").iterdir())[:40]
    for path in paths:
        Image.open(path).save(folder / path.name)
    Image.open(paths[0]).save(folder / "again.png")
    return folder


@pytest.fixture(scope="module")
def searched(live_server: Any, digits: Path) -> dict[str, Any]:
    """A finished experiment of `similarity_search`."""
    with Client(live_server.url, live_server.token) as client:
        dataset = client.upload(digits)["id"]
        quick = {"n_prototypes": 4, "epochs": 1, "image_size": 16}
        model = client.wait(client.submit("dti_clustering", quick, dataset=dataset)["id"], poll_s=0.2)
        assert model["state"] == "succeeded", model["error"]
        with pytest.raises(InvalidRequest) as refused:
            client.submit("similarity_search", {"experiment": "0" * 36}, dataset=dataset)
        assert refused.value.errors[0]["field"] == "parameters.experiment"
        wanted = {"experiment": model["id"], "neighbours": 5}
        search = client.submit("similarity_search", wanted, dataset=dataset)
        found = client.wait(search["id"], poll_s=0.2)
        assert found["state"] == "succeeded", found["error"]
        return found


def get(live_server: Any, path: str, token: str | None = None) -> Any:
    request = urllib.request.Request(live_server.url + path.lstrip("/"))
    if token:
        request.add_header("Authorization", f"token {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read()


def test_the_same_image_is_the_nearest(live_server: Any, searched: dict[str, Any], digits: Path) -> None:
    with Client(live_server.url, live_server.token) as client:
        table = client.artifact(searched["id"], "results/neighbours.csv").decode()
    rows = [row for row in csv.DictReader(table.splitlines()) if row["path"].endswith("again.png")]
    first = sorted(path.name for path in digits.iterdir() if path.name != "again.png")[0]
    assert rows[0]["neighbour"].endswith(first)
    assert float(rows[0]["distance"]) == pytest.approx(0, abs=1e-4)
    assert len(rows) == 5


def test_the_route(live_server: Any, searched: dict[str, Any]) -> None:
    root = f"dti/demos/similarity_search/{searched['id']}/near"
    answer = json.loads(get(live_server, root + "?image=0&limit=3", live_server.token))
    assert answer["total"] == 41
    distances = [near["distance"] for near in answer["nearest"]]
    assert len(distances) == 3
    assert distances == sorted(distances)
    picture = answer["nearest"][0]["picture"]
    path = f"dti/api/experiments/{searched['id']}/artifacts/{picture}"
    assert get(live_server, path, live_server.token)[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
    other = searched["parameters"]["experiment"]
    for wrong, status in (
        (f"{root}?image=41", 404),
        (f"{root}?image=-1", 400),
        (f"{root}?limit=101", 400),
        (f"{root}?picture=1", 400),
        (root.replace(searched["id"], other), 404),
        ("dti/demos/similarity_search/static/../__init__.py", 404),
        ("dti/demos/similarity_search/static/absent.js", 404),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(live_server, wrong, live_server.token)
        assert refused.value.code == status, wrong


@pytest.mark.parametrize("path", ["{id}/near", "static/similarity.js", "view/{id}"])
def test_nothing_without_a_token(live_server: Any, searched: dict[str, Any], path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(live_server, "dti/demos/similarity_search/" + path.format(id=searched["id"]))
    assert refused.value.code == 403


@pytest.mark.browser
def until(page: Any, condition: str) -> None:
    """Wait until a JavaScript expression is true. (The page's policy forbids what the driver would use.)"""
    end = time.monotonic() + 30
    while not page.evaluate(f"() => Boolean({condition})"):
        assert time.monotonic() < end, f"never true: {condition}"
        page.wait_for_timeout(50)


def test_the_renderer(live_server: Any, searched: dict[str, Any], chromium: str) -> None:
    view = searched["links"]["view"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(f"{live_server.url}{view.lstrip('/')}?token={live_server.token}")
            page.wait_for_selector(".near-grid button")
            heading = page.inner_text("h2")
            until(page, "document.querySelector('.near-grid img').naturalWidth > 0")
            page.click(".near-grid li:first-child button")
            until(page, f"document.querySelector('h2').textContent !== {json.dumps(heading)}")
            assert not problems
            page.goto(f"{live_server.url}dti/#/e/{searched['id']}")
            page.get_by_role("button", name="About this run").click()
            link = page.get_by_role("link", name="similarity search")
            assert link.get_attribute("href") == view
        finally:
            browser.close()
