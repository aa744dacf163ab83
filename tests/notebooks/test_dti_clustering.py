"""The clustering notebook, executed for real: by plain papermill, on a folder of images, and on bad input."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from dti_service.demos import notebooks_dir
from dti_service.store import Store
from dti_sprites.data.samples import write_digits

NOTEBOOK = notebooks_dir() / "dti_clustering.ipynb"
QUICK = {"epochs": 2, "image_size": 12, "n_prototypes": 3}


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ninety handwritten digits with their labels."""
    everything = write_digits(tmp_path_factory.mktemp("digits") / "all")
    folder = tmp_path_factory.mktemp("some")
    rows = list(csv.DictReader((everything / "labels.csv").open()))[:90]
    for row in rows:
        Image.open(everything / "images" / row["name"]).save(folder / row["name"])
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("name", "label"))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def papermill(tmp_path: Path, parameters: dict[str, object]) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run the notebook as a person does; returns the process and the data directory."""
    options = [text for name, value in parameters.items() for text in ("-p", name, str(value))]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DTI_")}
    environment |= {"OMP_NUM_THREADS": "1", "DTI_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(tmp_path / "out.ipynb"), *options]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=280
    )
    return result, tmp_path / "data"


@pytest.mark.slow
def test_plain_papermill_leaves_an_experiment_that_the_service_lists(tmp_path: Path, digits: Path) -> None:
    result, data = papermill(tmp_path, {"dataset": digits, **QUICK})
    assert result.returncode == 0, result.stderr
    store = Store(data)
    [experiment] = store.page().items
    assert (experiment.state, experiment.origin) == ("succeeded", "interactive")
    assert {"accuracy", "nmi", "kmeans_accuracy", "kmeans_nmi", "loss"} <= experiment.metrics.keys()
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
    training = next(cell for cell in executed.cells if cell.get("id") == "training")
    assert "data:image/png" in json.dumps(training.outputs), "the live view keeps a static picture"


@pytest.mark.slow
def test_bad_input_is_said_in_one_sentence_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result, data = papermill(tmp_path, {"dataset": tmp_path / "empty", **QUICK})
    assert result.returncode != 0
    [experiment] = Store(data).page().items
    assert experiment.state == "failed"
    assert experiment.error is not None
    assert experiment.error["kind"] == "bad_input"
    assert "empty" in experiment.error["message"]
