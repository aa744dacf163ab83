"""The command `dti-sprites bench fidelity`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dti_sprites.bench.fidelity.sets import ALIASES, BUDGETS, TASKS, Task, names_of
from dti_sprites.config import RunConfig
from dti_sprites.errors import ConfigError, DataError

WORK = "fidelity"
ROWS = "fidelity.json"
SECTION = "fidelity"
MISSING = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--set",
        action="append",
        dest="sets",
        metavar="NAME",
        help=f"what to measure, repeatable: {', '.join([*TASKS, *ALIASES])}",
    )
    which.add_argument("--all", action="store_true", help="every set whose files are there")
    parser.add_argument(
        "--budget",
        choices=BUDGETS,
        default="smoke",
        help="smoke: minutes on two cores; cpu: an hour or two; full: the whole schedule (a GPU)",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="trainings of each set; default: the budget's")
    parser.add_argument(
        "--first-seed",
        type=int,
        metavar="S",
        help="count seeds from here, so that several processes share the work; default: that of the preset",
    )
    parser.add_argument("--preset", metavar="NAME", help="other settings than those of the set")
    parser.add_argument(
        "--change",
        metavar="SECTION.SETTING=VALUE",
        action="append",
        default=[],
        help="one setting changed, for example training.coarse_epochs=null; repeatable; named in a row of its own",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, metavar="N", help="threads on the CPU")
    parser.add_argument(
        "--data", metavar="DIR", type=Path, help="folder of the sets; default: the variable DTI_BENCH_DATA"
    )
    parser.add_argument(
        "--work",
        metavar="DIR",
        type=Path,
        default=Path("runs") / WORK,
        help="checkpoints (default: %(default)s)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="take finished seeds from the work folder and go on with others"
    )
    parser.add_argument(
        "--results",
        metavar="FILE",
        type=Path,
        help="Markdown file whose section is replaced; default: RESULTS.md",
    )
    parser.add_argument("--no-results", action="store_true", help="only print")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(options: argparse.Namespace) -> int:
    """Measure; 0 when what was asked for was measured, 2 when a set is missing."""
    from dti_sprites.bench.fidelity.summary import keep_row, section
    from dti_sprites.bench.results_file import default_results_file, replace_section
    from dti_sprites.results.files import dump_json

    names = _chosen(options)
    results = None if options.no_results else options.results or default_results_file()
    rows, problems = [], []
    for name in names:
        try:
            row = measure(TASKS[name], options)
        except DataError as error:
            problems.append(f"{name}: {error}")
            continue
        except (
            ModuleNotFoundError
        ) as error:  # the images of some sets come with a package, some starts use one
            problems.append(f"{name}: needs the package {error.name}, which is not installed")
            continue
        rows.append(row)
        if results is not None:
            # As soon as a set is done: what follows may be interrupted.
            replace_section(results, SECTION, section(keep_row(results.with_name(ROWS), row)))
    if options.json:
        print(dump_json({"rows": rows, "missing": problems}), end="")
    elif rows:
        print(section(rows))
    for problem in problems:
        print(f"not measured: {problem}", file=sys.stderr)
    if results is not None and rows:
        print(f"results: {results}", file=sys.stderr)
    # With --all, sets that are not there are only told of.
    return MISSING if problems and (not options.all or not rows) else 0


def _chosen(options: argparse.Namespace) -> list[str]:
    problems = []
    if options.seeds is not None and options.seeds < 1:
        problems.append(("--seeds", f"must be at least 1, not {options.seeds}"))
    if options.first_seed is not None and options.first_seed < 0:
        problems.append(("--first-seed", f"must be at least 0, not {options.first_seed}"))
    if options.threads is not None and options.threads < 1:
        problems.append(("--threads", f"must be at least 1, not {options.threads}"))
    names = list(TASKS)
    if not options.all:
        try:
            names = names_of(options.sets)
        except KeyError as unknown:
            problems.append(("--set", f"unknown set {unknown}; possible: {', '.join([*TASKS, *ALIASES])}"))
    if problems:
        raise ConfigError(problems)
    for name in names:
        _config(TASKS[name], options)  # settings that cannot be are told before any training
    return names


def _config(task: Task, options: argparse.Namespace) -> RunConfig:
    return task.config(options.budget, options.preset).with_overrides(options.change)


def measure(task: Task, options: argparse.Namespace) -> dict[str, Any]:
    """All seeds of a task, as a row of results. Raises DataError when its files are missing."""
    from dti_sprites.bench.fidelity.seeds import finished, run_seed, seed_folder
    from dti_sprites.bench.fidelity.summary import summarise
    from dti_sprites.bench.machine import machine_facts
    from dti_sprites.console import ConsoleProgress, duration
    from dti_sprites.data.benchmarks import benchmark_info, load_benchmark
    from dti_sprites.training import resolve_device

    effort, config = task.efforts[options.budget], _config(task, options)
    images = load_benchmark(task.data, options.data, config.data, limit=effort.limit)
    more = {}
    for name, other in task.more_labels.items():
        labels = load_benchmark(other, options.data, config.data, limit=effort.limit).labels
        assert labels is not None
        more[name] = labels
    if task.k_is_classes and images.labels is not None:
        config = config.replace(model={"n_prototypes": len(np.unique(images.labels[images.labels >= 0]))})
    device = resolve_device(options.device)
    machine = machine_facts(device, options.threads)
    first = config.training.seed if options.first_seed is None else options.first_seed
    seeds = []
    for seed in range(first, first + (options.seeds or effort.seeds)):
        settings: dict[str, Any] = {"seed": seed, "device": str(device), "snapshot_every_s": 60.0}
        settings |= {} if options.threads is None else {"threads": options.threads}
        seeded = config.replace(training=settings)
        folder = seed_folder(options.work, task, options.budget, seeded)
        result = finished(folder) if options.resume else None
        if result is None:
            progress = ConsoleProgress()
            print(f"{task.name}, seed {seed}", file=sys.stderr)
            try:
                result = run_seed(
                    task,
                    seeded,
                    images,
                    folder,
                    machine,
                    more_labels=more,
                    callbacks=[progress],
                    resume=options.resume,
                    out=options.work / "pictures",
                )
            finally:
                progress.close()
            told = ", ".join(
                f"{name} {result[name]:.4g}" for name in ("loss", *task.metrics) if name in result
            )
            print(f"{task.name}, seed {seed}: {told}, {duration(result['duration_s'])}", file=sys.stderr)
        seeds.append(result)
    return summarise(
        task,
        options.budget,
        ", ".join([options.preset or task.preset, *options.change]),
        seeds,
        title=benchmark_info(task.data).title,
        n_images=len(images),
        shortened=task.shortened(
            options.budget, options.preset, len(images), effort.limit and _whole(task, options)
        ),
        baseline=_baseline(images, config, len(seeds)),
    )


def _whole(task: Task, options: argparse.Namespace) -> int | None:
    """Images of the whole set where a budget takes fewer: generated ones have as many as one asks for."""
    from dti_sprites.data.benchmarks import load_benchmark

    if task.data in GENERATED:
        return GENERATED[task.data]
    return len(load_benchmark(task.data, options.data, task.config("full").data))


GENERATED = {"tetrominoes-19": 60_000, "shapes": 60_000}


def _baseline(images: Any, config: RunConfig, n: int) -> dict[str, float]:
    """Means over seeds of k-means on the pixels, where classes are known."""
    from dti_sprites.evaluation import clustering_metrics, kmeans_baseline

    if (
        images.labels is None
        or images.masks
        or (config.model.kind == "sprites" and config.model.sprites.n_layers > 1)
    ):
        return {}
    k = config.model.n_prototypes
    scores = [
        clustering_metrics(images.labels, kmeans_baseline(images, k, seed=seed), k)
        for seed in range(min(n, 3))
    ]
    return {name: float(np.mean([each[name] for each in scores])) for name in ("accuracy", "nmi")}
