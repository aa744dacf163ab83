"""What the README of the library shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dti_sprites.cli import main
from dti_sprites.results import layout

README = (Path(__file__).parents[3] / "dti-sprites" / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `images/`, `more images/` and `labels.csv`."""
    data = load_digits()
    lines = ["name,label"]
    for name, first, count in (("images", 0, 40), ("more images", 40, 5)):
        (tmp_path / name).mkdir()
        for i in range(first, first + count):
            picture = Image.fromarray((data.images[i] * 255 / 16).astype(np.uint8))
            picture.save(tmp_path / name / f"{i:03d}.png")
            lines.append(f"{i:03d}.png,{data.target[i]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_example_runs(folder: Path) -> None:
    (example,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    run, new, again = names["run"], names["new"], names["again"]
    assert run.prototypes.shape == (12, 28, 28, 1)  # type: ignore[attr-defined]
    assert len(new.labels) == 5  # type: ignore[attr-defined]
    assert np.array_equal(run.labels, again.labels)  # type: ignore[attr-defined]


def test_commands_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("console")
    commands = [shlex.split(line.removeprefix("$ ")) for line in example.splitlines()]
    assert [command[0] for command in commands] == ["dti-sprites"] * 5
    for command in commands:
        if command[1] == "train":  # the same command, in a second
            command += ["--set", "training.epochs=2", "--set", "training.curriculum=[0,1]"]
            command += ["--set", "training.milestones=[]", "--device", "cpu"]
        assert main(command[1:]) == 0, capsys.readouterr().err
    assert (folder / "assigned.csv").is_file()
    assert (folder / "b.zip").is_file()


def test_files_that_are_named_exist(folder: Path) -> None:
    named = {
        name.strip("/")
        for name in re.findall(r"^\| (.+?) \|", README, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", name)
    }
    known = {
        name
        for name, value in vars(layout).items()
        if name.isupper() and isinstance(value, str) and value.split("/")[0] in layout.OWNED
    }
    missing = [
        getattr(layout, name)
        for name in known
        if not any(entry.startswith(getattr(layout, name)) for entry in named)
    ]
    assert missing == ["cluster_by_path.json"]  # written as ".json" beside its csv
