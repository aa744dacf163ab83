"""What the tests of notebooks share: images, and plain papermill."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dti_service.demos import notebooks_dir
from dti_sprites.data.samples import write_digits

Papermill = Callable[[str, Path, Mapping[str, Any]], "subprocess.CompletedProcess[str]"]


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


@pytest.fixture(scope="session")
def run_environment() -> dict[str, str]:
    """The environment without settings of the service, on one thread."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DTI_")}
    return environment | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def papermill(run_environment: dict[str, str]) -> Papermill:
    """Run a notebook as a person does: `papermill(name, folder, parameters)` writes `folder/out.ipynb` and
    experiments into `folder/data`."""

    def run(name: str, folder: Path, parameters: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        plain = {key: value for key, value in parameters.items() if not isinstance(value, dict)}
        options = [text for key, value in plain.items() for text in ("-p", key, str(value))]
        options += ["-y", json.dumps({key: value for key, value in parameters.items() if key not in plain})]
        command = [sys.executable, "-m", "papermill", str(notebooks_dir() / f"{name}.ipynb")]
        return subprocess.run(
            [*command, str(folder / "out.ipynb"), *options],
            capture_output=True,
            text=True,
            cwd=folder,
            env=run_environment | {"DTI_DATA_DIR": str(folder / "data")},
            timeout=280,
        )

    return run
