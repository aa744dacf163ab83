"""Restarts and sweeps, with small real trainings."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dti_sprites import ConfigError, DataError, RunConfig, TrainingError, load_run
from dti_sprites.choose import stability, sweep, train_best
from dti_sprites.choose import trial as trial_module
from dti_sprites.choose.restarts import RESTARTS
from dti_sprites.choose.sweeping import PAGE, TABLE, TRIALS, VALUES
from dti_sprites.choose.trial import Trial
from dti_sprites.cli import main
from dti_sprites.models import build_model
from dti_sprites.training import Callback

N = 60


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return (load_digits().images[:N] * 255 / 16).astype(np.uint8)


@pytest.fixture(scope="module")
def labels() -> list[int]:
    return load_digits().target[:N].tolist()


@pytest.fixture
def config() -> RunConfig:
    return RunConfig.from_dict(
        {
            "model": {"n_prototypes": 5, "transformation_sequence": "identity_affine", "encoder": "default"},
            "data": {"image_size": 20},
            "training": {"epochs": 3, "batch_size": 20, "curriculum": [1], "device": "cpu", "seed": 4},
            "results": {"animation": False, "report": False},
        }
    )


class Count(Callback):
    def __init__(self) -> None:
        self.trained = 0

    def on_start(self, info) -> None:
        self.trained += info.total_iterations - info.start_iteration


def test_the_lowest_loss_is_kept_and_a_second_call_trains_nothing(tmp_path, config, images, labels):
    count, told = Count(), []
    run = train_best(
        config, images, tmp_path / "a", restarts=3, labels=labels, callbacks=[count], report=told.append
    )
    assert [trial.seed for trial in told] == [4, 5, 6]
    best = min(told, key=lambda trial: trial.loss)
    listed = json.loads((tmp_path / "a" / RESTARTS).read_text())
    assert (
        listed["kept"]
        == best.seed
        == run.config.training.seed
        == load_run(tmp_path / "a").config.training.seed
    )
    assert len({trial.loss for trial in told}) == 3
    np.testing.assert_array_equal(run.labels, best.labels)
    explained = run.distances[np.arange(N), run.labels]
    assert explained.mean() == pytest.approx(best.loss, rel=1e-4)
    assert -1 <= listed["stability"] <= 1
    assert {"seed", "loss", "used", "accuracy", "nmi"} <= listed["trials"][0].keys()
    assert count.trained == 3 * 9
    again = train_best(config, images, tmp_path / "a", restarts=3, labels=labels, callbacks=[count])
    assert count.trained == 3 * 9
    assert again.config.training.seed == best.seed


def breaking(*seeds: int):
    """`build_model`, but models of these seeds have a loss that is no number."""

    def build(config, *shape):
        model = build_model(config, *shape)
        step = model.step
        if config.training.seed in seeds:
            model.step = lambda x, weight=None: step(x * float("nan"), weight)
        return model

    return build


def test_a_seed_that_diverges_is_left_out_and_listed(tmp_path, config, images, monkeypatch):
    monkeypatch.setattr(trial_module, "build_model", breaking(4))
    run = train_best(config, images, tmp_path / "b", restarts=2)
    listed = json.loads((tmp_path / "b" / RESTARTS).read_text())
    assert run.config.training.seed == listed["kept"] == 5
    assert [row["seed"] for row in listed["trials"]] == [5]
    assert [entry["seed"] for entry in listed["failed"]] == [4]
    assert "not a finite number" in listed["failed"][0]["error"]
    assert listed["stability"] is None


def test_when_every_seed_diverges_the_reasons_are_told(tmp_path, config, images, monkeypatch):
    monkeypatch.setattr(trial_module, "build_model", breaking(4, 5))
    with pytest.raises(TrainingError, match=r"every seed failed: seed 4: .*; seed 5: "):
        train_best(config, images, tmp_path / "b", restarts=2)
    assert not (tmp_path / "b" / "metrics.json").exists()


def test_a_sweep_writes_its_tables_page_and_advice(tmp_path, config, images, labels):
    found = sweep(config, images, tmp_path / "s", ks=[6, 3, 3], seeds=2, labels=labels)
    assert [row.n_prototypes for row in found.rows] == [3, 6]
    assert found.advice.suggested in (3, 6)
    with (tmp_path / "s" / TABLE).open() as file:
        table = list(csv.DictReader(file))
    assert [row["n_prototypes"] for row in table] == ["3", "6"]
    for row, entry in zip(found.rows, table):
        assert math.isclose(float(entry["best_loss"]), min(trial.loss for trial in row.trials))
        assert math.isclose(float(entry["stability"]), stability(row.trials))
        assert float(entry["used"]) <= row.n_prototypes
        assert 0 <= float(entry["accuracy"]) <= 1
    with (tmp_path / "s" / TRIALS).open() as file:
        assert len(list(csv.DictReader(file))) == 4
    values = json.loads((tmp_path / "s" / VALUES).read_text())
    assert values["suggested"] == found.advice.suggested
    page = (tmp_path / "s" / PAGE).read_text()
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert f"A good start is K = {found.advice.suggested}" in page


def test_what_cannot_be_swept_is_refused_before_training(tmp_path, config, images):
    with pytest.raises(ConfigError, match=r"ks: give at least one.*seeds: must be from 1"):
        sweep(config, images, tmp_path / "s", ks=[], seeds=0)
    with pytest.raises(ConfigError, match=r"ks: .*1001"):
        sweep(config, images, tmp_path / "s", ks=[4, 1001])
    with pytest.raises(DataError, match="too few for 61 prototypes"):
        sweep(config, images, tmp_path / "s", ks=[4, 61])
    with pytest.raises(ConfigError, match="restarts: must be from 1"):
        train_best(config, images, tmp_path / "s", restarts=0)
    assert not (tmp_path / "s").exists()


def test_stability_of_labels_made_by_hand():
    def trial(labels: list[int]) -> Trial:
        return Trial(0, 2, 0.1, 2, 1.0, 1, np.array(labels))

    assert stability([trial([0, 0, 1, 1])]) is None
    assert stability([trial([0, 0, 1, 1]), trial([1, 1, 0, 0])]) == pytest.approx(1.0)
    three = stability([trial([0, 0, 1, 1]), trial([1, 1, 0, 0]), trial([0, 1, 0, 1])])
    assert three == pytest.approx((1.0 - 0.5 - 0.5) / 3)


def test_the_command_line_does_both(tmp_path, images, capsys):
    np.savez(tmp_path / "digits.npz", images=images)
    settings = ["--preset", "digits", "--images", str(tmp_path / "digits.npz"), "--device", "cpu"]
    settings += ["--set", "training.epochs=2", "--set", "training.curriculum=[0,1]"]
    settings += ["--set", "training.milestones=[]"]
    assert main(["train", *settings, "--out", str(tmp_path / "a"), "--restarts", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["restarts"]["kept"] in (0, 1)
    assert (tmp_path / "a" / RESTARTS).exists()
    assert (
        main(["choose-k", *settings, "--out", str(tmp_path / "k"), "--k", "3,5", "--seeds", "1", "--json"])
        == 0
    )
    printed = json.loads(capsys.readouterr().out)
    assert [row["n_prototypes"] for row in printed["rows"]] == [3, 5]
    assert main(["choose-k", *settings, "--out", str(tmp_path / "k2"), "--k", "3,five"]) == 2
    assert "--k" in capsys.readouterr().err
    assert not (tmp_path / "k2").exists()
