"""The notebooks as files: no outputs kept, parameters that the service can read, known to the registry."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from dti_service.demos import Demo, find_demos, notebooks_dir
from dti_service.execution.parameters import notebook_schema

NOTEBOOKS = sorted(notebooks_dir().glob("*.ipynb"))
# The names that notebooks share with the service, fronts and scripts.
SHARED = {
    *(
        "dataset",
        "n_prototypes",
        "transformation_sequence",
        "preset",
        "epochs",
        "batch_size",
        "lr",
        "image_size",
    ),
    *("seed", "device", "experiment_dir"),
}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_nothing_that_a_run_leaves_is_kept(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_it_is_valid_and_explains_itself(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_it_can_be_run_by_name(path: Path) -> None:
    assert isinstance(find_demos()[path.stem], Demo)


def test_every_parameter_is_understood_and_explained(path: Path) -> None:
    schema = notebook_schema(path)
    assert not schema.get("x-problems")
    for name, parameter in schema["properties"].items():
        assert parameter.get("description"), name
        assert "default" in parameter, name
        assert parameter.get("x-group"), name
    json.dumps(schema)


@pytest.mark.parametrize("name", ["dti_clustering", "dti_sprites"])
def test_shared_names_are_declared(name: str) -> None:
    assert set(notebook_schema(notebooks_dir() / f"{name}.ipynb")["properties"]) >= SHARED
