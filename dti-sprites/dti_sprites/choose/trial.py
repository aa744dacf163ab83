"""One training of several that are compared: its loss, its clusters, and nothing written but its checkpoint."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dti_sprites.config import RunConfig
from dti_sprites.data import ImageSet, check_enough
from dti_sprites.errors import TrainingStopped
from dti_sprites.evaluation import ari
from dti_sprites.models import DTIModel, build_model
from dti_sprites.results.inference import infer_batches
from dti_sprites.results.reuse import check_reuse
from dti_sprites.results.scores import score
from dti_sprites.training import Callback, fit

USED_SHARE = 0.2  # of an equal share of the images: a cluster that has less is hardly used


@dataclass(frozen=True)
class Trial:
    """How one training ended.

    loss: mean over all images of the distance to the prototype that explains each, as evaluated after training: what
    restarts are compared by. used: clusters with at least a fifth of an equal share of the images. scores: against
    known classes, if there are any.
    """

    seed: int
    n_prototypes: int
    loss: float
    used: int
    duration_s: float
    iterations: int
    labels: np.ndarray = field(repr=False)  # (N,) int64
    scores: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, float | int]:
        """As a row of a table."""
        return {
            "n_prototypes": self.n_prototypes,
            "seed": self.seed,
            "loss": self.loss,
            "used": self.used,
            **{name: value for name, value in self.scores.items() if name != "n_labelled"},
            "iterations": self.iterations,
            "duration_s": round(self.duration_s, 2),
        }


def train_one(
    config: RunConfig,
    images: ImageSet,
    checkpoint_dir: Path | None,
    callbacks: Sequence[Callback] = (),
    resume: bool = True,
) -> tuple[DTIModel, Trial]:
    """Train with the seed of `config` and evaluate on all images; of a complete training only the second.

    `checkpoint_dir` None: nothing is written. Raises what `train` does.
    """
    check_enough(images, config)
    watchers = list(callbacks)
    if checkpoint_dir is not None:
        from dti_sprites.results.recorder import Recorder

        if resume:
            check_reuse(checkpoint_dir, config, images)
        watchers.insert(0, Recorder(checkpoint_dir, resume))
    model = build_model(config, images.channels, images.size)
    result = fit(model, images, config, checkpoint_dir=checkpoint_dir, callbacks=watchers, resume=resume)
    if result.stopped:
        raise TrainingStopped(result.iterations)
    batches = list(infer_batches(model, images, config.training.batch_size))
    labels = np.concatenate([batch.labels for batch in batches])
    explained = [batch.distances[np.arange(len(batch.labels)), batch.labels] for batch in batches]
    k = config.model.n_prototypes
    sizes = np.bincount(labels, minlength=k)
    trial = Trial(
        seed=config.training.seed,
        n_prototypes=k,
        loss=float(np.concatenate(explained).mean(dtype=np.float64)),
        used=int((sizes >= max(1.0, USED_SHARE * len(images) / k)).sum()),
        duration_s=result.duration_s,
        iterations=result.iterations,
        labels=labels,
        scores={} if images.labels is None else score(images.labels, labels, k),
    )
    return model, trial


def stability(trials: Sequence[Trial]) -> float | None:
    """Mean adjusted Rand index between the clusters of each two trials; None for fewer than two.

    1: every seed finds the same clusters; 0: they agree no more than by chance.
    """
    pairs = list(itertools.combinations(trials, 2))
    return float(np.mean([ari(a.labels, b.labels) for a, b in pairs])) if pairs else None
