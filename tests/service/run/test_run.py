"""What a notebook tells its run, under the service and by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dti_service.run as run_module
from dti_service.experiment import Experiment
from dti_service.ids import new_id
from dti_service.run import Run, current_run, tile
from dti_service.settings import Settings
from dti_service.store import Store


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No run of an earlier test, and a data directory of this one."""
    monkeypatch.setattr(run_module, "_current", None)
    monkeypatch.delenv("DTI_EXPERIMENT_DIR", raising=False)
    monkeypatch.setenv("DTI_DATA_DIR", str(tmp_path / "data"))
    yield
    if run_module._current is not None:
        run_module._current.cancel()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The run of an experiment that the service executes."""
    store = Store(tmp_path / "data")
    experiment = store.create(Experiment(id=new_id(), notebook="n", state="running", attempt=1))
    monkeypatch.setenv("DTI_EXPERIMENT_DIR", str(store.directory(experiment.id)))
    monkeypatch.setenv("DTI_DEVICE", "cpu")
    return current_run()


def events(run: Run, kind: str) -> list[dict[str, object]]:
    return [event for _, event in run._events.read()[0] if event["kind"] == kind]


def test_under_the_service_it_is_the_experiment_and_leaves_its_record_alone(served: Run) -> None:
    before = (served.directory / "experiment.json").read_bytes()
    assert current_run() is served
    served.finish({"loss": np.float32(0.5), "bad": float("nan")})
    assert (served.directory / "experiment.json").read_bytes() == before
    assert json.loads((served.results / "metrics.json").read_text()) == {"loss": 0.5, "bad": None}


def test_finishing_adds_to_the_metrics_that_are_there(served: Run) -> None:
    (served.results / "metrics.json").write_text('{"loss": 1, "accuracy": 0.2}')
    served.finish({"accuracy": 0.9})
    assert json.loads((served.results / "metrics.json").read_text()) == {"loss": 1, "accuracy": 0.9}


def test_progress_is_thinned_but_the_end_is_always_told(served: Run) -> None:
    for step in range(1, 1001):
        served.progress(step, 1000)
    told = [event["step"] for event in events(served, "progress")]
    assert told[0] == 1
    assert told[-1] == 1000
    assert len(told) < 50


def test_pictures_are_complete_when_they_are_announced_and_old_ones_go(served: Run) -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 6, 3), np.uint8)
    for iteration in range(6):
        served.live_images("prototypes", images, iteration)
    told = events(served, "image")
    assert len(told) == 6
    last = served.directory / str(told[-1]["path"])
    assert Image.open(last).size == (3 * 6, 2 * 8)
    assert len(list((served.directory / "live").iterdir())) == run_module.KEPT_PICTURES


def test_tiles_keep_every_image_at_its_place() -> None:
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3, 1).astype(np.uint8)
    sheet, columns = tile(images)
    assert (sheet.shape, columns) == ((4, 9, 1), 3)
    assert (sheet[2:4, 3:6] == images[4]).all()


@pytest.mark.parametrize("name", ["cancel.json", "stop.json"])
def test_a_wish_to_stop_is_noticed(served: Run, name: str) -> None:
    assert not served.should_stop()
    (served.directory / name).write_text("{}")
    served._stop_at = 0.0  # as if half a second had gone by
    assert served.should_stop()


def test_a_broken_disk_does_not_stop_the_training(served: Run, caplog: pytest.LogCaptureFixture) -> None:
    events_file = served.directory / "events.jsonl"
    events_file.unlink()
    events_file.mkdir()
    for iteration in range(3):
        served.metrics(iteration, loss=1.0)
    assert len([record for record in caplog.records if "could not be written" in record.message]) == 1


def test_by_hand_it_is_a_new_experiment_that_the_service_lists(tmp_path: Path) -> None:
    run = current_run(
        notebook="dti_clustering", parameters={"dataset": "/images/coins", "n_prototypes": 4, "lr": None}
    )
    store = Store(tmp_path / "data")
    [experiment] = store.page().items
    assert (experiment.state, experiment.origin, experiment.dataset) == (
        "running",
        "interactive",
        "/images/coins",
    )
    assert experiment.parameters == {"n_prototypes": 4}
    assert store.alive(experiment.id)
    run.finish({"loss": 0.25})
    assert not store.alive(experiment.id)
    done = store.get(experiment.id)
    assert (done.state, done.metrics) == ("succeeded", {"loss": 0.25})
    run.fail("user_error", "too late")
    assert store.get(experiment.id).state == "succeeded"


def test_running_the_notebook_again_gives_up_the_run_before(tmp_path: Path) -> None:
    first = current_run(notebook="n")
    second = current_run(notebook="n")
    assert first.directory != second.directory
    store = Store(tmp_path / "data")
    assert sorted(item.state for item in store.page().items) == ["cancelled", "running"]


def test_a_directory_of_ones_own(tmp_path: Path) -> None:
    run = current_run(tmp_path / "mine", notebook="n")
    run.finish()
    assert json.loads((tmp_path / "mine" / "experiment.json").read_text())["state"] == "succeeded"
    with pytest.raises(FileExistsError, match="another"):
        current_run(tmp_path / "mine", notebook="n")


def test_a_killed_process_is_found_by_recovery(settings: Settings) -> None:
    from dti_service.recovery import recover

    code = (
        "import time; from dti_service.run import current_run\n"
        "current_run(notebook='n'); print(1, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "DTI_DATA_DIR": str(settings.data_dir)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        store = Store(settings.data_dir)
        assert recover(store, settings) == []
        [experiment] = store.running()
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while recover(store, settings) == [] and time.monotonic() < deadline:
        time.sleep(0.05)
    ended = store.get(experiment.id)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error["kind"] == "lost"


def test_an_error_in_a_cell_fails_a_run_by_hand(tmp_path: Path) -> None:
    """In a real IPython shell, as a notebook's kernel has."""
    code = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("from dti_service.run import current_run; run = current_run(notebook='n')")
shell.run_cell("from dti_sprites import DataError; raise DataError('no images')")
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
    [experiment] = Store(tmp_path / "data").page().items
    assert experiment.state == "failed"
    assert experiment.error == {"kind": "bad_input", "message": "DataError: no images", "cell": None}


def test_importing_it_is_light() -> None:
    heavy = ("torch", "tornado", "redis", "jupyter_server", "IPython")
    code = f"import sys, dti_service.run; print([name for name in {heavy} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "[]"
