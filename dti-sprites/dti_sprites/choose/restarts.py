"""Restarts: the same training with several seeds, of which the lowest loss is kept.

Clustering by a loss with many local minima depends on the seed. The loss needs no labels, so keeping its lowest
value is fair (the "minLoss" protocol of Monnier et al., "Deep Transformation-Invariant Clustering", NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dti_sprites.api import Run, train
from dti_sprites.choose.trial import Trial, stability, train_one
from dti_sprites.config import RunConfig
from dti_sprites.data import ImageSet, load_images
from dti_sprites.errors import ConfigError, TrainingError
from dti_sprites.results import layout
from dti_sprites.results.files import dump_json, write_text
from dti_sprites.training import Callback

RESTARTS = "restarts.json"
MAX_RESTARTS = 100


def train_best(
    config: RunConfig | Mapping[str, Any],
    images: Any,
    out: str | Path,
    *,
    restarts: int = 3,
    labels: Any = None,
    callbacks: Sequence[Callback] = (),
    checkpoint_dir: str | Path | None = None,
    resume: bool = True,
    title: str | None = None,
    report: Callable[[Trial], None] = lambda trial: None,
) -> Run:
    """`train` with the seeds s, s + 1, ... (s: that of `config`); the results in `out` are those of the lowest loss.

    `restarts.json` beside them lists all trials, which seed was kept and how alike their clusters are. A seed whose
    loss is no longer a number is left out, and listed with the reason. With `resume`, an interrupted call goes on.
    `report` is told of each trial as it ends; the other arguments are those of `train`.

    Raises what `train` does; TrainingError when every seed failed.
    """
    config = config if isinstance(config, RunConfig) else RunConfig.from_dict(config)
    if not 1 <= restarts <= MAX_RESTARTS:
        raise ConfigError([("restarts", f"must be from 1 to {MAX_RESTARTS}, not {restarts}")])
    out = Path(out)
    checkpoint = Path(checkpoint_dir) if checkpoint_dir is not None else layout.checkpoint_beside(out)
    image_set = load_images(images, config.data, labels=labels)
    trials, failed = try_seeds(config, image_set, checkpoint, restarts, callbacks, resume, report)
    best = min(trials, key=lambda trial: (trial.loss, trial.seed))
    # The training of the best seed is complete: this only writes its results.
    run = train(
        config.replace(training={"seed": best.seed}),
        image_set,
        out,
        callbacks=callbacks,
        checkpoint_dir=checkpoint / _name(best.seed),
        title=title or (Path(images).name if isinstance(images, (str, Path)) else None),
    )
    told = {
        "kept": best.seed,
        "stability": stability(trials),
        "trials": [trial.row() for trial in trials],
        "failed": failed,
    }
    write_text(out / RESTARTS, dump_json(told))
    return run


def try_seeds(
    config: RunConfig,
    images: ImageSet,
    checkpoint: Path,
    count: int,
    callbacks: Sequence[Callback] = (),
    resume: bool = True,
    report: Callable[[Trial], None] = lambda trial: None,
) -> tuple[list[Trial], list[dict[str, Any]]]:
    """Trials of `count` seeds from that of `config` on, and those that failed: {"seed", "error"}.

    Raises TrainingError when all failed, and what `train_one` does.
    """
    trials: list[Trial] = []
    failed: list[dict[str, Any]] = []
    for seed in range(config.training.seed, config.training.seed + count):
        seeded = config.replace(training={"seed": seed})
        try:
            _, trial = train_one(seeded, images, checkpoint / _name(seed), callbacks, resume)
        except TrainingError as error:
            failed.append({"seed": seed, "error": str(error)})
            continue
        trials.append(trial)
        report(trial)
    if not trials:
        reasons = "; ".join(f"seed {entry['seed']}: {entry['error']}" for entry in failed)
        raise TrainingError(f"every seed failed: {reasons}")
    return trials, failed


def _name(seed: int) -> str:
    return f"seed{seed}"
