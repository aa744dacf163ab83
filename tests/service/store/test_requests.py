"""What a request may name, who may repeat it, and two requests at once."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dti_service.errors import Conflict, InvalidRequest
from dti_service.experiment import Experiment
from dti_service.naming import default_name
from dti_service.service import Service, SubmitRequest
from dti_service.settings import Settings

Make = Callable[..., Experiment]
PARAMETERS = """n: int = 3
dataset: str = "sample"
labels: str | None = None
device: str = "auto"
"""


@pytest.fixture
def notebook(make_notebook: Callable[..., Path]) -> str:
    return str(make_notebook(PARAMETERS, "print(n)"))


def fields(error: InvalidRequest) -> set[str]:
    return {item["field"] for item in error.errors}


def test_the_dataset_is_one_thing_wherever_it_is_said(
    service: Service, notebook: str, tmp_path: Path
) -> None:
    inside = service.submit(SubmitRequest(notebook, {"dataset": str(tmp_path)}, trusted=True))
    beside = service.submit(SubmitRequest(notebook, dataset=str(tmp_path), trusted=True))
    for experiment in (inside, beside):
        assert (experiment.dataset, experiment.parameters["dataset"]) == (str(tmp_path), str(tmp_path))
        assert service.rerun(experiment.id).dataset == str(tmp_path)
    with pytest.raises(InvalidRequest) as caught:
        service.submit(SubmitRequest(notebook, {"dataset": "sample"}, dataset=str(tmp_path), trusted=True))
    assert fields(caught.value) == {"dataset"}


def test_anyone_may_repeat_what_was_accepted_and_name_nothing_else(
    service: Service, notebook: str, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("name,label\n")
    values = {"dataset": str(tmp_path), "labels": str(labels)}
    first = service.submit(SubmitRequest(notebook, values, trusted=True))
    again = service.rerun(first.id, {"parameters": {"n": 4}}, owner="remote")
    assert again.parameters == {**values, "n": 4}
    for changes, field in (
        ({"dataset": str(tmp_path.parent)}, "dataset"),
        ({"parameters": {"dataset": str(tmp_path.parent)}}, "dataset"),
        ({"parameters": {"labels": "/etc/passwd"}}, "parameters.labels"),
        ({"notebook": notebook}, "notebook"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            service.rerun(first.id, changes, owner="remote")
        assert fields(caught.value) == {field}
    back = service.rerun(first.id, {"parameters": {"labels": None}}, owner="remote")
    assert "labels" not in back.parameters


def test_what_was_run_can_be_repeated_when_its_notebook_is_gone(service: Service, notebook: str) -> None:
    first = service.submit(SubmitRequest(notebook, {"n": 5}, trusted=True))
    source = (service.store.directory(first.id) / "source.ipynb").read_bytes()
    Path(notebook).unlink()
    again = service.rerun(first.id)
    assert (service.store.directory(again.id) / "source.ipynb").read_bytes() == source
    with pytest.raises(InvalidRequest) as caught:
        service.rerun(first.id, {"parameters": {"n": "many"}})
    assert fields(caught.value) == {"parameters.n"}


def test_files_beside_the_images_are_checked_like_folders(
    service: Service, settings: Settings, tmp_path: Path
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "labels.csv").write_text("name,label\n")
    (allowed / "out").symlink_to("/etc/passwd")
    service = Service(settings.replace(dataset_roots=(allowed,)))
    service.submit(SubmitRequest("dti_clustering", {"labels": str(allowed / "labels.csv")}))
    for path in (
        "/etc/passwd",
        str(allowed / "out"),
        str(allowed / "none.csv"),
        "labels.csv",
        "\0",
        "~nobody/x",
    ):
        with pytest.raises(InvalidRequest) as caught:
            service.submit(SubmitRequest("dti_clustering", {"labels": path}))
        assert fields(caught.value) == {"parameters.labels"}


def test_the_device_is_for_the_queue(service: Service, notebook: str) -> None:
    experiment = service.submit(SubmitRequest(notebook, {"device": "cpu"}, trusted=True))
    assert (experiment.device, "device" in experiment.parameters) == ("cpu", False)
    assert service.rerun(experiment.id).device == "cpu"
    for request in (
        SubmitRequest(notebook, {"device": "cuda:7"}, trusted=True),
        SubmitRequest(notebook, device="cuda", trusted=True),
        SubmitRequest(notebook, device="gpu", trusted=True),
    ):
        with pytest.raises(InvalidRequest) as caught:
            service.submit(request)
        assert fields(caught.value) == {"device"}


def test_with_workers_elsewhere_any_device_may_be_asked_for(settings: Settings, notebook: str) -> None:
    service = Service(settings.replace(redis_url="redis://localhost"))
    assert service.submit(SubmitRequest(notebook, device="cuda:7", trusted=True)).device == "cuda:7"


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": "x" * 201}, {"tags": ["a"] * 33}, {"tags": [1]}, {"keep": "yes"}, {"state": "x"}],
)
def test_annotations_that_cannot_be_used_change_nothing(
    service: Service, make_experiment: Make, changes: dict[str, object]
) -> None:
    experiment = make_experiment(name="before")
    with pytest.raises(InvalidRequest) as caught:
        service.patch(experiment.id, **changes)
    assert fields(caught.value) == set(changes)
    assert service.store.get(experiment.id) == experiment


@pytest.mark.parametrize("url", ["http://[", "http://", "ftp://x/y", "x" * 10, "http://x/" + "y" * 5000])
def test_addresses_to_notify_are_checked(service: Service, url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        service.submit(SubmitRequest("dti_clustering", notify_url=url))
    assert fields(caught.value) == {"notify_url"}


def test_one_key_at_once_from_many_threads_makes_one_experiment(settings: Settings) -> None:
    services = [Service(settings) for _ in range(4)]
    request = SubmitRequest("dti_clustering", {"seed": 1}, idempotency_key="k", owner="ada")
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(one.submit(request).id)) for one in services * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert services[0].list()["total"] == 1


def _submit_with_key(settings: Settings, results: multiprocessing.Queue[str]) -> None:
    request = SubmitRequest("dti_clustering", {"seed": 1}, idempotency_key="k")
    results.put(Service(settings).submit(request).id)


def test_one_key_at_once_from_many_processes_makes_one_experiment(settings: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_submit_with_key, args=(settings, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(found) == 1
    with pytest.raises(Conflict):
        Service(settings).submit(SubmitRequest("dti_clustering", {"seed": 2}, idempotency_key="k"))


def test_progress_counts_cells_from_the_latest_events(service: Service, make_experiment: Make) -> None:
    experiment = make_experiment(state="running")
    events = service.store.events(experiment.id)
    assert service.get(experiment.id)["progress"]["cell"] is None
    events.append("cell", index=2, total=5, name="train", status="started")
    events.append("progress", step=1, total=9, unit="steps", eta_s=4.0, phase="training", images=24)
    assert service.get(experiment.id)["progress"] == {
        "step": 1, "total": 9, "unit": "steps", "eta_s": 4.0, "phase": "training",
        "images": 24, "cell": 2,
    }  # fmt: skip
    events.append("progress", step=2, total=9, unit="steps", eta_s=3.0, phase="training")
    events.append("log", text="progress")
    assert service.get(experiment.id)["progress"]["step"] == 2
    assert Service(service.settings).get(experiment.id)["progress"]["step"] == 2


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        (None, "dti clustering"),
        ("/images/water marks/", "dti clustering: water marks"),
        ("https://example.org/iiif/manifest.json?page=2", "dti clustering: manifest.json"),
        ("https://example.org", "dti clustering: example.org"),
        ("https://[", "dti clustering"),
        ('[{"src": "x"}]', "dti clustering: documents"),
    ],
)
def test_names_of_what_nobody_named(dataset: str | None, name: str) -> None:
    assert default_name("dti_clustering", dataset) == name
    assert default_name("/home/ada/dti_clustering.ipynb", dataset) == name
