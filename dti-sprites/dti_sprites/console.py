"""A training as one line on a terminal, or as a line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from dti_sprites.training import Callback, Progress

_BAR = 24
TERMINAL_INTERVAL_S, LOG_INTERVAL_S = 0.2, 15.0


class ConsoleProgress(Callback):
    """Writes progress to `stream`: on a terminal one line that changes, elsewhere a line every fifteen seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.terminal = self.stream.isatty()
        self._next = 0.0
        self._width = 0

    def on_progress(self, progress: Progress) -> None:
        last = progress.iteration >= progress.total_iterations
        left = f", {duration(progress.eta_s)} left" if progress.eta_s is not None and not last else ""
        loss = f", loss {progress.loss:.5g}" if progress.loss is not None else ""
        details = f"epoch {progress.epoch}/{progress.epochs}{loss}{left}"
        self._show("training", progress.iteration, progress.total_iterations, details)

    def on_event(self, kind: str, **data: Any) -> None:
        if kind == "phase":
            self._show(data["name"], data["done"], data["total"], f"{data['done']:,}/{data['total']:,}")

    def close(self) -> None:
        """End the line that changes, so that what comes next starts on its own."""
        if self._width:
            self.stream.write("\n")
            self.stream.flush()
            self._width = 0

    def _show(self, phase: str, done: int, total: int, details: str) -> None:
        now = time.monotonic()
        if now < self._next and done < total:
            return
        self._next = now + (TERMINAL_INTERVAL_S if self.terminal else LOG_INTERVAL_S)
        share = done / total if total else 1.0
        if not self.terminal:
            self.stream.write(f"{phase}: {share:4.0%}, {details}\n")
        else:
            filled = round(_BAR * share)
            line = f"{phase} [{'#' * filled}{'.' * (_BAR - filled)}] {share:4.0%}  {details}"
            self.stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        self.stream.flush()


def duration(seconds: float) -> str:
    """12 s, 3 min 05 s, 2 h 10 min."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"
