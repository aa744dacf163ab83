"""From single seeds to a row of results: means, standard errors, the run of the lowest loss."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dti_sprites.bench.fidelity.sets import BUDGETS, TASKS, Task
from dti_sprites.bench.machine import describe_machine
from dti_sprites.errors import DataError
from dti_sprites.results.files import dump_json, write_text

KEY = {"set", "budget", "preset"}  # of a row
COLUMNS = (
    *("set", "preset", "images", "seeds", "result", "lowest loss", "k-means", "published"),
    *("wall, s a seed", "machine", "notes"),
)
PERCENT = {"accuracy", "nmi", "ari", "ari_fg", "miou", "mean_class_accuracy"}


def summarise(
    task: Task,
    budget: str,
    preset: str,
    seeds: Sequence[Mapping[str, Any]],
    *,
    title: str,
    n_images: int,
    shortened: str,
    baseline: Mapping[str, float],
) -> dict[str, Any]:
    """A row as plain values. `seeds` are results of `run_seed`, at least one."""
    metrics = [name for name in seeds[0] if isinstance(seeds[0][name], float) and name != "duration_s"]
    return {
        "set": task.name,
        "title": title,
        "budget": budget,
        "preset": preset,
        "n_images": n_images,
        "shortened": shortened,
        "seeds": len(seeds),
        "metrics": {name: mean_and_error([float(seed[name]) for seed in seeds]) for name in metrics},
        "lowest_loss": dict(min(seeds, key=lambda seed: (seed["loss"], seed["seed"]))),
        "duration_s": float(np.mean([seed["duration_s"] for seed in seeds])),
        "baseline": dict(baseline),
        "runs": [{name: value for name, value in seed.items() if name != "machine"} for seed in seeds],
        "machine": seeds[-1]["machine"],
    }


def mean_and_error(values: Sequence[float]) -> dict[str, float | None]:
    """{"mean", "standard_error"}; the second is None for one value."""
    error = None
    if len(values) > 1:
        error = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return {"mean": float(np.mean(values)), "standard_error": error}


def reached(task: Task, row: Mapping[str, Any]) -> bool | None:
    """Whether the means reach all published figures; None where there are none."""
    if not task.marks:
        return None
    return all(row["metrics"][name]["mean"] >= mark for name, mark in task.marks.items())


# The file that holds all rows, of which RESULTS.md is made


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Rows kept so far. Raises DataError when the file is damaged: it is not overwritten then."""
    if not file.exists():
        return []
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        rows = None
    if isinstance(rows, list) and all(isinstance(row, dict) and row.keys() >= KEY for row in rows):
        return rows
    raise DataError(f"{file} is not a list of results: repair or remove it")


def keep_row(file: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Put `row` into the file in place of an earlier one of the same set, budget and preset; returns all, in order."""
    rows = [old for old in read_rows(file) if any(old[name] != row[name] for name in KEY)] + [row]
    names = list(TASKS)
    rows.sort(
        key=lambda each: (
            BUDGETS.index(each["budget"]) if each["budget"] in BUDGETS else len(BUDGETS),
            names.index(each["set"]) if each["set"] in names else len(names),
            each["preset"],
        )
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, dump_json(rows))
    return rows


# Markdown


def section(rows: Sequence[Mapping[str, Any]]) -> str:
    """The section "Fidelity" of RESULTS.md."""
    lines = [
        "## Fidelity",
        "",
        "Written by `dti-sprites bench fidelity`. Accuracies, NMI, ARI and IoU in percent, mean ± standard error over "
        "the seeds; *lowest loss* is the run that the loss alone would choose. k-means: on pixels, best of ten starts "
        "for each seed. A shortened budget is no comparison with a published figure: it is named in the notes.",
    ]
    machines: list[str] = []
    for row in rows:
        told = _machine(row)
        if told not in machines:
            machines.append(told)
    for budget in BUDGETS:
        chosen = [row for row in rows if row["budget"] == budget]
        if chosen:
            lines += ["", f"### Budget {budget}", "", *_table(chosen, machines)]
    lines += ["", "Machines:", "", *(f"{i}. {told}" for i, told in enumerate(machines, start=1))]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]], machines: Sequence[str]) -> list[str]:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        task = TASKS.get(row["set"])
        mark = task.mark if task is not None else ""
        notes = [part for part in (task.differs if task is not None else "", row["shortened"]) if part]
        if task is not None and not row["shortened"] and (met := reached(task, row)) is not None:
            notes.append("mark reached" if met else "mark not reached")
        cells = [
            row["title"],
            f"`{row['preset']}`",
            f"{row['n_images']:,}",
            str(row["seeds"]),
            "; ".join(_measured(name, value) for name, value in _shown(row).items()),
            "; ".join(f"{_label(name)} {_value(name, row['lowest_loss'][name])}" for name in _shown(row)),
            "; ".join(f"{_label(name)} {_value(name, value)}" for name, value in row["baseline"].items())
            or "–",
            mark,
            f"{row['duration_s']:,.0f}",
            f"{machines.index(_machine(row)) + 1}{_revision(row)}",
            "; ".join(notes),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return lines


def _machine(row: Mapping[str, Any]) -> str:
    return describe_machine(
        {name: value for name, value in row["machine"].items() if name != "source_revision"}
    )


def _revision(row: Mapping[str, Any]) -> str:
    revision = row["machine"].get("source_revision", "")
    return f", at {revision[:7]}" if revision else ""


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    task = TASKS.get(row["set"])
    wanted = list(task.metrics) if task is not None else []
    wanted += [name for name in row["metrics"] if "_by_" in name]
    wanted += [] if "loss" in wanted else ["loss"]
    return {name: row["metrics"][name] for name in wanted if name in row["metrics"]}


def _label(name: str) -> str:
    known = {"accuracy": "ACC", "nmi": "NMI", "ari": "ARI", "ari_fg": "ARI-FG", "miou": "mIoU"}
    known |= {"mean_class_accuracy": "mAcc", "loss": "loss"}
    base, by, what = name.partition("_by_")
    return known.get(base, base) + (f" by {what}" if by else "")


def _value(name: str, value: float) -> str:
    return f"{100 * value:.1f}" if name.partition("_by_")[0] in PERCENT else f"{value:.5f}"


def _measured(name: str, value: Mapping[str, float | None]) -> str:
    assert value["mean"] is not None
    error = value["standard_error"]
    return f"{_label(name)} {_value(name, value['mean'])}" + (
        "" if error is None else f" ± {_value(name, error)}"
    )
