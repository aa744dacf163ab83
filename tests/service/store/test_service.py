"""The use cases: what is refused, what is queued, and what cancelling and running again mean."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dti_service.datasets.catalogue import Catalogue
from dti_service.datasets.request import DatasetRequest, Document
from dti_service.errors import Conflict, InvalidRequest, NotFound
from dti_service.experiment import Experiment, transition
from dti_service.ids import new_id
from dti_service.locks import try_lock
from dti_service.service import Service, SubmitRequest
from dti_service.settings import Settings

Make = Callable[..., Experiment]
PARAMETERS = "n: int = 3  # how many [1, 9]\ndataset: str = 'sample'\nexperiment_dir: str | None = None"


@pytest.fixture
def notebook(make_notebook: Callable[..., Path]) -> str:
    return str(make_notebook(PARAMETERS, "print(n)"))


def fields(error: InvalidRequest) -> set[str]:
    return {item["field"] for item in error.errors}


def test_a_good_request_is_queued_with_its_notebook(service: Service, notebook: str) -> None:
    woken = []
    service.on_change(lambda: woken.append(1))
    experiment = service.submit(SubmitRequest(notebook, {"n": 5}, name="First", trusted=True))
    view = service.get(experiment.id)
    assert (view["state"], view["queue_position"], view["parameters"]["n"]) == ("queued", 1, 5)
    assert (service.store.directory(experiment.id) / "source.ipynb").read_text() == Path(notebook).read_text()
    assert woken


def test_every_problem_is_named_at_once_and_nothing_is_written(service: Service, notebook: str) -> None:
    request = SubmitRequest(
        notebook,
        {"n": 20, "m": 1, "experiment_dir": "/etc"},
        dataset="/no/such/folder",
        name=" ",
        notify_url="ftp://x",
        priority=5000,
        device="gpu",
        resume_from="0" * 36,
        time_limit_s=0,
        trusted=True,
    )
    with pytest.raises(InvalidRequest) as caught:
        service.submit(request)
    assert fields(caught.value) == {
        "parameters.n", "parameters.m", "parameters.experiment_dir", "dataset", "name", "notify_url", "priority",
        "device", "resume_from", "time_limit_s",
    }  # fmt: skip
    assert service.list()["total"] == 0


def test_only_trusted_callers_name_files(service: Service, notebook: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        service.submit(SubmitRequest(notebook))
    assert fields(caught.value) == {"notebook"}
    with pytest.raises(InvalidRequest) as caught:
        service.submit(SubmitRequest("dti_clustering", dataset=str(tmp_path)))
    assert fields(caught.value) == {"dataset"}


@pytest.mark.parametrize("path", ["images/../../secret", "link", "/etc"])
def test_allowed_folders_cannot_be_left(settings: Settings, tmp_path: Path, path: str) -> None:
    root = tmp_path / "allowed"
    (root / "images").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    service = Service(settings.replace(dataset_roots=(root.resolve(),)))
    service.submit(SubmitRequest("dti_clustering", dataset=str(root / "images")))
    with pytest.raises(InvalidRequest):
        service.submit(SubmitRequest("dti_clustering", dataset=str(root / path)))


def test_the_library_checks_what_the_schema_cannot(service: Service) -> None:
    with pytest.raises(InvalidRequest) as caught:
        service.submit(
            SubmitRequest("dti_clustering", {"transformation_sequence": "identity_wobble", "preset": "?"})
        )
    assert fields(caught.value) <= {"parameters.transformation_sequence", "parameters.preset"}
    assert caught.value.errors


def test_an_idempotency_key_gives_the_same_experiment(service: Service) -> None:
    request = SubmitRequest("dti_clustering", {"n_prototypes": 4}, idempotency_key="k", owner="ada")
    first = service.submit(request)
    assert service.submit(request).id == first.id
    assert service.list()["total"] == 1
    with pytest.raises(Conflict):
        service.submit(SubmitRequest("dti_clustering", {"n_prototypes": 5}, idempotency_key="k", owner="ada"))
    other = service.submit(SubmitRequest("dti_clustering", idempotency_key="k", owner="bob"))
    assert other.id != first.id


def test_cancelling_what_waits_ends_it_at_once(service: Service) -> None:
    id = service.submit(SubmitRequest("dti_clustering")).id
    assert service.cancel(id, "ada").state == "cancelled"
    assert service.cancel(id).state == "cancelled"
    states = [event["state"] for _, event in service.store.events(id).read()[0]]
    assert states == ["queued", "cancelled"]


def test_cancelling_what_is_being_claimed_leaves_the_wish(service: Service) -> None:
    id = service.submit(SubmitRequest("dti_clustering")).id
    lock = service.store.lock(id)
    assert lock.acquire()  # as a supervisor that is just starting
    assert service.cancel(id).state == "queued"
    assert service.store.cancel_requested(id)
    service.store.save(transition(service.store.get(id), "running"))
    assert service.get(id)["state"] == "cancelling"


def test_running_again_repeats_the_request_with_changes(service: Service) -> None:
    first = service.submit(
        SubmitRequest("dti_clustering", {"n_prototypes": 4, "seed": 2}, name="A", priority=3)
    )
    again = service.rerun(first.id, {"name": "B"}, owner="ada")
    assert again.id != first.id
    assert (again.parameters, again.priority, again.name) == (first.parameters, 3, "B")
    with pytest.raises(NotFound):
        service.rerun("0" * 36)


def test_resuming_needs_a_checkpoint_of_an_ended_experiment(service: Service, make_experiment: Make) -> None:
    source = make_experiment(state="cancelled")
    request = SubmitRequest("dti_clustering", resume_from=source.id)
    with pytest.raises(InvalidRequest, match="cannot be used"):
        service.submit(request)
    (service.store.directory(source.id) / "checkpoint" / "state.json").write_text("{}")
    resumed = service.submit(request)
    assert (service.store.directory(resumed.id) / "checkpoint" / "state.json").exists()


def test_cleanup_spares_what_is_kept_young_or_alive(service: Service, make_experiment: Make) -> None:
    past = "2020-01-01T00:00:00.000Z"
    old = make_experiment(state="failed", finished_at=past)
    kept = make_experiment(state="succeeded", finished_at=past)
    service.patch(kept.id, keep=True)
    make_experiment(state="succeeded", finished_at="2999-01-01T00:00:00.000Z")
    make_experiment(state="running", started_at=past)
    plan = service.cleanup("30d", dry_run=True)
    assert plan["experiments"] == [old.id]
    assert service.list()["total"] == 4
    assert service.cleanup("30d")["experiments"] == [old.id]
    assert service.list()["total"] == 3
    with pytest.raises(InvalidRequest):
        service.cleanup("a while")


@pytest.fixture
def catalogue(settings: Settings) -> Catalogue:
    return Catalogue(settings.data_dir)


@pytest.fixture
def make_dataset(catalogue: Catalogue) -> Callable[..., str]:
    """The id of a dataset that was made and last used long ago."""

    def make(*used_by: str, state: Any = "ready", used_at: float = 1e9) -> str:
        past = "2001-09-09T01:46:40.000Z"
        document = Document("auto", "https://example.org/a.zip", "a")
        made = catalogue.create(DatasetRequest((document,)))
        catalogue.update(made, state=state, created_at=past, finished_at=past)
        for experiment in used_by:
            catalogue.mark_used(made.id, experiment)
            os.utime(catalogue.directory(made.id) / "uses" / experiment, (used_at, used_at))
        return made.id

    return make


def test_cleanup_takes_datasets_that_nothing_uses(
    service: Service, settings: Settings, make_experiment: Make, make_dataset: Callable[..., str]
) -> None:
    past = "2020-01-01T00:00:00.000Z"
    old = make_experiment(state="failed", finished_at=past)
    kept = make_experiment(state="succeeded", finished_at=past)
    service.patch(kept.id, keep=True)
    unused = make_dataset()
    of_gone = make_dataset(new_id())
    of_old = make_dataset(old.id)
    of_kept = make_dataset(kept.id)
    of_both = make_dataset(old.id, kept.id)
    named = make_dataset()
    make_experiment(state="succeeded", finished_at=past, dataset=named, keep=True)
    lately_used = make_dataset(new_id(), used_at=time.time())
    service.quotas.catalogue.keep(marked := make_dataset(), True)
    being_made, left = make_dataset(state="downloading"), make_dataset(state="downloading")
    failed = make_dataset(state="failed")
    assert service.cleanup("30d")["datasets"] == []  # unless somebody asks, or a setting does
    old = make_experiment(state="failed", finished_at=past)
    service.quotas.catalogue.mark_used(of_old, old.id)
    os.utime(service.quotas.catalogue.directory(of_old) / "uses" / old.id, (1e9, 1e9))
    asking = Service(settings.replace(dataset_retention_days=90))
    going = {unused, of_gone, of_old, failed, left}
    plan = asking.cleanup("30d", dry_run=True)
    assert (plan["experiments"], set(plan["datasets"])) == ([old.id], going | {being_made})
    alone = service.cleanup("9999d", datasets_older_than="90d", dry_run=True)
    assert set(alone["datasets"]) == going - {of_old} | {being_made}
    with try_lock(service.quotas.catalogue.lock_path(being_made)):
        done = asking.cleanup("30d")
    assert (done["experiments"], set(done["datasets"])) == ([old.id], going)
    assert 0 < done["bytes"] < plan["bytes"]
    remaining = {dataset.id for dataset in service.quotas.catalogue.all()}
    assert remaining == {of_kept, of_both, named, lately_used, being_made, marked}
    with pytest.raises(InvalidRequest, match="age"):
        service.cleanup("30d", datasets_older_than="long")


def test_a_dataset_that_was_just_asked_for_is_spared(
    service: Service, notebook: str, make_dataset: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = make_dataset()
    request = SubmitRequest(notebook, dataset=wanted, trusted=True)
    look = service.store.named

    def look_and_submit(*arguments: Any) -> set[str]:
        """The request is accepted just after the cleanup has looked for experiments that name the dataset."""
        found = look(*arguments)
        service.submit(request)
        return found

    monkeypatch.setattr(service.store, "named", look_and_submit)
    assert service.cleanup("30d", datasets_older_than="30d")["datasets"] == []
    monkeypatch.undo()
    assert service.list()["items"][0]["dataset"] == wanted


@pytest.mark.parametrize(
    ("called", "name"), [("Initials of Lyon", "dti clustering: Initials of Lyon"), ("", "dti clustering")]
)
def test_an_experiment_is_called_by_the_name_of_its_dataset(
    service: Service, make_dataset: Callable[..., str], called: str, name: str
) -> None:
    wanted = make_dataset()
    service.quotas.catalogue.update(service.quotas.catalogue.get(wanted), name=called)
    made = service.submit(SubmitRequest("dti_clustering", dataset=wanted, trusted=True))
    assert made.name == name


def test_a_dataset_that_vanishes_meanwhile_is_refused(
    service: Service, notebook: str, make_dataset: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = make_dataset()
    catalogue = service.quotas.catalogue
    monkeypatch.setattr(service.quotas, "check_experiment", lambda owner: catalogue.delete(wanted))
    with pytest.raises(InvalidRequest) as caught:
        service.submit(SubmitRequest(notebook, dataset=wanted, trusted=True))
    assert fields(caught.value) == {"dataset"}
    assert service.list()["total"] == 0


def test_a_broken_demo_is_named_and_stops_nothing(settings: Settings) -> None:
    service = Service(settings.replace(installed_demos=("no_such_package_here",)))
    items = {item["name"]: item for item in service.notebooks()["items"]}
    assert "No module" in items["no_such_package_here"]["error"]
    assert "title" in items["dti_clustering"]
    with pytest.raises(InvalidRequest, match="cannot be used"):
        service.submit(SubmitRequest("no_such_package_here"))
