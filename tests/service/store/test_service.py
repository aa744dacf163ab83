"""The use cases: what is refused, what is queued, and what cancelling and running again mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dti_service.errors import Conflict, InvalidRequest, NotFound
from dti_service.experiment import Experiment, transition
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


def test_a_broken_demo_is_named_and_stops_nothing(settings: Settings) -> None:
    service = Service(settings.replace(installed_demos=("no_such_package_here",)))
    items = {item["name"]: item for item in service.notebooks()["items"]}
    assert "No module" in items["no_such_package_here"]["error"]
    assert "title" in items["dti_clustering"]
    with pytest.raises(InvalidRequest, match="cannot be used"):
        service.submit(SubmitRequest("no_such_package_here"))
