"""The notebook of DTI-Sprites by plain papermill, and its model applied to new images through the queue."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

from dti_service.errors import Conflict, InvalidRequest, NotFound
from dti_service.service import Service, SubmitRequest
from dti_service.settings import Settings
from dti_service.store import Store
from dti_sprites import load_run

pytestmark = pytest.mark.slow
QUICK = {"epochs": 2, "image_size": 12, "n_prototypes": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, digits: Path, papermill: Callable[..., Any]) -> Path:
    """A folder with `out.ipynb` and `data/`, in which the notebook was run by hand."""
    folder = tmp_path_factory.mktemp("sprites")
    result = papermill("dti_sprites", folder, {"dataset": digits, **QUICK})
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def service(folder: Path) -> Service:
    return Service(Settings(data_dir=folder / "data", devices="cpu"))


@pytest.fixture
def trained(service: Service) -> str:
    return next(item.id for item in service.store.page().items if item.notebook == "dti_sprites")


def test_plain_papermill_leaves_sprites(folder: Path) -> None:
    store = Store(folder / "data")
    [experiment] = store.page().items
    assert (experiment.state, experiment.origin) == ("succeeded", "interactive")
    assert {"accuracy", "nmi", "kmeans_accuracy", "loss"} <= experiment.metrics.keys()
    results = store.directory(experiment.id) / "results"
    for pattern, count in (
        ("masked_prototypes/prototype*.png", 3),
        ("masks/mask*.png", 3),
        ("backgrounds/background*.png", 1),
        ("decompositions/*_layer1.png", 90),
        ("decompositions/*_semantic.png", 90),
        ("clusters/*/*_aligned.png", 90),
    ):
        assert len(list(results.glob(pattern))) == count, pattern
    cells = {cell.id: cell for cell in nbformat.read(folder / "out.ipynb", as_version=4).cells}
    for name in ("images", "training", "sprites", "parts", "layers", "members"):
        assert cells[name].outputs, f"the cell {name} shows nothing"


def test_new_images_are_labelled_through_the_queue(
    service: Service, trained: str, digits: Path, run_environment: dict[str, str], tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for name in sorted(path.name for path in digits.glob("*.png"))[:5]:
        shutil.copy(digits / name, new / name)
    checks = np.indices((8, 8)).sum(0) % 2 * 255
    Image.fromarray(checks.astype(np.uint8)).save(new / "strange.png")
    assigned = service.assign(trained, SubmitRequest(notebook="", dataset=str(new), trusted=True))
    assert (assigned.state, assigned.notebook) == ("queued", "assign_images")
    command = [sys.executable, "-m", "dti_service", "worker", "--burst", "--device", "cpu"]
    command += ["--data-dir", str(service.settings.data_dir)]
    subprocess.run(command, check=True, capture_output=True, env=run_environment, cwd=tmp_path, timeout=280)
    ended = service.store.get(assigned.id)
    assert ended.state == "succeeded", ended.error
    assert ended.metrics["unfit"] == 1
    results = service.store.directory(assigned.id) / "results"
    rows = {row["path"]: row for row in csv.DictReader((results / "cluster_by_path.csv").open())}
    assert [name for name, row in rows.items() if row["fits"] == "False"] == ["strange.png"]
    before = load_run(service.store.directory(trained))
    for name, row in rows.items():
        if name != "strange.png":
            assert int(row["cluster_id"]) == before.labels[before.names.index(name)]
    # The new experiment holds the model too: copied elsewhere it opens, and labels images itself.
    shutil.copytree(results, tmp_path / "elsewhere")
    assert load_run(tmp_path / "elsewhere").assign(new).fits.sum() == 5


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"experiment": "0" * 8}, "parameters.experiment"),
        ({"experiment": "/etc"}, "parameters.experiment"),
        ({}, "parameters.experiment"),
        ({"experiment": "019aaf2e-4b1f-7c3a-9f00-3b6f1c2d4e5f"}, "parameters.experiment"),
    ],
)
def test_what_is_no_finished_experiment_is_refused(
    service: Service, parameters: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        service.submit(SubmitRequest(notebook="assign_images", parameters=parameters))
    assert field in [error["field"] for error in caught.value.errors]


def test_only_a_finished_model_can_be_applied(service: Service, trained: str) -> None:
    request = SubmitRequest(notebook="", dataset="sample")
    with pytest.raises(NotFound):
        service.assign("019aaf2e-4b1f-7c3a-9f00-3b6f1c2d4e5f", request)
    with pytest.raises(InvalidRequest, match="cannot be used"):
        service.assign(trained, SubmitRequest(notebook="", dataset="sample", parameters={"n_prototypes": 3}))
    waiting = service.submit(SubmitRequest(notebook="dti_sprites"))
    with pytest.raises(Conflict, match="queued"):
        service.assign(waiting.id, request)
    service.cancel(waiting.id)


def test_sprites_are_checked_before_queueing(service: Service) -> None:
    wrong = ("transformation_sequence", "layer_transformation_sequence")
    parameters = {"n_layers": 2, **dict.fromkeys(wrong, "wobble")}
    with pytest.raises(InvalidRequest) as caught:
        service.submit(SubmitRequest(notebook="dti_sprites", parameters=parameters))
    fields = {error["field"] for error in caught.value.errors}
    assert fields == {f"parameters.{name}" for name in wrong}
