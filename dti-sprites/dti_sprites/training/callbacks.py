"""What training tells whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TrainingInfo:
    """Known before the first iteration. `start_iteration` is not 0 when training goes on from a checkpoint."""

    epochs: int
    iterations_per_epoch: int
    total_iterations: int
    start_iteration: int
    n_images: int
    batch_size: int
    n_prototypes: int
    transformation_names: list[str]
    device: str


@dataclass(frozen=True)
class Progress:
    """`iteration` of `total_iterations` are done; `epoch` counts completed epochs."""

    iteration: int
    total_iterations: int
    epoch: int
    epochs: int
    loss: float | None  # last one read, None before
    eta_s: float | None  # until the end of training; None while it cannot be known


@dataclass(frozen=True)
class FitResult:
    """How training ended.

    history: one list per series. At the same positions "iteration", "epoch", "batch", "loss", "lr",
    "time_per_image" (seconds), "proportions" (one list per point) and the model's own terms, each the mean
    since the previous point; "epoch_loss" has one value per completed epoch.
    """

    history: dict[str, list[Any]]
    epochs_done: int
    iterations: int
    duration_s: float  # of training, over all sessions of a resumed run
    stopped: bool  # asked to stop before the end; the checkpoint holds everything up to `iterations`
    loss: float | None  # mean of the last epoch, None before the first is complete


class Callback:
    """Does nothing; override what you need. All methods are called from the thread that trains."""

    def on_start(self, info: TrainingInfo) -> None:
        """Before the first iteration."""

    def on_progress(self, progress: Progress) -> None:
        """Often, but not at each iteration."""

    def on_metrics(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """A point of the curves, every `training.log_every` iterations."""

    def on_prototypes(self, iteration: int, images: Mapping[str, np.ndarray]) -> None:
        """Pictures (K, H, W, C) uint8 by name, at the start, every `training.snapshot_every_s` and at the end."""

    def on_event(self, kind: str, **data: Any) -> None:
        """`kind`: "curriculum" (iteration, epoch, activated, stage), "reassignment" (iteration, source, empty),
        "split_merge" (iteration, epoch, split, merged), "full_resolution" (iteration, epoch), after the coarse epochs,
        or "lr" (iteration, epoch, lr)."""

    def on_checkpoint(self, path: Path, iteration: int) -> None:
        """A complete checkpoint lies in the directory `path`."""

    def should_stop(self) -> bool:
        """True: training ends after this iteration, with a checkpoint."""
        return False

    def on_end(self, result: FitResult) -> None:
        """After the last iteration, also when training was asked to stop."""
