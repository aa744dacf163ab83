"""The index: never wrong for long, whatever happens to its file and whoever changes the directories."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dti_service import atomic
from dti_service.dispatch.local import Slots
from dti_service.errors import Unavailable
from dti_service.experiment import Experiment, transition
from dti_service.ids import new_id
from dti_service.index import Query
from dti_service.index_file import on_network
from dti_service.settings import Settings
from dti_service.store import Store

Make = Callable[..., Experiment]


def ids(store: Store, **query: object) -> list[str]:
    return [item.id for item in store.page(Query(**query)).items]  # type: ignore[arg-type]


def write_record(store: Store, experiment: Experiment) -> None:
    """As another machine does: on the disk only."""
    atomic.write_json(store.directory(experiment.id) / "experiment.json", experiment.to_dict())


def test_a_change_between_reading_and_indexing_is_not_lost(
    store: Store, make_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = make_experiment(state="running")
    read = store.get

    def read_then_end(id: str) -> Experiment:
        found = read(id)
        if not found.ended:
            write_record(store, transition(found, "succeeded"))
        return found

    monkeypatch.setattr(store, "get", read_then_end)
    store.index.update(experiment.id)
    monkeypatch.undo()
    assert ids(store, state="succeeded") == [experiment.id]


def test_an_older_view_of_what_has_ended_does_not_stay(
    store: Store, make_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes annotate: the one that read first writes the index last."""
    experiment = make_experiment(state="succeeded", name="first")
    slow, quick = Store(store.data_dir), Store(store.data_dir)
    read = slow.get

    def read_then_be_overtaken(id: str) -> Experiment:
        found = read(id)
        quick.annotate(id, name="second")
        return found

    monkeypatch.setattr(slow, "get", read_then_be_overtaken)
    slow.index.update(experiment.id)
    monkeypatch.undo()
    assert [item.name for item in store.page().items] == ["second"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_deleted_under_a_running_server_is_made_anew(
    store: Store, make_experiment: Make, replaced: bool
) -> None:
    first = make_experiment(state="succeeded")
    assert ids(store) == [first.id]
    store.index.path.unlink()
    if replaced:
        other = Store(store.data_dir)
        other.annotate(first.id, name="by another process")
        assert [item.name for item in store.page().items] == ["by another process"]
    second = make_experiment()
    assert set(ids(store)) == {first.id, second.id}
    assert store.index.path.exists()


def test_a_file_damaged_under_a_running_server_is_made_anew(store: Store, make_experiment: Make) -> None:
    made = {make_experiment().id for _ in range(5)}
    store.index.close()
    with store.index.path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 20_000)
    assert set(ids(store)) == made


def test_a_file_of_a_later_version_is_left_alone(store: Store, make_experiment: Make) -> None:
    experiment = make_experiment()
    store.index.close()
    connection = sqlite3.connect(store.index.path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    assert ids(Store(store.data_dir)) == [experiment.id]
    connection = sqlite3.connect(store.index.path)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 999
    connection.close()


def test_without_a_usable_file_the_lists_work(store: Store, make_experiment: Make) -> None:
    experiment = make_experiment()
    store.index.close()
    for path in store.data_dir.glob("index.sqlite3*"):
        path.unlink()
    store.index.path.mkdir()  # nothing can be opened or deleted there
    fresh = Store(store.data_dir)
    assert ids(fresh) == [experiment.id]
    fresh.save(transition(fresh.get(experiment.id), "running"))
    assert ids(fresh, state="running") == [experiment.id]


def test_many_processes_may_create_the_file_at_once(store: Store, make_experiment: Make) -> None:
    made = {make_experiment().id for _ in range(3)}
    store.index.close()
    for path in store.data_dir.glob("index.sqlite3*"):
        path.unlink()
    stores = [Store(store.data_dir) for _ in range(8)]
    found: list[set[str]] = []
    threads = [threading.Thread(target=lambda one=one: found.append(set(ids(one)))) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [made] * 8


def test_a_directory_that_is_copied_slowly_appears_when_it_is_complete(store: Store, tmp_path: Path) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    guest = elsewhere.create(Experiment(id=new_id(), notebook="n", state="succeeded"))
    target = store.root / guest.id
    target.mkdir()
    assert ids(store) == []
    shutil.copyfile(elsewhere.directory(guest.id) / "events.jsonl", target / "events.jsonl")
    assert ids(store) == []
    (target / "experiment.json").write_bytes(b'{"id": "')  # half of it
    assert ids(store) == []
    shutil.copyfile(elsewhere.directory(guest.id) / "experiment.json", target / "experiment.json")
    assert ids(store) == [guest.id]


def test_a_record_that_is_damaged_later_disappears_until_it_is_repaired(
    store: Store, make_experiment: Make
) -> None:
    experiment, other = make_experiment(), make_experiment()
    path = store.directory(experiment.id) / "experiment.json"
    good = path.read_bytes()
    path.write_bytes(good[:50])
    os.utime(path, ns=(1, 1))
    assert ids(store) == [other.id]
    path.write_bytes(good)
    assert set(ids(store)) == {experiment.id, other.id}


@pytest.mark.parametrize(
    "wrong", [{"tags": None}, {"parameters": []}, {"priority": "high"}, {"created_at": 5}, {"name": None}]
)
def test_a_record_with_fields_of_wrong_types_stops_nothing(
    store: Store, make_experiment: Make, wrong: dict[str, object]
) -> None:
    good, bad = make_experiment(), make_experiment()
    (store.directory(bad.id) / "annotations.json").unlink()
    atomic.write_json(store.directory(bad.id) / "experiment.json", {**bad.to_dict(), **wrong})
    assert ids(store) == [good.id]
    with pytest.raises(ValueError, match=next(iter(wrong))):
        store.get(bad.id)


def test_cancelling_is_a_state_to_ask_for(store: Store, make_experiment: Make) -> None:
    one, two = make_experiment(state="running"), make_experiment(state="running")
    store.request_cancel(one.id)
    assert ids(store, state="cancelling") == [one.id]
    assert ids(store, state="running") == [two.id]
    assert store.page(Query(state="cancelling")).total == 1
    assert {item.id for item in store.running()} == {one.id, two.id}


def test_very_many_experiments_are_looked_at_beside_the_requests(
    store: Store, make_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if there were as many: lists answer at once, and what others wrote arrives a little later."""
    known = make_experiment()
    monkeypatch.setattr("dti_service.index.MUCH", -1)
    assert ids(store) == [known.id]
    other = Store(store.data_dir)
    monkeypatch.setattr(other.index, "update", lambda id: None)
    late = other.create(dataclasses.replace(known, id=new_id(), idempotency_key="k"))
    assert store.find_by_key("k", None) is not None  # where it matters, it is waited for
    later = other.create(dataclasses.replace(known, id=new_id()))
    waiter = threading.Event()
    while len(ids(store)) < 3:
        waiter.wait(0.01)
    assert set(ids(store)) == {known.id, late.id, later.id}


class Gate:
    """Lets the store read `open_for` records, then holds it until it is opened."""

    def __init__(self, store: Store, open_for: int) -> None:
        self.read = store.get
        self.left = open_for
        self.opened = threading.Event()

    def __call__(self, id: str) -> Experiment:
        if self.left == 0:
            assert self.opened.wait(30)
        self.left = max(0, self.left - 1)
        return self.read(id)


@pytest.fixture
def as_if_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are as many as very many."""
    monkeypatch.setattr("dti_service.index.MANY", 1)
    monkeypatch.setattr("dti_service.index.BITE", 1)
    monkeypatch.setattr("dti_service.store.KEY_WAIT_S", 0.05)


def remade(store: Store) -> Store:
    """The same directory without its index."""
    store.index.close()
    for path in store.data_dir.glob("index.sqlite3*"):
        path.unlink()
    return Store(store.data_dir)


@pytest.mark.usefixtures("as_if_many")
def test_a_server_lists_the_newest_while_a_new_index_is_built(
    store: Store, make_experiment: Make, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make_experiment(idempotency_key=f"k{number}").id for number in range(5)]
    serving = remade(store)
    serving.index.serving = True
    gate = Gate(serving, 2)
    monkeypatch.setattr(serving, "get", gate)
    while len(ids(serving)) < 2:
        gate.opened.wait(0.01)
    assert ids(serving) == made[:2:-1]
    assert serving.index.building is not None
    assert (serving.index.building.done, serving.index.building.total) == (2, 5)
    # What needs all of them is refused, or waits.
    with pytest.raises(Unavailable, match="2 of 5"):
        serving.find_by_key("k0", None)
    position = serving.index.changes(None).position
    slots = Slots(settings, serving)
    slots.step()
    assert slots.jobs == []
    gate.opened.set()
    assert serving.named() >= set(made)
    assert serving.index.building is None
    assert ids(serving) == made[::-1]
    assert serving.find_by_key("k0", None) is not None
    # Whoever followed the news has not been told of these, and is told to ask again.
    assert not serving.index.changes(position).complete
    assert serving.index.changes(serving.index.changes(None).position).complete


@pytest.mark.usefixtures("as_if_many")
def test_a_command_waits_until_a_new_index_is_complete(store: Store, make_experiment: Make) -> None:
    made = [make_experiment().id for _ in range(5)]
    assert ids(remade(store)) == made[::-1]


@pytest.mark.usefixtures("as_if_many")
def test_a_server_that_stops_leaves_the_rest_of_a_build_to_the_next(
    store: Store, make_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make_experiment().id for _ in range(5)]
    stopped = remade(store)
    stopped.index.serving = True
    gate = Gate(stopped, 2)
    monkeypatch.setattr(stopped, "get", gate)
    while len(ids(stopped)) < 2:
        gate.opened.wait(0.01)
    stopped.index.close()
    gate.opened.set()
    while stopped.index.building is not None:
        time.sleep(0.01)
    following = Store(store.data_dir)
    read: list[str] = []
    monkeypatch.setattr(following, "get", lambda id: read.append(id) or Store.get(following, id))
    assert ids(following) == made[::-1]
    assert set(made[3:]).isdisjoint(read)


@pytest.mark.parametrize("often", [0, 10**6])
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ornaments", ['Ornaments "A"', "other ornaments"]),
        ("ORNAMENTS", ['Ornaments "A"', "other ornaments"]),
        ("rnam", ['Ornaments "A"', "other ornaments"]),
        ('s "a"', ['Ornaments "A"']),
        ("éti", ["étiquettes"]),
        ("eti", []),
        ("né", ["Née"]),
        ("100%", ["100% of it"]),
        ("or*", []),
        ("a OR b", []),
        ("né\0", []),
        ("blue bird", ["étiquettes"]),
    ],
)
def test_a_text_is_found_wherever_it_stands(
    store: Store,
    make_experiment: Make,
    monkeypatch: pytest.MonkeyPatch,
    often: int,
    text: str,
    found: list[str],
) -> None:
    monkeypatch.setattr("dti_service.index.OFTEN", often)
    for name in ('Ornaments "A"', "other ornaments", "étiquettes", "Née", "100% of it"):
        make_experiment(name=name, tags=["blue bird"] if name == "étiquettes" else [])
    names = [item.name for item in store.page(Query(q=text, sort="name")).items]
    assert sorted(names) == sorted(found)
    assert store.page(Query(q=text)).total == len(found)


def test_a_text_that_has_changed_is_found_no_more(store: Store, make_experiment: Make) -> None:
    first, second = make_experiment(name="watermarks"), make_experiment(name="watermarks too")
    assert set(ids(store, q="watermark")) == {first.id, second.id}
    store.annotate(first.id, name="letters")
    assert ids(store, q="watermark") == [second.id]
    assert ids(store, q="letter") == [first.id]
    store.delete(second.id)
    assert ids(store, q="watermark") == []


def test_pages_of_a_search_follow_each_other(
    store: Store, make_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make_experiment(name=f"coin {number}").id for number in range(6)]
    make_experiment(name="letter")
    for often in (0, 100):
        monkeypatch.setattr("dti_service.index.OFTEN", often)
        seen: list[str] = []
        cursor = None
        while len(seen) < 6:
            page = store.page(Query(q="coin", limit=2, cursor=cursor))
            assert page.total == 6
            seen += [item.id for item in page.items]
            cursor = page.next_cursor
        assert seen == made[::-1]
        assert cursor is None


def test_network_file_systems_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path}/shared\\040disk nfs4 rw 0 0\n"
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, *a: mounts if str(path) == "/proc/self/mounts" else read(path, *a)
    )
    assert on_network(tmp_path / "shared disk" / "data")
    assert not on_network(tmp_path / "other")
