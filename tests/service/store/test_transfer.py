"""A whole experiment as one file: nothing is missing on the other side, and nothing bad gets in."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dti_service import transfer
from dti_service.datasets.guard.limits import Limits
from dti_service.errors import Conflict, InvalidRequest, Unavailable
from dti_service.experiment import Experiment, timestamp
from dti_service.store import Store

MakeExperiment = Callable[..., Experiment]


@pytest.fixture
def experiment(store: Store, make_experiment: MakeExperiment) -> Experiment:
    """A finished one, with files of every kind."""
    made = make_experiment(
        state="succeeded", finished_at=timestamp(), name="à garder", notify_url=["https://example.org/x"]
    )
    folder = store.directory(made.id)
    for name, content in {
        "log.txt": "a line\n",
        "results/clusters/cluster0/0_raw.png": "png",
        "checkpoint/state.json": "{}",
        "curations/mine.json": "{}",
        "thumbnails/a.webp": "small",
        ".lock": "",
        "executor.json": "{}",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return made


@pytest.fixture
def packed(store: Store, experiment: Experiment, tmp_path: Path) -> Path:
    path = tmp_path / "one.zip"
    path.write_bytes(b"".join(transfer.whole(store, experiment.id).chunks()))
    return path


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def nothing_in(store: Store) -> bool:
    return not list(store.root.iterdir()) and store.page().total == 0


def test_nothing_is_missing_elsewhere(
    store: Store, experiment: Experiment, packed: Path, other: Store
) -> None:
    taken = transfer.take_in(other, packed)
    assert (taken.id, taken.name, taken.state) == (experiment.id, "à garder", "succeeded")
    there, here = files(other.directory(taken.id)), files(store.directory(taken.id))
    left_out = {".lock", "executor.json", "thumbnails/a.webp"}
    assert set(here) - set(there) == left_out
    assert {name for name in there if there[name] != here[name]} == {"experiment.json"}
    assert taken.notify_url == []
    assert other.page().total == 1
    with pytest.raises(Conflict, match="already"):
        transfer.take_in(other, packed)


def test_one_that_has_not_ended_is_not_taken_away(store: Store, make_experiment: MakeExperiment) -> None:
    waiting = make_experiment()
    with pytest.raises(Conflict, match="queued"):
        transfer.whole(store, waiting.id)


def repacked(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(source) as file:
        contents = {name: file.read(name) for name in file.namelist()}
    change(contents)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return target


def record_with(**fields: Any) -> Callable[[dict[str, bytes]], None]:
    def change(contents: dict[str, bytes]) -> None:
        name = next(name for name in contents if name.endswith("/experiment.json"))
        contents[name] = json.dumps({**json.loads(contents[name]), **fields}).encode()

    return change


def renamed(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def change(contents: dict[str, bytes]) -> None:
        root = next(iter(contents)).split("/")[0]
        contents[new.format(id=root)] = contents.pop(f"{root}/{old}")

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (record_with(state="running"), "was running"),
        (record_with(state="odd"), "unknown state"),
        (record_with(id="../../etc"), "another experiment"),
        (record_with(schema_version=99), "format 99"),
        (record_with(tags="odd"), "tags"),
        (renamed("log.txt", "../log.txt"), "leads out"),
        (renamed("log.txt", "{id}/results/../../../log.txt"), "leads out"),
        (renamed("log.txt", "/etc/log.txt"), "absolute"),
        (renamed("log.txt", "other/log.txt"), "does not hold an experiment"),
        (renamed("experiment.json", "{id}/record.json"), "does not hold an experiment"),
        (renamed("log.txt", "{id}/log.txt/a"), None),
        (renamed("log.txt", "{id}/experiment.json/a"), "out of place"),
        (lambda contents: contents.clear(), "does not hold an experiment"),
    ],
)
def test_what_cannot_be_trusted_is_refused(
    packed: Path, other: Store, tmp_path: Path, change: Callable[[dict[str, bytes]], None], reason: str | None
) -> None:
    path = repacked(packed, tmp_path / "bad.zip", change)
    if reason is None:
        transfer.take_in(other, path)
        return
    with pytest.raises(InvalidRequest, match=reason):
        transfer.take_in(other, path)
    assert nothing_in(other)


def test_links_are_refused(packed: Path, other: Store) -> None:
    with zipfile.ZipFile(packed, "a") as file:
        link = zipfile.ZipInfo(file.namelist()[0].split("/")[0] + "/results/passwd")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(InvalidRequest, match="link"):
        transfer.take_in(other, packed)
    assert nothing_in(other)


@pytest.mark.parametrize("damage", ["cut", "flipped", "none", "text"])
def test_damaged_files_leave_nothing(packed: Path, other: Store, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "damaged.zip"
    content = bytearray(packed.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[content.index(b"a line\n")] ^= 0xFF
        path.write_bytes(content)
    elif damage == "text":
        path.write_text("no zip at all")
    with pytest.raises(InvalidRequest):
        transfer.take_in(other, path)
    assert nothing_in(other)


def test_a_full_disk_is_said_before_anything_is_written(
    packed: Path, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "Limits", lambda: Limits(reserve_bytes=2**60))
    with pytest.raises(Unavailable, match="no room"):
        transfer.take_in(other, packed)
    assert nothing_in(other)
