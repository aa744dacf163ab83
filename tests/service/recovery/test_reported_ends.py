"""A supervisor that dies late has left word of how its run ended: nothing is done twice, nothing is invented."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import pytest

from dti_service.experiment import Experiment
from dti_service.recovery import ELSEWHERE_S, recover
from dti_service.settings import Settings
from dti_service.store import Store

Make = Callable[..., Experiment]
ERROR = {"kind": "user_error", "message": "ValueError: no", "cell": 3}


@pytest.mark.parametrize(
    ("files", "state", "kind"),
    [
        ({"executor.json": {"outcome": "ok"}, "results/metrics.json": {"nmi": 0.5}}, "succeeded", None),
        ({"executor.json": {"outcome": "ok"}}, "failed", "user_error"),
        ({"executor.json": {"outcome": "error", "error": ERROR}}, "failed", "user_error"),
        ({"stop.json": {"reason": "time_limit"}}, "failed", "time_limit"),
        ({"stop.json": {"reason": "stop"}, "executor.json": {"outcome": "interrupted"}}, "queued", None),
        ({"executor.json": {"outcome": "interrupted"}}, "queued", None),
        ({"executor.json": "torn"}, "queued", None),
        ({}, "queued", None),
    ],
)
def test_the_end_that_was_reported_is_written(
    store: Store,
    settings: Settings,
    make_experiment: Make,
    files: dict[str, object],
    state: str,
    kind: str | None,
) -> None:
    experiment = make_experiment(state="running")
    for name, content in files.items():
        (store.directory(experiment.id) / name).write_text(json.dumps(content))
    assert recover(store, settings) == [experiment.id]
    ended = store.get(experiment.id)
    assert (ended.state, (ended.error or {}).get("kind")) == (state, kind)
    assert ended.metrics == ({"nmi": 0.5} if state == "succeeded" else {})


def test_only_losses_use_up_the_attempts(store: Store, settings: Settings, make_experiment: Make) -> None:
    """A server that is restarted every night does not wear out a run that takes a week."""
    experiment = make_experiment(state="running", attempt=30)
    (store.directory(experiment.id) / "stop.json").write_text('{"reason": "stop"}')
    recover(store, settings)
    assert (store.get(experiment.id).state, store.get(experiment.id).losses) == ("queued", 0)


def test_a_cancelled_run_keeps_what_it_measured(
    store: Store, settings: Settings, make_experiment: Make
) -> None:
    experiment = make_experiment(state="running")
    store.request_cancel(experiment.id)
    (store.directory(experiment.id) / "results" / "metrics.json").write_text('{"loss": 1.5}')
    recover(store, settings)
    assert (store.get(experiment.id).state, store.get(experiment.id).metrics) == ("cancelled", {"loss": 1.5})


def test_the_notebook_of_a_lost_run_does_not_look_alive(
    store: Store, settings: Settings, make_experiment: Make
) -> None:
    experiment = make_experiment(state="running", losses=settings.max_attempts - 1)
    path = store.directory(experiment.id) / "notebook.ipynb"
    cell = {
        "cell_type": "code",
        "source": "1",
        "metadata": {"papermill": {"status": "running"}},
        "outputs": [],
    }
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    recover(store, settings)
    assert store.get(experiment.id).state == "failed"
    assert json.loads(path.read_text())["cells"][0]["metadata"]["papermill"]["status"] == "failed"


def test_a_runner_on_another_machine_lives_as_long_as_it_gives_signs(
    store: Store, settings: Settings, make_experiment: Make
) -> None:
    experiment = make_experiment(state="running")
    runner = store.directory(experiment.id) / "runner.json"
    runner.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert recover(store, settings) == []
    past = time.time() - ELSEWHERE_S - 1
    os.utime(runner, (past, past))
    assert recover(store, settings) == [experiment.id]


def test_files_of_interrupted_writers_are_removed(
    store: Store, settings: Settings, make_experiment: Make
) -> None:
    """At once where only the run writes; where a server may be writing just now, once they are old."""
    experiment = make_experiment(state="running")
    folder = store.directory(experiment.id)
    (folder / "live").mkdir()
    (folder / "checkpoint" / ".00000004.ab.partial").mkdir(parents=True)
    (folder / "curations").mkdir()
    half = ["live/.tmp-a.png-1", ".tmp-experiment.json-2", "checkpoint/.00000004.ab.partial"]
    young = [".tmp-annotations.json-3", "curations/.tmp-mine.json-4"]
    old = [".tmp-cancel.json-5", "curations/.tmp-mine.json-6"]
    for name in half + young + old:
        if not (folder / name).is_dir():
            (folder / name).write_text("half")
    for name in old:
        os.utime(folder / name, (1, 1))
    recover(store, settings)
    assert [name for name in half + young + old if (folder / name).exists()] == young


def test_a_supervisor_killed_at_the_very_end_leaves_working_files_for_a_thorough_look(
    store: Store, settings: Settings, make_experiment: Make
) -> None:
    ended, running = make_experiment(state="succeeded"), make_experiment(state="running")
    lock = store.lock(running.id)
    assert lock.acquire()
    for experiment in (ended, running):
        (store.directory(experiment.id) / "runner.json").write_text("{}")
    recover(store, settings)
    assert sorted(store.unfinished()) == sorted([ended.id, running.id])
    recover(store, settings, thorough=True)
    assert store.unfinished() == [running.id]
    lock.release()
