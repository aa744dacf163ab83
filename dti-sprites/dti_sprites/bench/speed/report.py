"""The rows of a benchmark as JSON, as a table in Markdown and as a plot.

Rows are kept in a JSON file beside the Markdown file, so that a case may be measured again alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dti_sprites.bench.machine import describe_machine
from dti_sprites.bench.results_file import replace_section
from dti_sprites.bench.speed.cases import SCALING, all_cases
from dti_sprites.bench.speed.measure import Measurement
from dti_sprites.bench.speed.plot import ratio_plot
from dti_sprites.results.files import dump_json, write_text

Row = dict[str, Any]
COMPARABLE = ("device_name", "python", "packages", "platform", "threads")
KEY = ("case", "variant", "options")
COLUMNS = (
    "case", "step ms", "encoder ms", "step / encoder", "mark", "images/s", "launches", "peak MB",
    "reference ms", "its launches", "its peak MB", "times faster",
)  # fmt: skip


class Report:
    """What was measured on one machine; written after each row, so that an interruption loses nothing.

    Rows that an earlier command measured stay, unless machine, versions, threads or clock were others.
    """

    def __init__(self, file: Path, facts: dict[str, Any]) -> None:
        self.file, self.facts = file, facts
        kind = str(facts["device"]).partition(":")[0]
        self.section = f"speed on {kind}"
        self.data = file.with_name(f"speed-{kind}.json")
        self.picture = file.with_name(f"speed-{kind}.svg")

    def add(self, row: Measurement) -> None:
        new = vars(row)
        rows = [old for old in self._earlier(row.clock) if any(old[key] != new[key] for key in KEY)]
        order = [(case.name, case.variant) for case in all_cases()]
        rows = sorted([*rows, new], key=lambda r: (order.index((r["case"], r["variant"])), r["options"]))
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.data, dump_json({"machine": self.facts, "rows": rows}))
        write_text(self.picture, ratio_plot(rows))
        replace_section(self.file, self.section, self._text(rows))

    def _earlier(self, clock: str) -> list[Row]:
        """Rows that may stand beside new ones."""
        try:
            kept = json.loads(self.data.read_text(encoding="utf-8"))
            same = all(kept["machine"].get(key) == self.facts.get(key) for key in COMPARABLE)
            known = {(case.name, case.variant) for case in all_cases()}
            rows = [row for row in kept["rows"] if (row["case"], row["variant"]) in known]
            return [row for row in rows if row["clock"] == clock] if same else []
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []

    def _text(self, rows: Sequence[Row]) -> str:
        threads = f" --threads {self.facts['threads']}" if "threads" in self.facts else ""
        clock = " --clock cpu" if rows[0]["clock"] == "cpu" else ""
        kind = str(self.facts["device"]).partition(":")[0]
        parts = [
            f"## Speed: {self.section.rpartition(' ')[2]}",
            f"`dti-sprites bench speed --device {kind}{threads}{clock}`",
            describe_machine(self.facts),
        ]
        if clock:
            parts.append("Times are processor time, as others used the machine: compare ratios.")
        parts += [table(rows), scaling_table(rows), f"![Step / encoder]({self.picture.name})"]
        return "\n\n".join(part for part in parts if part)


def table(rows: Sequence[Row]) -> str:
    """Markdown: one line per case, times in ms, memory in MB (2^20 bytes)."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    for row in rows:
        cells = [
            _name(row),
            _ms(row["step_s"]),
            _ms(row["encoder_s"]),
            f"{row['ratio']:.2f}",
            "" if row["mark"] is None else f"{row['mark']:g}",
            f"{row['images_per_s']:.4g}",
            f"{row['launches']:,}",
            _mb(row["peak_bytes"]),
            _ms(row["reference_step_s"]),
            "-" if row["reference_launches"] is None else f"{row['reference_launches']:,}",
            _mb(row["reference_peak_bytes"]),
            "-" if row["speedup"] is None else f"{row['speedup']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def scaling_table(rows: Sequence[Row]) -> str:
    """Markdown: step and memory of each K over those of the smallest; nothing without rows of that case."""
    lines = [
        "| scaling-k | K | step / that of the first | memory / that of the first |",
        "|---|---:|---:|---:|",
    ]
    first: dict[str, Row] = {}
    for row in rows:
        if row["case"] == SCALING:
            what = row["variant"].partition(" ")[0]
            base = first.setdefault(what, row)
            step, memory = row["step_s"] / base["step_s"], row["peak_bytes"] / base["peak_bytes"]
            lines.append(f"| {what} | {row['k']} | {step:.2f} | {memory:.2f} |")
    return "\n".join(lines) if first else ""


def _name(row: Row) -> str:
    options = f" ({', '.join(row['options'])})" if row["options"] else ""
    return f"{row['case']} {row['variant']}".strip() + options


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:,.4g}" if seconds < 10 else f"{1000 * seconds:,.0f}"


def _mb(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:,.0f}"
