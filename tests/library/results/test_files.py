"""A tree is replaced as a whole, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dti_sprites.results import layout
from dti_sprites.results.files import staged, write_text


def write_tree(folder: Path, content: str) -> None:
    (folder / layout.PROTOTYPES).mkdir()
    (folder / layout.PROTOTYPES / "prototype0.png").write_text(content)
    (folder / layout.METRICS).write_text(content)


def leftovers(out: Path) -> list[Path]:
    return list(out.parent.glob(f"{out.name}.partial-*"))


def test_tree_replaces_the_earlier_one_and_spares_other_files(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with staged(out) as folder:
        write_tree(folder, "first")
        (folder / layout.MASKS).mkdir()
    (out / "checkpoint").mkdir()
    (out / "notes.txt").write_text("mine")
    with staged(out) as folder:
        write_tree(folder, "second")
    assert (out / "prototypes" / "prototype0.png").read_text() == "second"
    assert (out / layout.METRICS).read_text() == "second"
    assert not (out / layout.MASKS).exists()
    assert (out / "checkpoint").is_dir()
    assert (out / "notes.txt").read_text() == "mine"
    assert not leftovers(out)


def test_an_error_leaves_the_earlier_tree_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with staged(out) as folder:
        write_tree(folder, "first")

    def fail() -> None:
        with staged(out) as folder:
            write_tree(folder, "second")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (out / layout.METRICS).read_text() == "first"
    assert (out / "prototypes" / "prototype0.png").read_text() == "first"
    assert not leftovers(out)


def test_a_killed_writer_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    out = tmp_path / "a run [1]"
    script = """
        import os, signal, sys
        from pathlib import Path
        from dti_sprites.results.files import staged
        with staged(Path(sys.argv[1])) as folder:
            (folder / "metrics.json").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (out / layout.METRICS).exists()
    assert len(list(tmp_path.iterdir())) == 1
    with staged(out) as folder:
        write_tree(folder, "second")
    assert [path.name for path in tmp_path.iterdir()] == ["a run [1]"]


def test_the_folder_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with staged(out) as first:
        write_tree(first, "first")
        with staged(out) as second:
            write_tree(second, "second")
        assert first.is_dir()
    assert (out / layout.METRICS).read_text() == "first"


def test_text_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "é")
    write_text(path, "second")
    assert path.read_text(encoding="utf-8") == "second"
    assert os.listdir(tmp_path) == ["a.json"]
