"""What a notebook imports is loaded into its kernel beforehand, and nothing else than its speed tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dti_service.execution.executor import libraries_of

BOTH = ("dti_sprites.api", "dti_service.run")
TELL = """
import os, sys
loaded = "torch" in sys.modules
places = sys.path.count("") + sys.path.count(os.getcwd())
from dti_service.run import current_run
current_run().finish({"loaded": loaded, "places": places})
"""


@pytest.mark.parametrize(
    ("source", "libraries"),
    [
        ("from dti_sprites import train", BOTH),
        ("import torch\\nimport dti_sprites", BOTH),
        ("import torch", ("torch",)),
        ("from torch import nn", ("torch",)),
        ("pytorch = 'torch'", ()),
        ("print(1)", ()),
        ("import os\\nos.environ['OMP_NUM_THREADS'] = '1'\\nimport dti_sprites", ()),
        ("%env OMP_NUM_THREADS=1\\nimport dti_sprites", ()),
    ],
)
def test_what_is_worth_loading(tmp_path: Path, source: str, libraries: tuple[str, ...]) -> None:
    path = tmp_path / "source.ipynb"
    path.write_text(f'{{"cells": [{{"cell_type": "code", "source": ["{source}"]}}]}}')
    assert libraries_of(path) == libraries


def test_the_library_is_there_before_the_first_cell(runs: Any) -> None:
    experiment = runs.run("# dti_sprites, by name only", TELL)
    assert (experiment.state, experiment.metrics["loaded"]) == ("succeeded", True)
    without = runs.run(TELL)
    assert (without.state, without.metrics["loaded"]) == ("succeeded", False)
    # The kernel finds modules in the same places either way.
    assert without.metrics["places"] == experiment.metrics["places"]


def test_nothing_is_loaded_from_the_folder_of_the_experiment(runs: Any) -> None:
    """Where a file of any name may lie: what it would do is for the notebook to ask for."""
    id = runs.submit("# dti_sprites", TELL)
    runs.file(id, "torch.py").write_text("open('loaded too early', 'w').close()")
    experiment = runs.end(runs.start(id), id)
    assert (experiment.state, experiment.metrics["loaded"]) == ("succeeded", True)
    assert not runs.file(id, "loaded too early").exists()
