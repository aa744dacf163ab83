"""Changes of state are noticed whoever makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dti_service.experiment import Experiment, transition
from dti_service.settings import Settings
from dti_service.store import Store
from dti_service.watch import Watch

Make = Callable[..., Experiment]


def watching(store: Store) -> tuple[Watch, list[tuple[str, str | None]]]:
    seen: list[tuple[str, str | None]] = []
    return Watch(store, lambda experiment, earlier: seen.append((experiment.state, earlier))), seen


def go(store: Store, experiment: Experiment, state: Any) -> None:
    store.save(transition(store.get(experiment.id), state))


def test_each_change_is_told_once(store: Store, make_experiment: Make) -> None:
    watch, seen = watching(store)
    experiment = make_experiment()
    for state in (None, None, "running", None, "queued", "running", "succeeded", None):
        if state is not None:
            go(store, experiment, state)
        watch.look()
    assert seen == [
        ("queued", None),
        ("running", "queued"),
        ("queued", "running"),
        ("running", "queued"),
        ("succeeded", "running"),
    ]
    assert watch.active == 0


def test_what_another_process_does_is_seen(store: Store, settings: Settings, make_experiment: Make) -> None:
    watch, seen = watching(store)
    experiment = make_experiment()
    watch.look()
    elsewhere = Store(settings.data_dir)
    go(elsewhere, experiment, "running")
    watch.look()
    go(elsewhere, experiment, "failed")
    watch.look()
    assert seen == [("queued", None), ("running", "queued"), ("failed", "running")]


def test_an_expected_one_is_noticed_even_if_it_is_quick(store: Store, make_experiment: Make) -> None:
    watch, seen = watching(store)
    experiment = make_experiment()
    watch.expect(experiment.id)
    go(store, experiment, "running")
    go(store, experiment, "succeeded")
    watch.look()
    watch.look()
    assert seen == [("succeeded", None)]


def test_a_deleted_one_is_forgotten(store: Store, make_experiment: Make) -> None:
    watch, seen = watching(store)
    experiment = make_experiment()
    watch.look()
    store.delete(experiment.id)
    watch.look()
    assert seen == [("queued", None)]
    assert watch.active == 0


def test_a_listener_that_fails_does_not_stop_the_watch(store: Store, make_experiment: Make) -> None:
    seen: list[str] = []

    def listener(experiment: Experiment, earlier: str | None) -> None:
        seen.append(experiment.id)
        raise RuntimeError("no")

    watch = Watch(store, listener)
    made = [make_experiment().id for _ in range(2)]
    watch.look()
    assert seen == made
