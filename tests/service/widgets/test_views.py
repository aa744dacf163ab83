"""Each widget in one line, and the picture that it leaves where nothing is live."""

from __future__ import annotations

import base64
import csv
import io
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from dti_service.cell_views import MIME
from dti_service.curations import Curations
from dti_service.errors import InvalidRequest
from dti_service.experiment import timestamp
from dti_service.store import Store
from dti_service.widgets import (
    ClusterBrowser,
    Comparison,
    ExperimentList,
    Launcher,
    Progress,
    open_experiment,
)

Words = Callable[[str], str]
ADDRESSES = {
    "ClusterBrowser": "#/e/{four}",
    "Progress": "#/e/{four}",
    "ExperimentList": "#/",
    "Launcher": "#/new",
    "Comparison": "#/compare?a={three}&b={four}",
}
READABLE = {
    "ClusterBrowser": "four 36 images in 4 clusters",
    "Progress": "four 36 images in 4 clusters",
    "ExperimentList": "Experiments 2 in all",
    "Launcher": "dti submit dti_clustering : DTI clustering",
    "Comparison": "three 36 images in 3 clusters",
}


def pictures(content: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', content)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


@pytest.fixture
def make(ids: dict[str, str]) -> Callable[[str], Any]:
    lines: dict[str, Callable[[], Any]] = {
        "ClusterBrowser": lambda: ClusterBrowser(),
        "Progress": lambda: Progress(),
        "ExperimentList": lambda: ExperimentList(),
        "Launcher": lambda: Launcher(),
        "Comparison": lambda: Comparison(ids["three"], ids["four"]),
    }
    return lambda name: lines[name]()


@pytest.mark.parametrize("name", ADDRESSES)
def test_one_line_gives_a_view_and_a_picture_that_stays_readable(
    make: Callable[[str], Any], ids: dict[str, str], data_dir: Path, words: Words, name: str
) -> None:
    data, _ = make(name)._repr_mimebundle_()
    assert READABLE[name] in words(data["text/html"])
    assert data[MIME]["address"] == ADDRESSES[name].format(**ids)
    assert data[MIME]["data_dir"] == str(data_dir)
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == data[MIME]["model_id"]
    assert data["text/plain"].startswith(name)


@pytest.mark.parametrize("name", ["ClusterBrowser", "Progress", "Comparison"])
def test_the_picture_of_a_result_holds_prototypes_and_images(make: Callable[[str], Any], name: str) -> None:
    found = pictures(make(name).picture)
    assert len(found) >= 4 + 4
    assert {picture.size for picture in found} == {(24, 24)}
    colours = {picture.convert("RGB").getpixel((12, 12)) for picture in found}
    assert len(colours) > 3, "the images themselves, not one placeholder"


def test_names_from_people_are_text(ids: dict[str, str], data_dir: Path) -> None:
    Store(data_dir).annotate(ids["four"], name="<script>alert(1)</script>")
    for content in (
        ClusterBrowser(ids["four"]).picture,
        ExperimentList().picture,
        Comparison(*ids.values()).picture,
        open_experiment(ids["four"]).html,
    ):
        assert "<script" not in content
        assert "&lt;script&gt;alert(1)" in content


def test_any_way_to_name_an_experiment(ids: dict[str, str], data_dir: Path, tmp_path: Path) -> None:
    directory = data_dir / "experiments" / ids["three"]
    for named in (ids["three"], directory, str(directory / "results"), {"id": ids["three"], "name": "three"}):
        assert ClusterBrowser(named).found.id == ids["three"]
    copy = tmp_path / "from a colleague"
    shutil.copytree(directory, copy)
    shutil.rmtree(data_dir)
    assert ClusterBrowser(copy).found.experiment.name == "three"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("01a21440-b2ef-7895-9ec4-2296dd1cf069", "there is no experiment"),
        ("no such folder", "there is no folder"),
        (".", "is not the directory of an experiment"),
    ],
)
def test_what_is_not_there_is_said_with_the_remedy(data_dir: Path, given: str, reason: str) -> None:
    for call in (ClusterBrowser, Progress, open_experiment):
        with pytest.raises(InvalidRequest, match=reason) as refused:
            call(given)
        assert refused.value.errors[0]["field"] == "experiment"
        shown = "\n".join(refused.value._render_traceback_())
        assert reason in shown
        assert "File" not in shown


def test_an_empty_data_directory_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="dti quickstart"):
        ClusterBrowser(data_dir=tmp_path)


def test_the_newest_is_one_with_a_result(
    data_dir: Path, ids: dict[str, str], make_experiment: Any, words: Words
) -> None:
    now = timestamp()
    looked = make_experiment(
        state="succeeded", name="only looked", notebook="explore_experiment", finished_at=now
    )
    assert looked.state == "succeeded"
    assert ClusterBrowser().found.id == ids["four"]
    waiting = make_experiment(name="waits")
    assert Progress().found.id == waiting.id
    assert "waits queued" in words(Progress().picture)


def test_a_failed_run_shows_why(data_dir: Path, make_experiment: Any, words: Words) -> None:
    error = {"kind": "bad_input", "message": "3 files are no images", "cell": 2}
    failed = make_experiment(state="failed", name="coins", error=error, finished_at=timestamp())
    assert "3 files are no images" in words(ClusterBrowser(failed.id).picture)
    assert "3 files are no images" in words(open_experiment(failed.id).html)
    with pytest.raises(InvalidRequest, match="no result yet"):
        open_experiment(failed.id).to_csv()


# -- curated versions, plots, exports -------------------------------------------------------------------------


@pytest.fixture
def curated(ids: dict[str, str], data_dir: Path) -> Path:
    """The directory of "three" with a version "mine" in which image 0 stands alone in "Red seals"."""
    directory = data_dir / "experiments" / ids["three"]
    clusters = [{"id": str(k), "name": f"Cluster {k}", "prototype": k} for k in range(3)]
    clusters.append({"id": "n1", "name": "Red seals", "prototype": None, "state": "checked"})
    state = {"clusters": clusters, "moved": {"0": "n1"}, "images": {}}
    document = {"title": "My reading", "author": "Marie", "state": state, "operations": [], "cursor": 0}
    Curations(directory).write("mine", document, check=lambda _: None)
    return directory


def test_a_curated_version_is_shown_and_taken_home(curated: Path, words: Words) -> None:
    opened = open_experiment(curated)
    assert "mine My reading Marie" in words(opened.readings().html)
    assert "2 to see" not in words(opened.readings().html)
    assert "3 to see, 1 checked" in words(opened.readings().html)
    browser = opened.browse("mine")
    assert browser.spec["address"].endswith("?v=mine")
    assert "Red seals 1 image" in words(browser.picture)
    assert "Red seals" in words(opened.sizes("mine").html)
    rows = list(csv.DictReader(io.StringIO(browser.to_csv().read_text(encoding="utf-8-sig"))))
    assert browser.to_csv().name == "three mine.csv"
    assert (len(rows), rows[0]["cluster_name"], rows[0]["author"]) == (36, "Red seals", "Marie")
    names = zipfile.ZipFile(browser.to_zip()).namelist()
    assert sum("Red seals/" in name for name in names) == 1
    browser.reading = "raw"  # what the view says when the reader goes back
    assert browser.to_csv("raw.csv").name == "raw.csv"
    assert "Red seals" not in Path("raw.csv").read_text(encoding="utf-8-sig")


def test_the_images_chosen_in_the_view_are_rows(curated: Path) -> None:
    browser = ClusterBrowser(curated)
    browser.selected = [5, 7]
    assert [row["image_id"] for row in browser.chosen()] == [5, 7]


def test_a_version_that_is_not_there_is_named(curated: Path) -> None:
    for call in (open_experiment(curated).sizes, open_experiment(curated).to_zip):
        with pytest.raises(InvalidRequest, match="no reading his"):
            call(reading="his")


def test_the_zip_has_a_folder_for_each_cluster(ids: dict[str, str], words: Words) -> None:
    opened = open_experiment(ids["three"])
    names = zipfile.ZipFile(opened.to_zip("out.zip")).namelist()
    assert "table.csv" in names
    assert sum(not name.endswith(("table.csv", "prototype.png")) for name in names) == 36


def test_a_file_that_cannot_be_written_leaves_nothing(ids: dict[str, str], tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    for write in (open_experiment(ids["three"]).to_csv, open_experiment(ids["three"]).to_zip):
        with pytest.raises(InvalidRequest, match="the folder nowhere does not exist"):
            write("nowhere/out")
    assert set(tmp_path.iterdir()) == before


def test_plots_are_pictures_with_words(ids: dict[str, str], words: Words) -> None:
    opened = open_experiment(ids["three"])
    drawing = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', opened.loss().html)
    assert drawing
    root = ElementTree.fromstring(base64.b64decode(drawing[1]))
    [curve] = [item for item in root.iter() if item.get("class") == "line"]
    assert len(curve.get("d", "").split("L")) >= 2
    assert re.search(r'alt="Loss from [\d.]+ to [\d.]+ over \d+ iterations"', opened.loss().html)
    sizes = [int(number) for number in re.findall(r">(\d+)</td>", opened.sizes().html)]
    assert sorted(sizes, reverse=True) == sizes
    assert sum(sizes) == 36
