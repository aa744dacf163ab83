"""After any crash, records and reality agree again, and whoever lives is left alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dti_service.experiment import Experiment
from dti_service.recovery import recover
from dti_service.settings import Settings
from dti_service.store import Store

Make = Callable[..., Experiment]


def test_a_lost_run_is_queued_again(store: Store, settings: Settings, make_experiment: Make) -> None:
    lost = make_experiment(state="running", assigned_device="cpu")
    assert recover(store, settings) == [lost.id]
    again = store.get(lost.id)
    assert (again.state, again.attempt, again.losses, again.assigned_device) == ("queued", 1, 1, None)
    assert recover(store, settings) == []


def test_a_run_whose_lock_is_held_is_left_alone(
    store: Store, settings: Settings, make_experiment: Make
) -> None:
    alive = make_experiment(state="running")
    lock = store.lock(alive.id)
    assert lock.acquire()
    assert recover(store, settings) == []
    assert store.get(alive.id).state == "running"


def test_after_the_last_attempt_it_has_failed(
    store: Store, settings: Settings, make_experiment: Make
) -> None:
    lost = make_experiment(state="running", losses=settings.max_attempts - 1)
    recover(store, settings)
    ended = store.get(lost.id)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error["kind"] == "lost"


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_wish_to_cancel_outlives_every_crash(
    store: Store, settings: Settings, make_experiment: Make, state: str
) -> None:
    experiment = make_experiment(state=state)
    store.request_cancel(experiment.id, "ada")
    recover(store, settings)
    assert store.get(experiment.id).state == "cancelled"


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_what_has_ended_never_changes(
    store: Store, settings: Settings, make_experiment: Make, state: str
) -> None:
    ended = make_experiment(state=state)
    store.request_cancel(ended.id)
    before = (store.directory(ended.id) / "experiment.json").read_bytes()
    assert recover(store, settings) == []
    assert (store.directory(ended.id) / "experiment.json").read_bytes() == before


def test_one_damaged_record_does_not_hinder_the_others(
    store: Store, settings: Settings, make_experiment: Make
) -> None:
    damaged, lost = make_experiment(state="running"), make_experiment(state="running")
    (store.directory(damaged.id) / "experiment.json").write_text("{")
    assert recover(store, settings) == [lost.id]
