"""Fixtures of the service's rooms: a data directory, a service on it, and small notebooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from dti_service.experiment import Experiment, timestamp
from dti_service.ids import new_id
from dti_service.service import Service
from dti_service.settings import Settings
from dti_service.store import Store

MakeNotebook = Callable[..., Path]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", devices="cpu")


@pytest.fixture
def service(settings: Settings) -> Service:
    return Service(settings)


@pytest.fixture
def store(service: Service) -> Store:
    return service.store


@pytest.fixture
def make_notebook(tmp_path: Path) -> MakeNotebook:
    """Write a notebook: `make_notebook("x: int = 1", "print(x)")`, the first cell being the parameters."""

    def make(parameters: str, *cells: str, name: str = "work.ipynb") -> Path:
        first = new_code_cell(parameters)
        first.metadata["tags"] = ["parameters"]
        notebook = new_notebook(cells=[first, *map(new_code_cell, cells)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        path = tmp_path / name
        nbformat.write(notebook, path)
        return path

    return make


@pytest.fixture
def make_experiment(store: Store) -> Callable[..., Experiment]:
    """Put an experiment straight into the store: `make_experiment(state="running", name="x")`."""

    def make(**fields: object) -> Experiment:
        now = timestamp()
        values = {"notebook": "work", "created_at": now, "queued_at": now, **fields}
        if values.get("state", "queued") != "queued":
            values.setdefault("started_at", now)
            values.setdefault("attempt", 1)
        return store.create(Experiment(id=new_id(), **values))  # type: ignore[arg-type]

    return make
