"""The clustering notebook, executed for real: by plain papermill, on a folder of images, and on bad input."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from dti_service.store import Store

QUICK = {"epochs": 2, "image_size": 12, "n_prototypes": 3}


@pytest.mark.slow
def test_plain_papermill_leaves_an_experiment_that_the_service_lists(
    tmp_path: Path, digits: Path, papermill: Callable[..., Any]
) -> None:
    result = papermill("dti_clustering", tmp_path, {"dataset": digits, **QUICK})
    assert result.returncode == 0, result.stderr
    store = Store(tmp_path / "data")
    [experiment] = store.page().items
    assert (experiment.state, experiment.origin) == ("succeeded", "interactive")
    assert {"accuracy", "nmi", "kmeans_accuracy", "kmeans_nmi", "loss"} <= experiment.metrics.keys()
    told = (store.directory(experiment.id) / "events.jsonl").read_text(encoding="utf-8").splitlines()
    training = [event for event in map(json.loads, told) if event.get("unit") == "iterations"]
    assert training
    assert {event["images"] for event in training} == {90}
    results = store.directory(experiment.id) / "results"
    assert {path.name for path in (results / "prototypes").iterdir()} == {
        f"prototype{k}.png" for k in range(3)
    }
    rows = list(csv.DictReader((results / "cluster_by_path.csv").open()))
    assert len(rows) == 90
    assert (results / "report.html").stat().st_size > 10_000
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    pictures = [
        output
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 3
    cell = next(cell for cell in executed.cells if cell.get("id") == "training")
    assert "data:image/png" in json.dumps(cell.outputs), "the live view keeps a static picture"


@pytest.mark.slow
def test_bad_input_is_said_in_one_sentence_and_recorded(
    tmp_path: Path, papermill: Callable[..., Any]
) -> None:
    (tmp_path / "empty").mkdir()
    result = papermill("dti_clustering", tmp_path, {"dataset": tmp_path / "empty", **QUICK})
    assert result.returncode != 0
    [experiment] = Store(tmp_path / "data").page().items
    assert experiment.state == "failed"
    assert experiment.error is not None
    assert experiment.error["kind"] == "bad_input"
    assert "empty" in experiment.error["message"]
