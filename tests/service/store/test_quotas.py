"""Quotas of users and in total, and the space without which no run starts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dti_service import quotas
from dti_service.dispatch.local import Slots
from dti_service.errors import Conflict, Unavailable
from dti_service.experiment import Experiment, timestamp
from dti_service.quotas import Quotas
from dti_service.service import Service, SubmitRequest
from dti_service.settings import Settings
from dti_service.store import Store

MakeExperiment = Callable[..., Experiment]


@pytest.fixture
def finished(store: Store, make_experiment: MakeExperiment) -> Callable[[str, int], Experiment]:
    """An experiment of this owner that has ended and left a file of so many bytes."""

    def make(owner: str, size: int) -> Experiment:
        made = make_experiment(state="succeeded", finished_at=timestamp(), owner=owner)
        (store.directory(made.id) / "results" / "large.bin").write_bytes(bytes(size))
        return made

    return make


def limited(service: Service, **limits: Any) -> Service:
    service.settings = service.settings.replace(**limits)
    service.quotas = Quotas(service.settings, service.store)
    return service


def ask(notebook: Path, owner: str) -> SubmitRequest:
    return SubmitRequest(str(notebook), owner=owner, trusted=True)


def test_without_limits_nothing_is_looked_at(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quotas, "items", lambda self: pytest.fail("looked at the disk"))
    service.quotas.check_experiment("ada")
    assert not service.quotas.limits_space


def test_the_space_of_one_user(
    service: Service, finished: Callable[[str, int], Experiment], make_notebook: Callable[..., Path]
) -> None:
    limited(service, user_quota_gb=0.001)
    notebook = make_notebook("n: int = 1", "pass")
    mine = finished("ada", 1_100_000)
    finished("bob", 500_000)
    with pytest.raises(Conflict, match=r"0\.00 GB of the 0\.001 GB that each user") as refused:
        service.submit(ask(notebook, "ada"))
    assert refused.value.errors[0]["field"] == "quota"
    assert refused.value.status == 409
    service.submit(ask(notebook, "bob"))
    service.delete(mine.id)
    service.submit(ask(notebook, "ada"))


def test_the_space_of_all(
    service: Service, finished: Callable[[str, int], Experiment], make_notebook: Callable[..., Path]
) -> None:
    limited(service, quota_gb=0.002)
    notebook = make_notebook("n: int = 1", "pass")
    finished("ada", 1_100_000)
    service.submit(ask(notebook, "ada"))
    finished("bob", 1_100_000)
    with pytest.raises(Conflict, match="All experiments and datasets"):
        service.submit(ask(notebook, "carl"))


def test_datasets_count(service: Service) -> None:
    from dti_service.datasets.catalogue import now
    from dti_service.ids import new_id

    limited(service, user_quota_gb=0.001)
    id = new_id()
    folder = service.quotas.catalogue.directory(id)
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.bin").write_bytes(bytes(1_100_000))
    from dataclasses import asdict

    from dti_service import atomic
    from dti_service.datasets.catalogue import Dataset

    record = Dataset(id=id, name="x", owner="ada", key="k", created_at=now(), documents=[], counts={})
    atomic.write_json(folder / "dataset.json", asdict(record) | {"state": "ready"})
    with pytest.raises(Conflict):
        service.quotas.check_space("ada")
    service.quotas.check_space("bob")


def test_how_many_of_one_user_may_go_on(service: Service, make_notebook: Callable[..., Path]) -> None:
    limited(service, user_experiments=2)
    notebook = make_notebook("n: int = 1", "pass")
    first = service.submit(ask(notebook, "ada"))
    service.submit(ask(notebook, "ada"))
    with pytest.raises(Conflict, match="each user may have 2"):
        service.submit(ask(notebook, "ada"))
    assert service.store.page().total == 2
    service.submit(ask(notebook, "bob"))
    service.cancel(first.id)
    service.submit(ask(notebook, "ada"))


def test_what_has_ended_is_measured_once(
    service: Service, finished: Callable[[str, int], Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    finished("ada", 1000)
    asked: list[Path] = []
    real = quotas.folder_size
    monkeypatch.setattr(quotas, "folder_size", lambda folder: asked.append(folder) or real(folder))
    first, second = service.quotas.items(), service.quotas.items()
    assert first == second
    assert first[0].size > 1000
    assert len(asked) == 1


def full(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=10**12, free=free))


def test_nothing_is_queued_on_a_full_disk(
    service: Service, make_notebook: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch, 10**6)
    with pytest.raises(Unavailable, match="nearly full"):
        service.submit(ask(make_notebook("n: int = 1", "pass"), "ada"))
    assert service.store.page().total == 0


def test_a_run_waits_for_room(
    service: Service,
    settings: Settings,
    make_notebook: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    work = "from dti_service.run import current_run\ncurrent_run(experiment_dir).finish({})"
    notebook = make_notebook("experiment_dir: str | None = None", work)
    experiment = service.submit(ask(notebook, "ada"))
    slots = Slots(settings, service.store)
    try:
        with monkeypatch.context() as change:
            full(change, 10**6)
            for _ in range(3):
                slots.step()
            assert not slots.jobs
            assert service.store.get(experiment.id).state == "queued"
            assert [record.message for record in caplog.records if "less than 0.2 GB" in record.message] != []
            assert caplog.text.count("No run starts") == 1
        end = time.monotonic() + 60
        while not service.store.get(experiment.id).ended and time.monotonic() < end:
            slots.step()
            time.sleep(0.05)
        ended = service.store.get(experiment.id)
        assert ended.state == "succeeded", ended.error
    finally:
        slots.stop()
