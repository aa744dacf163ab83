"""tools/backup.py: what it copies from a directory that changes meanwhile, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dti_service.experiment import Experiment, timestamp, transition
from dti_service.ids import new_id
from dti_service.store import Store

TOOL = Path(__file__).parents[2] / "tools" / "backup.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("backup", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


backup = load()


def add(data_dir: Path, state: str = "succeeded") -> str:
    """An experiment as it looks in that state."""
    store = Store(data_dir)
    now = timestamp()
    experiment = store.create(Experiment(new_id(), "tiny", created_at=now, queued_at=now))
    folder = store.directory(experiment.id)
    if state != "queued":
        running = transition(experiment, "running", assigned_device="cpu")
        store.save(running)
        (folder / "runner.json").write_text(json.dumps({"host": "elsewhere", "pid": 1}))
        if state != "running":
            store.save(transition(running, state))  # type: ignore[arg-type]
    (folder / "results" / "prototypes").mkdir()
    (folder / "results" / "prototypes" / "prototype0.png").write_bytes(os.urandom(500))
    return experiment.id


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_comes_back_but_what_can_be_rebuilt(tmp_path: Path) -> None:
    data, kept = tmp_path / "data", tmp_path / "backups"
    id = add(data)
    (data / "datasets" / "d1" / "images").mkdir(parents=True)
    (data / "datasets" / "d1" / "images" / "a.png").write_bytes(b"image")
    (data / "outbox").mkdir()
    (data / "outbox" / "letter.json").write_text("{}")
    made = backup.save(data, kept)
    found = backup.restore(made, tmp_path / "restored")
    assert found == {"experiments": 1, "queued_again": 0}
    wanted, got = contents(data), contents(tmp_path / "restored")
    left_out = {name for name in wanted if name not in got}
    assert all(
        "index.sqlite3" in name or "runner.json" in name or name.startswith("locks") for name in left_out
    )
    assert got == {name: wanted[name] for name in got}
    assert Store(tmp_path / "restored").get(id).state == "succeeded"
    assert list(Store(tmp_path / "restored").ids()) == [id]


def test_what_has_not_changed_takes_no_space_twice(tmp_path: Path) -> None:
    data, kept = tmp_path / "data", tmp_path / "backups"
    first = add(data)
    one = backup.save(data, kept).rename(kept / "2000-01-01T00-00-00Z")
    second = add(data)
    two = backup.save(data, kept)
    picture = "results/prototypes/prototype0.png"
    assert os.path.samefile(one / "experiments" / first / picture, two / "experiments" / first / picture)
    assert (two / "experiments" / second / picture).stat().st_nlink == 1
    shutil.rmtree(one)
    assert backup.restore(two, tmp_path / "restored")["experiments"] == 2


def test_old_backups_go(tmp_path: Path) -> None:
    data, kept = tmp_path / "data", tmp_path / "backups"
    add(data)
    for year in (2001, 2002):
        backup.save(data, kept).rename(kept / f"{year}-01-01T00-00-00Z")
    made = backup.save(data, kept, keep=2)
    assert [path.name for path in backup.backups(kept)] == ["2002-01-01T00-00-00Z", made.name]


def test_what_ran_is_queued_again_and_newer_formats_are_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    running, newer = add(data, "running"), add(data, "running")
    record = data / "experiments" / newer / "experiment.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "schema_version": 2}))
    made = backup.save(data, tmp_path / "backups")
    assert backup.restore(made, tmp_path / "restored") == {"experiments": 2, "queued_again": 1}
    experiment = Store(tmp_path / "restored").get(running)
    assert (experiment.state, experiment.attempt, experiment.assigned_device) == ("queued", 1, None)
    assert not (tmp_path / "restored" / "experiments" / running / "runner.json").exists()
    copied = tmp_path / "restored" / "experiments" / newer / "experiment.json"
    assert copied.read_bytes() == record.read_bytes()


def test_a_checkpoint_that_is_replaced_meanwhile_is_copied_whole(tmp_path: Path) -> None:
    """Numbered folders, of which only the newest stays, as a training leaves them; here far more often."""
    data = tmp_path / "data"
    id = add(data, "running")
    folder = data / "experiments" / id / "checkpoint"
    stop = threading.Event()

    def train() -> None:
        number = 0
        while not stop.wait(0.05):
            number += 1
            part = folder / f".{number:08d}.partial"
            part.mkdir()
            for name in ("model", "optimizer", "state"):
                (part / name).write_text(str(number))
            part.rename(folder / f"{number:08d}")
            for old in folder.iterdir():
                if old.name != f"{number:08d}":
                    shutil.rmtree(old)

    thread = threading.Thread(target=train)
    thread.start()
    found = 0
    while not any(path.name.isdigit() for path in folder.iterdir()):
        time.sleep(0.01)
    try:
        for year in range(2001, 2006):
            made = backup.save(data, tmp_path / "backups")
            copies = sorted((made / "experiments" / id / "checkpoint").iterdir())
            for copy in copies[-1:]:  # an older one may be half gone in the original too
                assert [item.read_text() for item in copy.iterdir()] == [str(int(copy.name))] * 3
                found += 1
            made.rename(made.with_name(f"{year}-01-01T00-00-00Z"))
    finally:
        stop.set()
        thread.join()
    assert found == 5


@pytest.mark.parametrize("case", ["no data", "inside", "not empty", "not complete"])
def test_what_cannot_be_done_is_refused_in_words(tmp_path: Path, case: str) -> None:
    data = tmp_path / "data"
    add(data)
    made = backup.save(data, tmp_path / "backups")
    arguments: dict[str, tuple[list[Any], str]] = {
        "no data": (["save", tmp_path / "other", tmp_path / "backups"], "not a data directory"),
        "inside": (["save", data, data / "backups"], "must not lie in the data directory"),
        "not empty": (["restore", made, data], "is not empty"),
        "not complete": (["restore", data, tmp_path / "new"], "not a complete backup"),
    }
    given, message = arguments[case]
    done = subprocess.run([sys.executable, str(TOOL), *map(str, given)], capture_output=True, text=True)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()
    assert len(list((tmp_path / "backups").iterdir())) == 1


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    add(data)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup.shutil, "copy2", full)
    with pytest.raises(OSError, match="No space"):
        backup.save(data, tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == []
