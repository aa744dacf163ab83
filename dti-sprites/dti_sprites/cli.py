"""The command `dti-sprites`. Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dti_sprites import __version__
from dti_sprites.errors import ConfigError, DataError, TrainingError, TrainingStopped

if TYPE_CHECKING:
    from dti_sprites.config import RunConfig

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
BENCHMARKS = {
    "speed": "time and memory of a training step, beside its encoder and a plain reference",
    "fidelity": "quality of the results, beside the published figures",
}
_FILES_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = build_parser(_asked_benchmark(given)).parse_args(given)
    command: Callable[[argparse.Namespace], int] = options.command
    return _guarded(lambda: command(options))


def build_parser(benchmark: str | None = None) -> argparse.ArgumentParser:
    """The arguments of all commands; of the benchmarks, each of which is a module of its own, only of `benchmark`."""
    parser = argparse.ArgumentParser(
        prog="dti-sprites", description="Discover recurring motifs in images, without labels."
    )
    parser.add_argument("--version", action="version", version=f"dti-sprites {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train a model on images and write its results")
    _add_training(train)
    train.add_argument("--checkpoint", metavar="DIR", type=Path, help="folder of the checkpoint")
    train.add_argument(
        "--restarts",
        metavar="N",
        type=int,
        default=1,
        help="train with N seeds and keep the results of the lowest loss",
    )
    train.set_defaults(command=_train)

    choose = commands.add_parser(
        "choose-k",
        help="compare numbers of prototypes",
        description="Train with several numbers of prototypes and seeds, and compare them.",
    )
    _add_training(choose)
    choose.add_argument(
        "--k", required=True, metavar="K,K,...", help="numbers of prototypes, such as 5,10,20,40"
    )
    choose.add_argument("--seeds", type=int, default=3, help="trainings of each number (default 3)")
    choose.set_defaults(command=_choose_k)

    evaluate = commands.add_parser("evaluate", help="measure a run against known classes")
    _add_run(evaluate)
    evaluate.add_argument("--labels", metavar="FILE", help="known classes: CSV of name, label")
    evaluate.add_argument("--images", metavar="DIR", help="images with known masks, to decompose and compare")
    evaluate.add_argument(
        "--masks",
        metavar="DIR",
        type=Path,
        help="for each of --images a picture whose values number its objects",
    )
    evaluate.add_argument(
        "--classes",
        metavar="DIR",
        type=Path,
        help="for each of --images a picture whose values number the classes",
    )
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    _add_json(evaluate)
    evaluate.set_defaults(command=_evaluate)

    assign = commands.add_parser("assign", help="assign new images to the prototypes of a run")
    _add_run(assign)
    assign.add_argument(
        "--images", metavar="DIR|NPZ", required=True, help="folder of images, or an .npz file"
    )
    assign.add_argument("--out", metavar="CSV", type=Path, help="write the table here instead of printing it")
    assign.add_argument(
        "--results", metavar="DIR", type=Path, help="write pictures, tables and report here, as train does"
    )
    assign.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    _add_json(assign)
    assign.set_defaults(command=_assign)

    export = commands.add_parser("export", help="pack the results of a run as a zip file")
    _add_run(export)
    export.add_argument("--to", metavar="ZIP", type=Path, help="default: beside the results")
    export.set_defaults(command=_export)

    presets = commands.add_parser("presets", help="list the presets")
    _add_json(presets)
    presets.set_defaults(command=_presets)

    bench = commands.add_parser("bench", help="measure speed or fidelity")
    kinds = bench.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    for name in available_benchmarks():
        kind = kinds.add_parser(name, help=BENCHMARKS[name], description=BENCHMARKS[name].capitalize() + ".")
        if name == benchmark:
            module = importlib.import_module(_benchmark_module(name))
            module.add_arguments(kind)
            kind.set_defaults(command=module.run)
    return parser


def _add_training(parser: argparse.ArgumentParser) -> None:
    """What to train on what."""
    settings = parser.add_mutually_exclusive_group(required=True)
    settings.add_argument("--preset", metavar="NAME", help="settings by name; see dti-sprites presets")
    settings.add_argument("--config", metavar="FILE", type=Path, help="settings from a YAML file")
    parser.add_argument(
        "--images", metavar="DIR|NPZ", required=True, help="folder of images, or an .npz file"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--labels", metavar="FILE", help="known classes, to measure accuracy: CSV of name, label"
    )
    parser.add_argument(
        "--set",
        metavar="SECTION.SETTING=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="change one setting, for example model.n_prototypes=20; repeatable",
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seed", type=int, help="seed of everything random")
    parser.add_argument("--no-resume", action="store_true", help="start anew even if there is a checkpoint")
    _add_json(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run, its results or an experiment")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def available_benchmarks() -> list[str]:
    return [name for name in BENCHMARKS if _is_complete(name)]


def _is_complete(name: str) -> bool:
    try:
        return importlib.util.find_spec(_benchmark_module(name)) is not None
    except ModuleNotFoundError:
        return False


def _benchmark_module(name: str) -> str:
    """Each has `add_arguments(parser)` and `run(arguments) -> exit code`."""
    return f"dti_sprites.bench.{name}.command"


def _asked_benchmark(given: Sequence[str]) -> str | None:
    if len(given) >= 2 and given[0] == "bench" and given[1] in available_benchmarks():
        return given[1]
    return None


def _guarded(command: Callable[[], int]) -> int:
    """Run `command`; errors that a person can act on become a message and an exit code."""
    try:
        return command()
    except ConfigError as error:
        problems = [f"{field}: {reason}" if field else reason for field, reason in error.errors]
        return _complain("the settings cannot be used:", problems, BAD_INPUT)
    except DataError as error:
        listed = [f"{name}: {reason}" for name, reason in error.files[:_FILES_SHOWN]]
        if len(error.files) > _FILES_SHOWN:
            listed.append(f"and {len(error.files) - _FILES_SHOWN} more")
        return _complain(str(error), listed, BAD_INPUT)
    except FileNotFoundError as error:
        missing = f"{error.filename}: no such file or folder" if error.filename else str(error)
        return _complain(missing, [], BAD_INPUT)
    except OSError as error:  # a full disk, a folder that may not be written
        return _complain(str(error), [], FAILED)
    except TrainingError as error:
        return _complain(str(error), [], FAILED)
    except TrainingStopped as error:
        return _complain(f"{error}; the same command goes on from there", [], INTERRUPTED)
    except KeyboardInterrupt:
        return _complain("interrupted", [], INTERRUPTED)


def _complain(message: str, details: Sequence[str], code: int) -> int:
    print(f"dti-sprites: {message}", *(f"  {line}" for line in details), sep="\n", file=sys.stderr)
    return code


def _print_json(value: Any) -> None:
    from dti_sprites.results.files import plain

    print(json.dumps(plain(value), ensure_ascii=False, indent=2))


def _configured(options: argparse.Namespace) -> RunConfig:
    """The configuration that the options of a training describe. Raises ConfigError."""
    from dti_sprites.config import RunConfig

    config = RunConfig.from_yaml(options.config) if options.config else RunConfig.preset(options.preset)
    overrides = list(options.overrides)
    overrides += [f"training.device={options.device}"] if options.device is not None else []
    overrides += [f"training.seed={options.seed}"] if options.seed is not None else []
    return config.with_overrides(overrides)


def _end_gracefully() -> None:
    """A batch system that ends the job gets a checkpoint too, as with Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _train(options: argparse.Namespace) -> int:
    config = _configured(options)

    from dti_sprites.api import train
    from dti_sprites.choose.command import train_restarts
    from dti_sprites.console import ConsoleProgress

    _end_gracefully()
    progress = ConsoleProgress()
    settings = {
        "labels": options.labels,
        "callbacks": [progress],
        "checkpoint_dir": options.checkpoint,
        "resume": not options.no_resume,
    }
    told: dict[str, Any] = {}
    try:
        if options.restarts == 1:
            run = train(config, options.images, options.out, **settings)
        else:
            run, told = train_restarts(config, options, progress, **settings)
    finally:
        progress.close()
    if options.json:
        _print_json({"out": str(run.out), "metrics": run.metrics, **told})
    else:
        _print_figures(run.metrics)
        print(f"results: {run.out}")
    return DONE


def _choose_k(options: argparse.Namespace) -> int:
    config = _configured(options)

    from dti_sprites.choose import command

    _end_gracefully()
    return command.choose_k(config, options)


def _evaluate(options: argparse.Namespace) -> int:
    from dti_sprites.api import load_run

    masks = {name: folder for name in ("masks", "classes") if (folder := getattr(options, name)) is not None}
    if options.labels is None and not masks:
        raise ConfigError([("--labels", "give known classes, or --images with --masks or --classes")])
    if masks and options.images is None:
        raise ConfigError([("--images", f"give the images that --{next(iter(masks))} belongs to")])
    run = load_run(options.run, device=options.device)
    figures = {} if options.labels is None else run.evaluate(options.labels)
    if masks:
        figures |= run.evaluate_masks(options.images, **masks)
    if options.json:
        _print_json(figures)
    else:
        _print_figures(figures)
    return DONE


def _assign(options: argparse.Namespace) -> int:
    from dti_sprites.api import load_run
    from dti_sprites.results.files import write_text
    from dti_sprites.results.tables import assignments_csv, assignments_json

    run = load_run(options.run, device=options.device)
    if options.results is not None:
        if options.results.resolve() in (options.run.resolve(), run.out.resolve()):
            raise DataError(f"--results: {options.results} holds the run itself: choose another folder")
        table = run.assign_into(options.results, options.images).assignments
        print(f"results: {options.results}", file=sys.stderr)
    else:
        table = run.assign(options.images).table()
    unfit = 0 if table.fits is None else int((~table.fits).sum())
    if unfit:
        print(f"{unfit} of {len(table)} images fit nowhere: see the column fits", file=sys.stderr)
    if options.out is not None:
        write_text(options.out, assignments_csv(table))
        print(f"{len(table)} images: {options.out}", file=sys.stderr)
    if options.json:
        print(assignments_json(table), end="")
    elif options.out is None and options.results is None:
        print(assignments_csv(table), end="")
    return DONE


def _export(options: argparse.Namespace) -> int:
    from dti_sprites.results import layout
    from dti_sprites.results.archive import pack

    out = layout.find_results(options.run)
    print(pack(out, options.to or out.with_name(f"{out.name}.zip")))
    return DONE


def _presets(options: argparse.Namespace) -> int:
    from dti_sprites.presets import list_presets

    presets = list_presets()
    if options.json:
        keys = ("name", "description", "source", "dataset", "n_prototypes", "schedule")
        _print_json([{key: getattr(preset, key) for key in keys} for preset in presets])
        return DONE
    width = max(len(preset.name) for preset in presets)
    sets = max(len(preset.dataset or "") for preset in presets)
    for preset in presets:
        columns = [
            f"{preset.name:<{width}}",
            f"{preset.dataset or '-':<{sets}}",
            f"K={preset.n_prototypes:<3}",
        ]
        print(*columns, f"{preset.description} ({preset.schedule}; {preset.source})", sep="  ")
    return DONE


def _print_figures(figures: dict[str, Any]) -> None:
    shown = {name: value for name, value in figures.items() if not isinstance(value, (list, dict))}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{name:<{width}}  {value:.6g}" if isinstance(value, float) else f"{name:<{width}}  {value}")


if __name__ == "__main__":
    sys.exit(main())
