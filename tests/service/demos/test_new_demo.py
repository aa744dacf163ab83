"""`dti new-demo`: what it writes works, and its own test passes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dti_service.errors import InvalidRequest
from dti_service.new_demo import write_demo


def dti(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DTI_")}
    environment |= {"DTI_DATA_DIR": str(folder / "data")}
    return subprocess.run(
        [sys.executable, "-m", "dti_service", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=120,
    )


def test_the_skeleton_passes_its_own_test(tmp_path: Path) -> None:
    made = dti(tmp_path, "new-demo", "mean_picture", "--title", "Mean picture")
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "mean_picture"
    assert "dti run mean_picture" in made.stdout
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in left} >= {"pyproject.toml", "mean_picture.ipynb", "test_mean_picture.py"}
    assert not any("__" in line for path in left for line in path.read_text().split() if "NAME" in line)
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "tests"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=200,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "3 passed" in tested.stdout
    rules = ["--select=E,F,W,B", "--line-length=120", "--exclude=*.ipynb"]
    linted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", *rules, str(folder)],
        capture_output=True,
        text=True,
    )
    assert linted.returncode == 0, linted.stdout


def test_names_that_cannot_be_used_leave_nothing(tmp_path: Path) -> None:
    for name in ("Mine", "1a", "a-b", "a/b", "", "class", "json", "torch", "a" * 65):
        with pytest.raises(InvalidRequest) as refused:
            write_demo(name, tmp_path)
        assert refused.value.errors[0]["field"] == "name"
    assert not list(tmp_path.iterdir())
    refused_by_command = dti(tmp_path, "new-demo", "json")
    assert refused_by_command.returncode == 2
    assert "already" in refused_by_command.stderr


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine_too").mkdir()
    (tmp_path / "mine_too" / "work.txt").write_text("work")
    with pytest.raises(InvalidRequest):
        write_demo("mine_too", tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine_too", "work.txt"]
    with pytest.raises(InvalidRequest):
        write_demo("mine_too", tmp_path / "absent")
