"""Runs by hand, in processes of their own: however the process ends, the record says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import dti_service.run as run_module
from dti_service.events import EventLog
from dti_service.experiment import Experiment
from dti_service.ids import new_id
from dti_service.plain import plain
from dti_service.run import Run, current_run
from dti_service.settings import Settings
from dti_service.store import Store

BEGIN = "from dti_service.run import current_run; run = current_run(notebook='n')\n"


def run_script(code: str, settings: Settings, **variables: str) -> Experiment:
    environment = {**os.environ, "DTI_DATA_DIR": str(settings.data_dir), **variables}
    environment.pop("DTI_EXPERIMENT_DIR", None)
    subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=120)
    [experiment] = Store(settings.data_dir).page().items
    return experiment


@pytest.mark.parametrize(
    ("code", "state", "error"),
    [
        ("run.finish({'a': 1})", "succeeded", None),
        ("raise ValueError('no such luck')", "failed", ("user_error", "ValueError: no such luck")),
        ("raise MemoryError('all gone')", "failed", ("out_of_memory", "MemoryError: all gone")),
        ("raise KeyboardInterrupt", "cancelled", None),
        ("pass", "failed", ("lost", "The notebook was closed before the run had ended.")),
        ("import os; os.fork() or os._exit(0); run.finish()", "succeeded", None),
        ("import os; pid = os.fork(); (pid and os.waitpid(pid, 0)) or __import__('sys').exit()\nrun.finish()",
         "succeeded", None),
    ],
)  # fmt: skip
def test_the_end_of_a_script_is_the_end_of_its_run(
    settings: Settings, code: str, state: str, error: tuple[str, str] | None
) -> None:
    experiment = run_script(BEGIN + code, settings)
    found = experiment.error and (experiment.error["kind"], experiment.error["message"])
    assert (experiment.state, found) == (state, error)
    assert not Store(settings.data_dir).alive(experiment.id)


def test_a_notebook_executed_by_plain_papermill_tells_its_error(
    settings: Settings, make_notebook: object, tmp_path: Path
) -> None:
    path = make_notebook("n: int = 3", BEGIN, "raise RuntimeError('half way')")  # type: ignore[operator]
    code = f"import papermill; papermill.execute_notebook({str(path)!r}, {str(tmp_path / 'out.ipynb')!r})"
    experiment = run_script(code, settings)
    assert (experiment.state, (experiment.error or {})["message"]) == ("failed", "RuntimeError: half way")


def test_nobody_sees_half_of_a_new_experiment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every write on the way, the store lists nothing or the whole experiment."""
    monkeypatch.delenv("DTI_EXPERIMENT_DIR", raising=False)
    monkeypatch.setenv("DTI_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr(run_module, "_current", None)
    store = Store(settings.data_dir)
    seen = []
    append = EventLog.append

    def append_and_look(log: EventLog, kind: str, **data: object) -> None:
        seen.append(len(store.index.rebuild()["skipped"]))
        append(log, kind, **data)

    monkeypatch.setattr(EventLog, "append", append_and_look)
    run = current_run(notebook="n")
    assert seen == [0]
    assert [item.id for item in store.page().items] == [run.experiment_id]
    assert store.alive(str(run.experiment_id))
    run.cancel()


def test_a_directory_named_by_an_id_is_the_experiment_of_that_id(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DTI_EXPERIMENT_DIR", raising=False)
    monkeypatch.setattr(run_module, "_current", None)
    id = new_id()
    run = current_run(settings.experiments_dir / id, notebook="n", parameters={"lr": np.float32(0.5)})
    run.finish()
    experiment = Store(settings.data_dir).get(id)
    assert (experiment.state, experiment.parameters) == ("succeeded", {"lr": 0.5})


def test_a_run_by_hand_gives_signs_of_life(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DTI_EXPERIMENT_DIR", raising=False)
    monkeypatch.setenv("DTI_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr(run_module, "_current", None)
    monkeypatch.setattr("dti_service.ownership.SIGN_S", 0.0)
    run = current_run(notebook="n")
    runner = run.directory / "runner.json"
    os.utime(runner, (1, 1))
    run.metrics(1, loss=0.5)
    assert time.time() - runner.stat().st_mtime < 60
    run.cancel()


def test_pictures_of_an_earlier_attempt_go_too(tmp_path: Path) -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    for iteration in range(3):
        Run(tmp_path).live_images("prototypes", images, iteration)
    Run(tmp_path).live_images("masks", images, 0)
    Run(tmp_path).live_images("prototypes", images, 70)
    names = sorted(path.name for path in (tmp_path / "live").iterdir())
    assert names == ["masks-00000000.png", *(f"prototypes-{i:08}.png" for i in (1, 2, 70))]


def test_events_may_hold_any_names_and_values(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.event("drop", kind="learning rate", value=np.float64("nan"), at={1: (2, np.arange(2))})
    [(_, event)] = EventLog(tmp_path / "events.jsonl").read()[0]
    assert event["kind"] == "event"
    assert (event["name"], event["value"], event["at"]) == ("drop", None, {"1": [2, [0, 1]]})


def test_values_become_plain() -> None:
    value = {
        "a": np.int64(3),
        "b": [np.float32(0.5), float("inf")],
        "c": (True, None),
        "d": Path("/x"),
        5: {2},
    }
    assert plain(value) == {"a": 3, "b": [0.5, None], "c": [True, None], "d": "/x", "5": [2]}
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == plain(value)
