"""What `dti` prints: JSON for programs, short tables and one progress line for people."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

TERMINAL = {"succeeded", "failed", "cancelled"}


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Iterable[Sequence[str]], header: Sequence[str]) -> None:
    """Left-aligned columns, as wide as their content."""
    lines = [list(header), *[list(map(str, row)) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def duration(seconds: float | None) -> str:
    """`75` -> `1:15`, `3700` -> `1:01:40`; an unknown time is `-`."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def elapsed(experiment: dict[str, Any]) -> float | None:
    """Seconds that the experiment has run, or ran, in its last attempt."""
    if not experiment.get("started_at"):
        return None
    end = experiment.get("finished_at")
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return (until - datetime.fromisoformat(experiment["started_at"])).total_seconds()


def describe(experiment: dict[str, Any]) -> str:
    """One line on where an experiment stands."""
    state = experiment["state"]
    if state == "queued":
        position = experiment.get("queue_position")
        return "queued" if position is None else f"queued, position {position}"
    progress = experiment.get("progress") or {}
    if state in {"running", "cancelling"} and progress.get("total"):
        return f"{state}, {100 * progress['step'] / progress['total']:.0f}%"
    return state


class ProgressLine:
    """One line on stderr that follows an experiment: redrawn on a terminal, sparse lines elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.last_text = ""
        self.last_time = 0.0

    def update(self, experiment: dict[str, Any]) -> None:
        text = self._text(experiment)
        now = time.monotonic()
        if text == self.last_text or (not self.live and now - self.last_time < 5):
            return
        self.last_text, self.last_time = text, now
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\033[K" + text[:width])
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        if self.live and self.last_text:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    @staticmethod
    def _text(experiment: dict[str, Any]) -> str:
        progress = experiment.get("progress") or {}
        if experiment["state"] == "queued" or not progress.get("total"):
            return describe(experiment)
        done, total = progress["step"], progress["total"]
        filled = round(28 * done / total)
        left = progress.get("eta_s")
        parts = [
            f"[{'#' * filled}{'.' * (28 - filled)}]",
            f"{done}/{total}",
            progress.get("unit") or "",
            f"elapsed {duration(elapsed(experiment))}",
            f"left {duration(left)}" if left is not None else "",
            progress.get("phase") or "",
        ]
        return "  ".join(part for part in parts if part)
