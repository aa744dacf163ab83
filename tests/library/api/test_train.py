"""train: from images to a run, stopped and resumed, once more, and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dti_sprites import ConfigError, DataError, Run, RunConfig, TrainingStopped, load_run, train
from dti_sprites.results import layout
from dti_sprites.results.snapshots import Snapshots
from dti_sprites.training import Callback, FitResult, Progress, TrainingInfo

N, SIDE, K = 60, 16, 5


class Watcher(Callback):
    """Counts what it is told; asks to stop after `stop_at` iterations."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.started_at: int | None = None
        self.iterations: list[int] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.result: FitResult | None = None

    def on_start(self, info: TrainingInfo) -> None:
        self.started_at = info.start_iteration

    def on_progress(self, progress: Progress) -> None:
        assert progress.total_iterations == 6

    def on_metrics(self, iteration: int, metrics: Any) -> None:
        self.iterations.append(iteration)

    def on_event(self, kind: str, **data: Any) -> None:
        self.events.append((kind, data))

    def should_stop(self) -> bool:
        return self.stop_at is not None and len(self.iterations) >= self.stop_at

    def on_end(self, result: FitResult) -> None:
        self.result = result


def read_metrics(out: Path) -> dict[str, Any]:
    return json.loads((out / layout.METRICS).read_text(encoding="utf-8"))


def test_run_holds_what_was_found(config: RunConfig, run: Run) -> None:
    assert run.labels.shape == (N,)
    assert run.distances.shape == (N, K)
    assert np.array_equal(run.labels, run.distances.argmin(1))
    assert run.prototypes.shape == (K, SIDE, SIDE, 1)
    assert run.prototypes.min() >= 0
    assert run.prototypes.max() <= 1
    assert run.names[:2] == ["000.png", "001.png"]
    assert run.config == config
    assert repr(run).endswith(f"60 images, {run.metrics['used_clusters']} of 5 prototypes in use)")


def test_metrics_are_complete_and_written(run: Run) -> None:
    assert read_metrics(run.out) == run.metrics
    assert run.metrics["loss"] == pytest.approx(run.distances.min(1).mean())
    assert (run.metrics["n_images"], run.metrics["iterations"], run.metrics["epochs"]) == (N, 6, 2)
    assert sum(run.metrics["cluster_sizes"]) == N
    assert run.metrics["duration_s"] > 0
    assert run.metrics["images_per_s"] > 0
    assert 0.2 < run.metrics["accuracy"] <= 1
    assert {"nmi", "ari", "used_clusters", "n_prototypes"} <= run.metrics.keys()


def test_tree_checkpoint_and_film_are_there(run: Run) -> None:
    assert (run.out / "checkpoint" / "00000006").is_dir()
    assert len(list(run.out.glob("clusters/*/*_raw.png"))) == N
    assert (run.out / layout.animation(0)).is_file()
    rows = (run.out / layout.HISTORY).read_text().splitlines()
    assert len(rows) == 7
    assert rows[0].split("\t")[:5] == ["iteration", "epoch", "batch", "time/img", "loss"]
    report = (run.out / layout.REPORT).read_text(encoding="utf-8")
    assert "curriculum" in report
    assert "How the prototypes formed" in report


def test_prototypes_agree_with_their_pictures(run: Run) -> None:
    from PIL import Image

    for k in range(K):
        with Image.open(run.out / layout.prototype(k)) as picture:
            difference = np.asarray(picture) / 255 - run.prototypes[k, ..., 0]
        assert np.abs(difference).max() <= 0.5 / 255 + 1e-6


def test_without_labels_there_is_no_accuracy(config: RunConfig, digits: Path, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (12, SIDE, SIDE), dtype=np.uint8)
    short = config.replace(training={"epochs": 1, "curriculum": None})
    run = train(short.to_dict(), pictures, tmp_path / "results")
    assert "accuracy" not in run.metrics
    assert run.names[3] == "000003"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "results"]


def test_mixture_of_gaussians(config: RunConfig, digits: Path, tmp_path: Path) -> None:
    run = train(config.replace(model={"kind": "gmm"}), digits / "images", tmp_path / "run")
    assert len(list((run.out / layout.VARIANCES).iterdir())) == K
    assert run.prototype_images()["variances"].shape == (K, SIDE, SIDE, 1)
    assert np.array_equal(load_run(run.out).assign(digits / "images").labels, run.labels)


def test_callbacks_hear_of_every_phase(config: RunConfig, digits: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    train(config, digits / "images", tmp_path / "run", callbacks=[watcher])
    phases = [data["name"] for kind, data in watcher.events if kind == "phase"]
    assert list(dict.fromkeys(phases)) == ["reading images", "writing results"]
    assert "curriculum" in dict(watcher.events)
    assert watcher.iterations == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("stop_at", [2, 4])
def test_stopped_then_resumed_is_as_never_stopped(
    config: RunConfig, run: Run, digits: Path, tmp_path: Path, stop_at: int
) -> None:
    out = tmp_path / "run"
    labels = digits / "labels.csv"
    with pytest.raises(TrainingStopped) as caught:
        train(config, digits / "images", out, labels, callbacks=[Watcher(stop_at)])
    assert caught.value.iteration == stop_at
    metrics = read_metrics(out)
    assert metrics["partial"] is True
    assert metrics["iterations"] == stop_at
    assert "stopped at iteration" in (out / layout.REPORT).read_text(encoding="utf-8")
    film = Snapshots.load(out / "checkpoint" / "film.safetensors")
    assert film.iterations[0] == 0

    watcher = Watcher()
    resumed = train(config, digits / "images", out, labels, callbacks=[watcher])
    assert watcher.started_at == stop_at
    assert read_metrics(out)["partial"] is False
    assert np.array_equal(resumed.labels, run.labels)
    assert np.array_equal(resumed.distances, run.distances)
    events = json.loads((out / "checkpoint" / "events.json").read_text(encoding="utf-8"))
    assert [event["kind"] for event in events].count("curriculum") == 1


def test_stopping_before_anything_was_learnt(config: RunConfig, digits: Path, tmp_path: Path) -> None:
    class Impatient(Callback):
        def on_start(self, info: TrainingInfo) -> None:
            raise KeyboardInterrupt

    with pytest.raises(TrainingStopped) as caught:
        train(config, digits / "images", tmp_path / "run", callbacks=[Impatient()])
    assert caught.value.iteration == 0


def test_complete_training_is_only_exported_again(config: RunConfig, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = train(config, digits / "images", out)
    (out / layout.REPORT).unlink()
    watcher = Watcher()
    again = train(config, digits / "images", out, labels=digits / "labels.csv", callbacks=[watcher])
    assert watcher.iterations == []
    assert (out / layout.REPORT).is_file()
    assert np.array_equal(again.distances, first.distances)
    assert "accuracy" in again.metrics
    film = Snapshots.load(out / "checkpoint" / "film.safetensors")
    assert film.iterations[-1] == 6

    with pytest.raises(ConfigError) as caught:
        train(config.replace(training={"seed": 1, "lr": 0.01}), digits / "images", out)
    assert [field for field, _ in caught.value.errors] == ["training.lr", "training.seed"]
    with pytest.raises(ConfigError, match=r"model\.n_prototypes"):
        train(config.replace(model={"n_prototypes": 3}), digits / "images", out)
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        train(config.replace(training={"epochs": 1, "curriculum": [0]}), digits / "images", out)
    with pytest.raises(DataError, match="other images"):
        train(config, sorted((digits / "images").iterdir())[:30], out)
    other = train(config.replace(training={"seed": 1}), digits / "images", out, resume=False)
    assert not np.array_equal(other.distances, first.distances)

    more = train(config.replace(training={"seed": 1, "epochs": 3}), digits / "images", out)
    assert more.metrics["iterations"] == 9


def test_images_that_cannot_be_used(config: RunConfig, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        train(config, sorted((digits / "images").iterdir())[:3], tmp_path / "run")
    with pytest.raises(ConfigError, match=r"model\.n_prototype"):
        train({"model": {"n_prototype": 3}}, digits / "images", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
