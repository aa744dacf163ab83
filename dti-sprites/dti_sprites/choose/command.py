"""The commands `dti-sprites choose-k` and `dti-sprites train --restarts N`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from dti_sprites.api import Run
from dti_sprites.choose.restarts import RESTARTS, train_best
from dti_sprites.choose.sweeping import PAGE, sweep
from dti_sprites.choose.trial import Trial
from dti_sprites.config import RunConfig
from dti_sprites.console import ConsoleProgress
from dti_sprites.errors import ConfigError
from dti_sprites.results.files import dump_json


def train_restarts(
    config: RunConfig, options: argparse.Namespace, progress: ConsoleProgress, **settings: Any
) -> tuple[Run, dict[str, Any]]:
    """The run of the lowest loss, and {"restarts": what is told of all of them}."""
    run = train_best(
        config,
        options.images,
        options.out,
        restarts=options.restarts,
        report=_reporter(progress),
        **settings,
    )
    return run, {"restarts": json.loads((run.out / RESTARTS).read_text(encoding="utf-8"))}


def choose_k(config: RunConfig, options: argparse.Namespace) -> int:
    """Compare the numbers of prototypes; prints the table and the suggestion."""
    ks = numbers(options.k)
    progress = ConsoleProgress()
    try:
        found = sweep(
            config,
            options.images,
            options.out,
            ks=ks,
            seeds=options.seeds,
            labels=options.labels,
            callbacks=[progress],
            resume=not options.no_resume,
            report=_reporter(progress),
        )
    finally:
        progress.close()
    rows = [row.row() for row in found.rows]
    if options.json:
        told = {"suggested": found.advice.suggested, "advice": found.advice.text, "rows": rows}
        print(dump_json(told), end="")
        return 0
    names = ["n_prototypes", "best_loss", "mean_loss", "used", "stability"]
    names += [name for name in ("accuracy", "nmi") if name in rows[0]]
    print("  ".join(f"{name:>12}" for name in names))
    for row in rows:
        print("  ".join(f"{_cell(row[name]):>12}" for name in names))
    print(f"\n{found.advice.text}\n\npage: {found.out / PAGE}")
    return 0


def numbers(text: str) -> list[int]:
    """ "5,10,20" -> [5, 10, 20]. Raises ConfigError that names the option."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        reason = f"must be whole numbers with commas, such as 5,10,20, not {text!r}"
        raise ConfigError([("--k", reason)]) from None


def describe(trial: Trial) -> str:
    """One line about a trial that ended."""
    scores = [f"{name} {trial.scores[name]:.3f}" for name in ("accuracy", "nmi") if name in trial.scores]
    parts = [f"loss {trial.loss:.5g}", f"{trial.used} clusters in use", *scores]
    return f"K = {trial.n_prototypes}, seed {trial.seed}: {', '.join(parts)}"


def _reporter(progress: ConsoleProgress) -> Callable[[Trial], None]:
    def report(trial: Trial) -> None:
        progress.close()
        print(describe(trial), file=sys.stderr)

    return report


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
