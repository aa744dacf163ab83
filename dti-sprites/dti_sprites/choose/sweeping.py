"""A sweep over the number of prototypes, with several seeds each, and what it tells."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dti_sprites.choose.advice import Advice, advise
from dti_sprites.choose.restarts import try_seeds
from dti_sprites.choose.trial import Trial, stability
from dti_sprites.config import RunConfig
from dti_sprites.data import check_enough, load_images
from dti_sprites.errors import ConfigError
from dti_sprites.results.files import dump_json, write_text
from dti_sprites.training import Callback

TABLE, TRIALS, VALUES, PAGE = "sweep.csv", "trials.csv", "sweep.json", "sweep.html"


@dataclass(frozen=True)
class SweepRow:
    """All trials of one number of prototypes. `stability`: mean ARI between seeds, None with one."""

    n_prototypes: int
    trials: list[Trial]
    failed: list[dict[str, Any]]

    @property
    def best(self) -> Trial:
        return min(self.trials, key=lambda trial: (trial.loss, trial.seed))

    @property
    def best_loss(self) -> float:
        return self.best.loss

    @property
    def mean_loss(self) -> float:
        return float(np.mean([trial.loss for trial in self.trials]))

    @property
    def used(self) -> float:
        return float(np.mean([trial.used for trial in self.trials]))

    @property
    def stability(self) -> float | None:
        return stability(self.trials)

    def row(self) -> dict[str, Any]:
        """As a row of the table; scores are those of the trial of the lowest loss."""
        return {
            "n_prototypes": self.n_prototypes,
            "seeds": len(self.trials),
            "best_loss": self.best_loss,
            "mean_loss": self.mean_loss,
            "used": self.used,
            "stability": self.stability,
            "best_seed": self.best.seed,
            **{name: value for name, value in self.best.scores.items() if name != "n_labelled"},
            "duration_s": round(sum(trial.duration_s for trial in self.trials), 2),
            "failed": len(self.failed),
        }


@dataclass(frozen=True)
class Sweep:
    """rows by number of prototypes; advice; out: the folder with sweep.csv, trials.csv, sweep.json, sweep.html."""

    rows: list[SweepRow]
    advice: Advice
    out: Path


def sweep(
    config: RunConfig | Mapping[str, Any],
    images: Any,
    out: str | Path,
    *,
    ks: Sequence[int],
    seeds: int = 3,
    labels: Any = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = True,
    report: Callable[[Trial], None] = lambda trial: None,
) -> Sweep:
    """Train `config` with every number of prototypes in `ks` and `seeds` seeds each, and compare.

    Nothing but the comparison and the checkpoints (`out/checkpoint`) is written: train the chosen number
    afterwards, or `train_best` with the same settings. With `resume`, trials that are complete are not repeated. The
    other arguments are those of `train_best`.

    Raises ConfigError (before anything is trained, also for a number that the images do not suffice for), DataError,
    TrainingError when every seed of a number failed, TrainingStopped.
    """
    config = config if isinstance(config, RunConfig) else RunConfig.from_dict(config)
    out = Path(out)
    configs = configs_of(config, ks, seeds)
    image_set = load_images(images, config.data, labels=labels)
    for each in configs:
        check_enough(image_set, each)
    rows, told = [], []
    for each in configs:
        k = each.model.n_prototypes
        trials, failed = try_seeds(
            each, image_set, out / "checkpoint" / f"k{k}", seeds, callbacks, resume, report
        )
        rows.append(SweepRow(k, trials, failed))
        told += trials
    found = Sweep(rows, advise(rows), out)
    write_sweep(found, image_set.labels is not None)
    return found


def configs_of(config: RunConfig, ks: Sequence[int], seeds: int) -> list[RunConfig]:
    """`config` with each number of prototypes, in order. Raises ConfigError that names `ks` or `seeds`."""
    problems = []
    if len(ks) == 0:
        problems.append(("ks", "give at least one number of prototypes, such as 5,10,20"))
    if not 1 <= seeds <= 100:
        problems.append(("seeds", f"must be from 1 to 100, not {seeds}"))
    if problems:
        raise ConfigError(problems)
    configs = []
    for k in sorted(set(ks)):
        # A share fixed for one number of clusters may exceed 1/K of another.
        changes = {"training": {"empty_cluster_threshold": None}} if k != config.model.n_prototypes else {}
        try:
            configs.append(config.replace(model={"n_prototypes": k}, **changes))
        except ConfigError as error:
            problems += [("ks" if name == "model.n_prototypes" else name, why) for name, why in error.errors]
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return configs


def write_sweep(found: Sweep, labelled: bool) -> None:
    """The tables, the values and the page into `found.out`."""
    from dti_sprites.choose.page import render

    found.out.mkdir(parents=True, exist_ok=True)
    rows = [row.row() for row in found.rows]
    trials = [trial.row() for row in found.rows for trial in row.trials]
    write_text(found.out / TABLE, _csv(rows))
    write_text(found.out / TRIALS, _csv(trials))
    values = {
        "suggested": found.advice.suggested,
        "advice": found.advice.text,
        "knee": found.advice.knee,
        "most_stable": found.advice.most_stable,
        "rows": rows,
        "trials": trials,
        "failed": [{"n_prototypes": row.n_prototypes, **entry} for row in found.rows for entry in row.failed],
    }
    write_text(found.out / VALUES, dump_json(values))
    write_text(found.out / PAGE, render(found))


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    return text.getvalue()
