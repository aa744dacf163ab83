"""Experiment directories and their index, under crashes, foreign files and other processes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dti_service import atomic
from dti_service.errors import BadRequest, Conflict, NotFound
from dti_service.experiment import Experiment, transition
from dti_service.ids import new_id
from dti_service.index import Query
from dti_service.locks import FileLock, is_locked
from dti_service.store import Store

Make = Callable[..., Experiment]


def test_a_new_experiment_is_read_back(store: Store, make_experiment: Make) -> None:
    experiment = make_experiment(name="Watermarks", tags=["a"], parameters={"k": 3})
    assert store.get(experiment.id) == experiment
    assert (store.directory(experiment.id) / "results").is_dir()
    assert [event["state"] for _, event in store.events(experiment.id).read()[0]] == ["queued"]


def test_the_notebook_and_a_checkpoint_are_copied_in(store: Store, tmp_path: Path) -> None:
    notebook = tmp_path / "n.ipynb"
    notebook.write_text("{}")
    checkpoint = tmp_path / "checkpoint"
    (checkpoint / "last").mkdir(parents=True)
    (checkpoint / "last" / "state.json").write_text("1")
    experiment = store.create(Experiment(id=new_id(), notebook="n"), notebook, checkpoint)
    folder = store.directory(experiment.id)
    assert (folder / "source.ipynb").read_text() == "{}"
    assert (folder / "checkpoint" / "last" / "state.json").read_text() == "1"


@pytest.mark.parametrize("id", ["", "..", "../../etc", "x", "0" * 36, "A" * 36])
def test_what_is_not_an_id_names_nothing(store: Store, id: str) -> None:
    with pytest.raises(NotFound):
        store.get(id)


def test_a_failing_creation_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.create(Experiment(id=new_id(), notebook="n"), tmp_path / "missing.ipynb")
    assert list(store.root.iterdir()) == []
    assert store.page().total == 0


def test_annotations_change_while_the_record_is_written(store: Store, make_experiment: Make) -> None:
    experiment = make_experiment(name="before")
    running = transition(store.get(experiment.id), "running")
    store.annotate(experiment.id, name="after", keep=True)
    store.save(running)  # by a runner that read the record before it was renamed
    read = store.get(experiment.id)
    assert (read.name, read.keep, read.state) == ("after", True, "running")


def test_deleting(store: Store, make_experiment: Make) -> None:
    queued, running = make_experiment(), make_experiment(state="running")
    store.delete(queued.id)
    with pytest.raises(NotFound):
        store.get(queued.id)
    with pytest.raises(Conflict):
        store.delete(running.id)
    assert store.page().total == 1
    assert list(store.trash.iterdir()) == []


def test_deleting_waits_for_no_one_who_holds_the_lock(store: Store, make_experiment: Make) -> None:
    experiment = make_experiment()
    lock = store.lock(experiment.id)
    assert lock.acquire()
    with pytest.raises(Conflict):
        store.delete(experiment.id)
    lock.release()
    store.delete(experiment.id)


def test_a_lock_excludes_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from dti_service.locks import FileLock\n"
        "print(FileLock(Path(sys.argv[1])).acquire(), flush=True); time.sleep(60)"
    )
    # The lock object must stay alive in the child, or it would be closed with it.
    code = code.replace(
        "print(FileLock(Path(sys.argv[1])).acquire()", "l = FileLock(Path(sys.argv[1])); print(l.acquire()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "True"
        assert is_locked(path)
        assert not FileLock(path).acquire()
        holder.kill()
        holder.wait()
        assert FileLock(path).acquire()


# The index


def ids(store: Store, **query: object) -> list[str]:
    return [item.id for item in store.page(Query(**query)).items]  # type: ignore[arg-type]


def test_pages_cover_everything_once_in_order(store: Store, make_experiment: Make) -> None:
    made = [make_experiment(created_at=f"2026-01-01T00:00:0{i % 3}.000Z").id for i in range(10)]
    found, cursor = [], None
    while True:
        page = store.page(Query(limit=3, cursor=cursor))
        assert page.total == 10
        found += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(found) == sorted(made)
    assert found == ids(store, limit=100)


def test_a_cursor_survives_deletions_and_arrivals(store: Store, make_experiment: Make) -> None:
    old = [make_experiment(created_at=f"2026-01-01T00:00:0{i}.000Z").id for i in range(6)]
    page = store.page(Query(limit=2))
    store.delete(old[5])
    make_experiment(created_at="2026-02-01T00:00:00.000Z")
    following = store.page(Query(limit=10, cursor=page.next_cursor))
    assert [item.id for item in following.items] == old[3::-1]


def test_filters(store: Store, make_experiment: Make) -> None:
    one = make_experiment(name="Water marks", notebook="a", tags=["Paris"])
    two = make_experiment(name="50%_off", notebook="b", state="running")
    assert ids(store, state="running") == [two.id]
    assert set(ids(store, state="running,queued")) == {one.id, two.id}
    assert ids(store, notebook="a") == [one.id]
    assert ids(store, q="WATER m") == ids(store, q="paris") == [one.id]
    assert ids(store, q="%_") == [two.id]
    assert ids(store, q="5_%") == []
    assert ids(store, sort="name") == [two.id, one.id]


@pytest.mark.parametrize("query", [{"sort": "id; DROP TABLE"}, {"cursor": "nonsense"}, {"cursor": "e30"}])
def test_unusable_queries_are_refused(store: Store, query: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        store.page(Query(**query))  # type: ignore[arg-type]


def test_changes_by_others_are_seen(store: Store, make_experiment: Make) -> None:
    other = Store(store.data_dir)
    experiment = make_experiment()
    assert ids(other) == [experiment.id]
    other.save(transition(other.get(experiment.id), "running"))
    # Past the index altogether, as a process on another machine does.
    record = store.get(experiment.id)
    atomic.write_json(
        store.directory(experiment.id) / "experiment.json", transition(record, "failed").to_dict()
    )
    assert ids(store, state="failed") == [experiment.id]
    shutil.rmtree(store.directory(experiment.id))
    assert ids(other) == []


def test_a_copied_directory_appears(store: Store, tmp_path: Path) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    experiment = elsewhere.create(Experiment(id=new_id(), notebook="n", name="guest"))
    shutil.copytree(elsewhere.directory(experiment.id), store.root / experiment.id)
    assert ids(store, q="guest") == [experiment.id]


@pytest.mark.parametrize("damage", ["delete", "garbage", "other format"])
def test_the_index_is_rebuilt_from_the_directories(store: Store, make_experiment: Make, damage: str) -> None:
    experiment = make_experiment(name="precious", tags=["x"])
    store.index.close()
    path = store.index.path
    if damage == "delete":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"not a database" * 1000)
    else:
        import sqlite3

        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 999")
        connection.close()
    assert [item.name for item in Store(store.data_dir).page().items] == ["precious"]
    assert Store(store.data_dir).get(experiment.id).tags == ["x"]


def test_damaged_and_foreign_folders_are_reported_and_skipped(store: Store, make_experiment: Make) -> None:
    good, torn, moved = make_experiment(), make_experiment(), make_experiment()
    (store.directory(torn.id) / "experiment.json").write_text('{"id": "')
    record = dataclasses.replace(moved, id=good.id).to_dict()
    (store.directory(moved.id) / "experiment.json").write_text(json.dumps(record))
    (store.root / "notes").mkdir()
    empty = new_id()
    (store.root / empty).mkdir()
    result = store.index.rebuild()
    assert result["experiments"] == 1
    assert {Path(item["path"]).name for item in result["skipped"]} == {torn.id, moved.id, "notes", empty}
    assert ids(store) == [good.id]


def test_queue_order_is_priority_then_age(store: Store, make_experiment: Make) -> None:
    times = [f"2026-01-01T00:00:0{i}.000Z" for i in range(4)]
    made = [make_experiment(queued_at=time, priority=p).id for time, p in zip(times, (0, 5, 0, 5))]
    assert [item.id for item in store.queued()] == [made[1], made[3], made[0], made[2]]


def test_leftovers_are_swept_but_not_a_creation_going_on(store: Store) -> None:
    fresh = store.root / f"{atomic.TEMPORARY_PREFIX}{new_id()}"
    stale = store.root / f"{atomic.TEMPORARY_PREFIX}00{new_id()[2:]}"
    for folder in (fresh, stale, store.trash / "old"):
        folder.mkdir()
    store.sweep()
    assert fresh.exists()
    assert not stale.exists()
    assert not (store.trash / "old").exists()


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    atomic.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(path, {"a": float("nan")})
    assert atomic.read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]
