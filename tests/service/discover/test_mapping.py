"""Status, ids, results, clearing and documents of fronts' tasks, on the store alone."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dti_service.datasets.jobs import DatasetJobs
from dti_service.datasets.prepare import Datasets
from dti_service.discover.results import member_name, result_archive
from dti_service.discover.status import StatusReader
from dti_service.discover.tasks import Task, Tasks
from dti_service.discover.upkeep import Upkeep
from dti_service.errors import Conflict, NotFound
from dti_service.experiment import Experiment, transition
from dti_service.service import Service
from dti_service.store import Store

Make = Callable[..., Experiment]


@pytest.fixture
def tasks(store: Store) -> Tasks:
    return Tasks(store)


# -- ids ------------------------------------------------------------------------------------------------------


def test_a_task_is_found_by_both_ids(tasks: Tasks, make_experiment: Make) -> None:
    experiment = make_experiment()
    tasks.add(experiment.id, Task("the front's / own\x00id", "dataset"))
    for id in (experiment.id, "the front's / own\x00id"):
        found, task = tasks.find(id)
        assert found.id == experiment.id
        assert task.dataset_id == "dataset"
    native = make_experiment()
    for id in ("absent", native.id, "..", ""):
        with pytest.raises(NotFound):
            tasks.find(id)


def test_of_two_tasks_with_one_id_the_latest_counts(tasks: Tasks, make_experiment: Make) -> None:
    made = [make_experiment() for _ in range(2)]
    for experiment in made:
        tasks.add(experiment.id, Task("same"))
    assert tasks.find("same")[0].id == made[1].id
    assert tasks.find(made[0].id)[0].id == made[0].id


def test_a_key_opens_one_task_and_lasts(tasks: Tasks, store: Store, make_experiment: Make) -> None:
    first, second = make_experiment().id, make_experiment().id
    key = tasks.key(first)
    assert tasks.opens(key, first)
    assert not tasks.opens(key, second)
    assert not tasks.opens("", first)
    assert not tasks.opens("ü", first)
    assert Tasks(store).key(first) == key
    secret = tasks.folder / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_bytes()) == 32


@pytest.mark.parametrize(
    ("id", "name"), [("7a4d-1", "7a4d-1"), ("../x", "config"), ("a b", "config"), (".x", "config")]
)
def test_the_configuration_is_named_after_the_task_if_it_can_be(id: str, name: str) -> None:
    assert Task(id).file_name == name


# -- status ---------------------------------------------------------------------------------------------------


def test_the_log_over_the_life_of_a_task(store: Store, make_experiment: Make) -> None:
    reader = StatusReader(store)
    experiment = make_experiment()
    events = store.events(experiment.id)
    log = reader.log(experiment, position=3)
    assert log == {"status": "PENDING", "id": experiment.id, "infos": ["Waiting in the queue, number 3"]}
    experiment = transition(experiment, "running")
    store.save(experiment)
    events.append("state", state="running", attempt=1)
    events.append("progress", step=2, total=20, unit="epochs", phase="training", eta_s=3)
    log = reader.log(experiment)
    assert log["status"] == "PROGRESS"
    assert log["infos"] == ["Starting task train_dti"]
    assert log["progress"] == [{"context": "Training (epochs)", "current": 2, "total": 20}]
    assert "errors" not in log
    events.append("warning", message="3 images could not be read")
    events.append("event", name="training_ended", iteration=20)
    assert reader.log(experiment)["infos"][1:] == [
        "Warning: 3 images could not be read",
        "Training over, running evaluation",
    ]
    done = transition(experiment, "succeeded")
    events.append("state", state="succeeded", attempt=1)
    log = reader.log(done, result_url="http://api/r")
    assert (log["status"], log["result_url"]) == ("SUCCESS", "http://api/r")
    assert "progress" not in log
    assert log["infos"][-1] == "Task finished"
    assert len(log["infos"]) == 4  # they are kept


def test_what_a_training_notes_is_said_in_words(store: Store, make_experiment: Make) -> None:
    experiment = make_experiment(state="running")
    events = store.events(experiment.id)
    where = {"iteration": 40, "epoch": 4}
    events.append("event", name="lr", lr=1e-5, **where)
    events.append("event", name="curriculum", activated=["affine", "tps"], stage=2, **where)
    events.append("event", name="reassignment", iteration=41, source=3, empty=[0, 5])
    events.append("event", name="split_merge", iteration=41, split=2, merged=6)
    events.append("event", name="full_resolution", iteration=41, epoch=4)
    events.append("event", name="something_new", iteration=42)
    assert StatusReader(store).log(experiment)["infos"][1:] == [
        "Iteration 40: learning rate lowered to 1e-05",
        "Iteration 40: affine, tps learned from now on",
        "Iteration 41: empty clusters (0, 5) begin again as copies of cluster 3",
        "Iteration 41: cluster 2 split in two, cluster 6 given up for it",
        "Iteration 41: images at their full size from now on",
        "Something new: iteration 42",
    ]


def test_only_the_latest_messages_and_each_event_read_once(store: Store, make_experiment: Make) -> None:
    reader = StatusReader(store)
    experiment = make_experiment(state="running")
    events = store.events(experiment.id)
    for number in range(30):
        events.append("warning", message=str(number))
    assert reader.log(experiment)["infos"] == [f"Warning: {number}" for number in range(20, 30)]
    (store.directory(experiment.id) / "events.jsonl").rename(store.directory(experiment.id) / "old.jsonl")
    events.append("warning", message="30")
    assert len(reader.log(experiment)["infos"]) == 10


def test_errors_hold_fatal_ones_only(store: Store, make_experiment: Make) -> None:
    reader = StatusReader(store)
    experiment = make_experiment(state="running")
    failed = transition(experiment, "failed", error={"kind": "bad_input", "message": "no images", "cell": 2})
    assert reader.log(failed)["errors"] == ["no images"]
    assert reader.log(failed)["status"] == "ERROR"
    assert reader.log(transition(experiment, "cancelled"))["status"] == "CANCELLED"
    store.request_cancel(experiment.id)
    assert reader.log(experiment)["infos"][-1] == "Cancelling ..."


# -- results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("prototypes/prototype0.png", "prototypes/prototype0.png"),
        ("prototypes/prototype12.gif", "prototypes/prototype12.gif"),
        ("prototypes/prototype00.png", None),
        ("prototypes/prototype_mean.png", None),
        ("prototypes/prototypes.json", None),
        ("prototypes/deep/prototype0.png", None),
        ("clusters/cluster0/3_raw.png", "clusters/cluster0/3_raw.png"),
        ("clusters/cluster0/x_raw.png", None),
        ("clusters/cluster0/3_tsf.png", "clusters/cluster0/3_tsf.png"),
        ("log.txt", "run-log.txt"),
        ("results.zip", "run-results.zip"),
        ("masked_prototypes/prototype0.png", "masked_prototypes/prototype0.png"),
        ("cluster_by_path.json", "cluster_by_path.json"),
    ],
)
def test_nothing_in_the_zip_breaks_a_front(path: str, name: str | None) -> None:
    assert member_name(path) == name


def test_the_zip_has_the_configuration_under_the_name_of_the_task(tmp_path: Path) -> None:
    (tmp_path / "results" / "prototypes").mkdir(parents=True)
    (tmp_path / "results" / "prototypes" / "prototype0.png").write_bytes(b"png")
    (tmp_path / "results" / "config.yaml").write_text("a: 1\n")
    archive = result_archive(tmp_path, "their-id")
    with zipfile.ZipFile(io.BytesIO(b"".join(archive.chunks()))) as opened:
        assert opened.namelist() == ["config.yaml", "prototypes/prototype0.png", "their-id.yml"]
        assert opened.read("their-id.yml") == b"a: 1\n"
        assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}


# -- clearing -------------------------------------------------------------------------------------------------


@pytest.fixture
def upkeep(service: Service, tasks: Tasks) -> Upkeep:
    return Upkeep(service, tasks, DatasetJobs(Datasets.from_settings(service.settings)))


def ended(store: Store, make: Make, at: str, **fields: Any) -> Experiment:
    experiment = transition(make(state="running", **fields), "succeeded", now=at)
    store.save(experiment)
    (store.directory(experiment.id) / "results" / "metrics.json").write_text("{}")
    return experiment


LONG_AGO = "2020-01-01T00:00:00.000Z"


def test_only_old_tasks_of_fronts_are_cleared(
    store: Store, service: Service, tasks: Tasks, upkeep: Upkeep, make_experiment: Make
) -> None:
    old = ended(store, make_experiment, LONG_AGO)
    kept = ended(store, make_experiment, LONG_AGO, keep=True)
    native = ended(store, make_experiment, LONG_AGO)
    recent = ended(store, make_experiment, "2999-01-01T00:00:00.000Z")
    running = make_experiment(state="running", started_at=LONG_AGO)
    for experiment in (old, kept, recent, running):
        tasks.add(experiment.id, Task(f"id of {experiment.id}"))
    assert upkeep.clear_old(30) == {"cleared_runs": 1, "cleared_datasets": 0, "cleared_results": 1}
    assert set(store.ids()) == {kept.id, native.id, recent.id, running.id}
    with pytest.raises(NotFound):
        tasks.find(f"id of {old.id}")
    assert upkeep.clear_old(30) == {"cleared_runs": 0, "cleared_datasets": 0, "cleared_results": 0}


def test_one_task_is_cleared_when_it_has_ended(
    store: Store, tasks: Tasks, upkeep: Upkeep, make_experiment: Make
) -> None:
    done, waiting = ended(store, make_experiment, LONG_AGO), make_experiment()
    tasks.add(done.id, Task("a"))
    tasks.add(waiting.id, Task("b"))
    with pytest.raises(Conflict):
        upkeep.clear_one(waiting.id)
    assert upkeep.clear_one("a")["cleared_runs"] == 1
    for id in ("a", done.id, "absent", "..", "../.."):
        assert upkeep.clear_one(id)["cleared_runs"] == 0
    assert set(store.ids()) == {waiting.id}


def test_datasets_go_when_nothing_uses_them_any_more(
    store: Store, tasks: Tasks, upkeep: Upkeep, make_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = upkeep.datasets
    made = [
        datasets.datasets.create({"documents": [{"type": "zip", "src": f"https://example.org/{n}.zip"}]}).id
        for n in range(4)
    ]
    catalogue = datasets.catalogue
    for id in made[:3]:
        tasks.mark(id)
    for id in made:
        catalogue.update(catalogue.get(id), created_at=LONG_AGO)
    task = ended(store, make_experiment, LONG_AGO, dataset=made[0])
    tasks.add(task.id, Task("a", made[0]))
    user = ended(store, make_experiment, LONG_AGO, dataset=made[1])
    assert upkeep.clear_old(30)["cleared_datasets"] == 2  # 0: its task is gone; 2: nobody used it
    assert {dataset.id for dataset in catalogue.all()} == {made[1], made[3]}
    store.delete(user.id)
    assert upkeep.clear_old(30)["cleared_datasets"] == 1
    assert {dataset.id for dataset in catalogue.all()} == {made[3]}  # not made for a front


def test_monitor_and_queues(store: Store, upkeep: Upkeep, make_experiment: Make) -> None:
    make_experiment()
    make_experiment(state="running")
    view = upkeep.monitor()
    assert view["total_size"] > 0
    assert view["queues"] == {"dti": {"name": "dti", "size": 1, "processing": 1}}
    assert view["gpu_info"]["num_gpus"] == len(view["gpu_info"]["gpu_details"])
    assert json.dumps(upkeep.queues())
