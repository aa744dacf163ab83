"""dti-sprites bench fidelity: small real measurements, and the table that is made of them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from dti_sprites.bench.fidelity import sets
from dti_sprites.bench.fidelity.sets import BUDGETS, TASKS, Effort, Task, names_of
from dti_sprites.bench.fidelity.summary import (
    keep_row,
    mean_and_error,
    reached,
    read_rows,
    section,
    summarise,
)
from dti_sprites.cli import main
from dti_sprites.data.benchmarks import benchmark_info
from dti_sprites.errors import DataError

TINY = ("model.encoder=default", "training.epochs=2", "training.curriculum=[0,1]", "training.milestones=[]")
SCENE = (
    "training.epochs=1",
    "training.milestones=[]",
    "model.sprites.freeze_sprite=0",
    "model.encoder=resnet20",
)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Tasks that take seconds; the folder of all that the command writes."""
    small = Task(
        "digits",
        "digits",
        "digits-published",
        dict.fromkeys(BUDGETS, Effort(2, limit=100, changes=TINY)),
        marks={"accuracy": 1.01},
        mark="more than there can be",
    )
    scenes = Task(
        "tetrominoes",
        "tetrominoes-19",
        "sprites-tetrominoes",
        dict.fromkeys(BUDGETS, Effort(1, limit=8, changes=SCENE)),
        metrics=sets.SCENES,
    )
    lines = Task(
        "lines",
        "incunables-lines",
        "text-lines",
        dict.fromkeys(BUDGETS, Effort(1, limit=8, changes=(*SCENE, "model.n_prototypes=3"))),
        metrics=("loss",),
        picture=True,
    )
    for task in (small, scenes, lines):
        monkeypatch.setitem(TASKS, task.name, task)
    monkeypatch.delenv("DTI_BENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bench(*arguments: str) -> int:
    return main(["bench", "fidelity", "--device", "cpu", "--results", "R.md", *arguments])


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("budget", BUDGETS)
def test_every_task_has_settings_and_a_set(name, budget):
    task = TASKS[name]
    config = task.config(budget)
    if budget == "full":
        assert task.shortened("full", None, 100, None) == ""
    assert config.training.epochs >= 1
    if not name.startswith("omniglot"):
        assert benchmark_info(task.data).name == task.data


def test_published_marks_are_measured_on_published_settings():
    for name in ("mnist-1k", "mnist-test", "mnist", "gtsrb8-sprites", "tetrominoes", "scenes"):
        assert TASKS[name].shortened("full", None, 100, None) == ""
        assert TASKS[name].shortened("smoke", None, 100, 1000) != ""


def test_seeds_are_kept_and_taken_again(tiny, capsys):
    assert bench("--set", "digits", "--json") == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert row["seeds"] == 2
    losses = [run["loss"] for run in row["runs"]]
    assert losses[0] != losses[1]
    assert row["lowest_loss"]["loss"] == min(losses)
    assert row["metrics"]["loss"]["mean"] == pytest.approx(np.mean(losses))
    assert 0 < row["baseline"]["accuracy"] <= 1
    text = (tiny / "R.md").read_text()
    assert "| scikit-learn's digits | `digits-published` | 100 | 2 | ACC " in text
    assert "2 of 60 epochs, 100 of 1,797 images" in text
    kept = sorted((tiny / "runs").rglob("result.json"))
    assert len(kept) == 2
    # A finished seed is not trained again, a lost one is evaluated from its checkpoint.
    changed = json.loads(kept[0].read_text()) | {"loss": 0.125}
    kept[0].write_text(json.dumps(changed))
    kept[1].unlink()
    assert bench("--set", "digits", "--resume", "--json") == 0
    again = json.loads(capsys.readouterr().out)["rows"][0]["runs"]
    assert again[0]["loss"] == 0.125
    assert again[1]["loss"] == pytest.approx(losses[1], rel=1e-5)


def test_seeds_may_be_shared_out(tiny, capsys):
    """Two processes train a seed each in one folder; a third collects."""
    for seed in ("1", "0"):
        assert bench("--set", "digits", "--seeds", "1", "--first-seed", seed, "--no-results") == 0
    assert not (tiny / "R.md").exists()
    alone = [json.loads(path.read_text())["loss"] for path in sorted((tiny / "runs").rglob("result.json"))]
    capsys.readouterr()
    assert bench("--set", "digits", "--resume", "--json") == 0
    assert [run["loss"] for run in json.loads(capsys.readouterr().out)["rows"][0]["runs"]] == alone
    assert bench("--set", "digits", "--first-seed", "-1") == 2
    assert "--first-seed" in capsys.readouterr().err


def test_a_changed_setting_has_a_row_of_its_own(tiny, capsys):
    assert bench("--set", "digits", "--seeds", "1") == 0
    capsys.readouterr()
    assert bench("--set", "digits", "--seeds", "1", "--change", "training.batch_size=50", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["runs"][0]["iterations"] == 2 * 2
    text = (tiny / "R.md").read_text()
    assert "| `digits-published` |" in text
    assert "| `digits-published, training.batch_size=50` |" in text
    assert bench("--set", "digits", "--change", "training.batch_sise=50") == 2
    assert "training.batch_sise" in capsys.readouterr().err


def test_scenes_are_scored_by_their_masks(tiny, capsys):
    assert bench("--set", "tetrominoes", "--seeds", "1", "--json") == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert {"ari_fg", "ari", "mean_class_accuracy", "miou", "loss"} <= row["metrics"].keys()
    assert row["baseline"] == {}


def test_lines_end_in_a_picture(tiny, capsys):
    folder = tiny / "sets" / "incunables15c"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "lines_a.zip", "w") as archive:
        with archive.open("1.png", "w") as file:
            Image.fromarray(rng.integers(0, 255, (64, 900), dtype=np.uint8)).save(file, "PNG")
        archive.writestr("transcriptions.csv", "file,text\n1.png,abc\n")
    assert bench("--set", "lines", "--data", str(tiny / "sets"), "--json") == 0
    run = json.loads(capsys.readouterr().out)["rows"][0]["runs"][0]
    with Image.open(tiny / run["picture"]) as picture:
        assert picture.width > 200


def test_a_missing_set_is_named_and_others_are_measured(tiny, capsys):
    (tiny / "empty").mkdir()
    assert bench("--set", "mnist-1k", "--set", "digits", "--seeds", "1", "--data", "empty") == 2
    printed = capsys.readouterr()
    assert (
        "not measured: mnist-1k: MNIST is not in empty: expected mnist/mnist.npz or mnist.npz" in printed.err
    )
    assert "scikit-learn's digits" in printed.out
    assert bench("--set", "mnist-1k") == 2
    assert "give root, or set DTI_BENCH_DATA" in capsys.readouterr().err


def test_wrong_options_are_refused(tiny, capsys):
    assert bench("--set", "mnits", "--seeds", "0", "--threads", "0") == 2
    errors = capsys.readouterr().err
    assert "--set: unknown set 'mnits'; possible: mnist-1k" in errors
    assert "--seeds: must be at least 1" in errors
    assert "--threads: must be at least 1" in errors
    assert bench("--set", "digits", "--preset", "nothing") == 2
    assert "unknown preset" in capsys.readouterr().err
    assert not (tiny / "runs").exists()


def test_aliases_and_order():
    assert names_of(["omniglot", "mnist-1k"])[:1] == ["mnist-1k"]
    assert len(names_of(["omniglot"])) == 3


def test_mean_and_error_by_hand():
    assert mean_and_error([1.0, 3.0]) == {"mean": 2.0, "standard_error": pytest.approx(1.0)}
    assert mean_and_error([5.0])["standard_error"] is None


def row_of(name: str, accuracy: float, **more) -> dict:
    seed = {"seed": 0, "loss": 0.1, "accuracy": accuracy, "nmi": 0.5, "duration_s": 9.0, "used": 3}
    seed["machine"] = {
        "device": "cpu",
        "python": "3.12",
        "platform": "x",
        "created_at": "2020-01-01T00:00:00Z",
    }
    about = {"title": "T", "n_images": 7, "shortened": "", "baseline": {}} | more
    return summarise(TASKS[name], "full", "mnist-1k", [seed], **about)


def test_rows_replace_their_like_and_say_whether_marks_are_reached(tmp_path):
    file = tmp_path / "rows.json"
    keep_row(file, row_of("mnist-1k", 0.9))
    assert "mark not reached" in section(read_rows(file))
    rows = keep_row(file, row_of("mnist-1k", 0.97))
    assert len(rows) == 1
    assert reached(TASKS["mnist-1k"], rows[0])
    assert "mark reached" in section(rows)
    assert "mark" not in section([row_of("mnist-1k", 0.97, shortened="2 of 3 epochs")]).split("notes |")[1]
    assert reached(TASKS["lines"], row_of("lines", 0.1)) is None
    file.write_text("{}")
    with pytest.raises(DataError, match="repair or remove"):
        keep_row(file, row_of("mnist-1k", 0.9))
    assert file.read_text() == "{}"


def test_published_settings_need_neither_scipy_nor_scikit_learn_nor_safetensors(tmp_path):
    program = f"""
import sys, torch
import importlib.util
find, absent = importlib.util.find_spec, ("scipy", "sklearn", "safetensors")
sys.modules.update(dict.fromkeys(absent))
importlib.util.find_spec = lambda name, *more: None if name in absent else find(name, *more)
from dti_sprites.bench.fidelity.sets import BUDGETS, SCENES, TASKS, Effort, Task
from dti_sprites.cli import main
efforts = dict.fromkeys(BUDGETS, Effort(1, limit=8, changes={SCENE!r}))
TASKS["tetrominoes"] = Task("tetrominoes", "tetrominoes-19", "sprites-tetrominoes", efforts, metrics=SCENES)
common = ["bench", "fidelity", "--device", "cpu", "--no-results", "--work", {str(tmp_path)!r}]
assert main([*common, "--set", "tetrominoes"]) == 0
assert main([*common, "--set", "digits"]) == 2
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ARI-FG" in done.stdout
    assert "not measured: digits: needs the package sklearn" in done.stderr
