"""The notebooks that open a finished run and that start several, executed for real by plain papermill."""

from __future__ import annotations

import csv
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from dti_service.demos import find_demos
from dti_service.dispatch.foreground import run_experiment
from dti_service.errors import InvalidRequest
from dti_service.service import Service, SubmitRequest
from dti_service.settings import Settings
from dti_service.store import Store

Papermill = Callable[..., Any]


def shown(path: Path, cell: str) -> str:
    """The HTML that a cell of a saved notebook keeps."""
    executed = nbformat.read(path, as_version=4)
    [found] = [item for item in executed.cells if item.get("id") == cell]
    return "".join(output.get("data", {}).get("text/html", "") for output in found.outputs)


@pytest.fixture
def folder(tmp_path: Path, tiny_results: Path) -> Path:
    """A folder with `data/`, in which the runs "three" and "four" have finished."""
    shutil.copytree(tiny_results, tmp_path / "data")
    return tmp_path


def test_explore_leaves_pictures_plots_and_files(folder: Path, papermill: Papermill) -> None:
    done = papermill("explore_experiment", folder, {})
    assert done.returncode == 0, done.stderr
    saved = folder / "out.ipynb"
    assert "four" in shown(saved, "experiment")
    browser = shown(saved, "browse")
    assert "36 images in 4 clusters" in browser
    assert browser.count("data:image/webp;base64,") >= 8
    assert "data:image/svg+xml;base64," in shown(saved, "loss")
    assert sum(map(int, re.findall(r">(\d+)</td>", shown(saved, "sizes")))) == 36
    with (folder / "four.csv").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == 36
    assert "table.csv" in zipfile.ZipFile(folder / "four.zip").namelist()


def test_explore_says_in_one_sentence_that_there_is_no_such_experiment(
    folder: Path, papermill: Papermill
) -> None:
    done = papermill("explore_experiment", folder, {"experiment": "01a21440-b2ef-7895-9ec4-2296dd1cf069"})
    assert done.returncode != 0
    executed = nbformat.read(folder / "out.ipynb", as_version=4)
    [error] = [
        output
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert "there is no experiment 01a21440" in error.evalue
    assert len(error.traceback) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["data", "out.ipynb"]


@pytest.mark.slow
def test_launch_sweeps_watches_and_compares(tmp_path: Path, digits: Path, papermill: Papermill) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(digits.glob("*.png"))[:30]:
        shutil.copy(path, few)
    shutil.copy(digits / "labels.csv", few)
    given = {
        "dataset": few,
        "sweep": {"n_prototypes": [2, 3]},
        "settings": {"epochs": 1, "image_size": 12, "device": "cpu"},
        "name": "a few digits",
    }
    done = papermill("launch", tmp_path, given)
    assert done.returncode == 0, done.stderr
    experiments = {item.parameters["n_prototypes"]: item for item in Store(tmp_path / "data").page().items}
    assert {count: item.state for count, item in experiments.items()} == {2: "succeeded", 3: "succeeded"}
    assert experiments[3].name == "a few digits (n_prototypes=3)"
    saved = tmp_path / "out.ipynb"
    assert "2 of 2 have ended" in shown(saved, "watch")
    table = shown(saved, "compare")
    assert "2 of 2 finished" in table
    assert table.count("data:image/webp;base64,") == 5, "two and three prototypes"
    assert "<strong>" in table
    assert "30 images in 2 clusters" in shown(saved, "side")
    assert "30 images in 3 clusters" in shown(saved, "side")


@pytest.mark.slow
def test_from_the_queue_they_are_experiments_too(folder: Path) -> None:
    settings = Settings(data_dir=folder / "data", devices="cpu")
    service = Service(settings)
    sweep = {"sweep": {"n_prototypes": [2, 3]}}
    explored = service.submit(SubmitRequest("explore_experiment"))
    launched = service.submit(SubmitRequest("launch", sweep))
    for id in (explored.id, launched.id):
        ended = run_experiment(settings, id)
        assert ended.state == "succeeded", ended.error
    results = {path.name for path in (service.store.directory(explored.id) / "results").iterdir()}
    assert results >= {"four.csv", "four.zip", "metrics.json"}
    assert ended.metrics["submitted"] == 2
    # What was launched waits for the device, which its launcher held.
    assert [item["parameters"] for item in service.queue()["queued"]] == [
        {"n_prototypes": 2, "dataset": "sample"},
        {"n_prototypes": 3, "dataset": "sample"},
    ]


def test_what_a_client_may_not_ask_of_them_is_refused_before_it_waits(tmp_path: Path) -> None:
    service = Service(Settings(data_dir=tmp_path / "data", devices="cpu"))
    assert {"explore_experiment", "launch"} <= set(find_demos())
    bad = [
        ("explore_experiment", {"experiment": "/etc"}, "parameters.experiment"),
        (
            "explore_experiment",
            {"experiment": "01a21440-b2ef-7895-9ec4-2296dd1cf069"},
            "parameters.experiment",
        ),
        ("launch", {"server": "http://169.254.169.254/"}, "parameters.server"),
        ("launch", {"sweep": {"seed": 3}}, "parameters.sweep"),
    ]
    for notebook, parameters, field in bad:
        with pytest.raises(InvalidRequest) as refused:
            service.submit(SubmitRequest(notebook, parameters))
        assert field in refused.value.errors[0]["field"], notebook
    assert service.list()["total"] == 0
