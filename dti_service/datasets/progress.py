"""How far the making of a dataset is, for whoever waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dti_service.datasets.files import read_json, write_json

Progress = Callable[[int, int | None, str, str], None]  # step, total, unit ("bytes", "images"), phase
INTERVAL_S = 0.5


def nothing(step: int, total: int | None, unit: str, phase: str) -> None:
    """Nobody waits."""


def to_file(path: Path, also: Progress) -> Progress:
    """Write the last progress to a file that any process can read, at most twice a second, and pass it on."""
    last = 0.0

    def report(step: int, total: int | None, unit: str, phase: str) -> None:
        nonlocal last
        moment = time.monotonic()
        if moment - last >= INTERVAL_S:
            last = moment
            write_json(path, {"step": step, "total": total, "unit": unit, "phase": phase}, sync=False)
            also(step, total, unit, phase)

    return report


def read(path: Path) -> dict[str, Any] | None:
    value = read_json(path)
    return value if isinstance(value, dict) else None
