"""`dti-sprites bench speed`: its arguments, and what happens with what is measured."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--case",
        action="append",
        default=[],
        metavar="NAME",
        dest="cases",
        help="measure this case (repeatable; default: all)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads on the CPU (default: PyTorch's choice)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer repeats: about a minute a case, and noisier"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.SETTING=VALUE",
        dest="overrides",
        help="change a setting of every case, for example training.fast.channels_last=true; repeatable",
    )
    parser.add_argument("--no-reference", action="store_true", help="leave the plain reference out")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="on the CPU: time that passes, or processor time, for a machine that is shared",
    )
    parser.add_argument(
        "--results",
        metavar="FILE",
        type=Path,
        help="write the table into this Markdown file, the rows and the plot beside it (default: benchmarks/RESULTS.md "
        "of the checkout; nothing with --quick or --set)",
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")


def run(arguments: argparse.Namespace) -> int:
    # PyTorch's profiler reports every start and stop on the standard error otherwise.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")

    import torch

    from dti_sprites.bench.machine import machine_facts
    from dti_sprites.bench.results_file import default_results_file
    from dti_sprites.bench.speed.cases import find_cases
    from dti_sprites.bench.speed.measure import QUICK, Effort, measure
    from dti_sprites.bench.speed.report import Report, table
    from dti_sprites.errors import ConfigError
    from dti_sprites.training.device import resolve_device

    if arguments.threads is not None and not 1 <= arguments.threads <= 1024:
        raise ConfigError([("--threads", f"must be from 1 to 1024, not {arguments.threads}")])
    cases = find_cases(arguments.cases)
    for case in cases:
        case.config(arguments.overrides)  # what is wrong is told before anything is measured
    device = resolve_device(arguments.device)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    effort = QUICK if arguments.quick else Effort()
    effort = Effort(**{**vars(effort), "clock": arguments.clock})

    file = arguments.results
    if file is None and not arguments.quick and not arguments.overrides:
        file = default_results_file()
    report = None if file is None else Report(file, machine_facts(device))
    rows = []
    for case in cases:
        row = measure(case, device, effort, arguments.overrides, not arguments.no_reference)
        rows.append(row)
        if report is not None:
            report.add(row)
        print(f"{row.case} {row.variant}: step / encoder {row.ratio:.2f}", file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps([vars(row) for row in rows], indent=2))
    else:
        print(table([vars(row) for row in rows]))
    if report is not None:
        print(f"results: {report.file}", file=sys.stderr)
    return 0
