"""Who is told how a run is going: nobody, a terminal, or the experiment directory."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any, TextIO

from dti_service.events import EventLog
from dti_service.execution.run_log import RunLog

CELLS = "cells"  # the unit of progress as long as the notebook reports none of its own


class Observer:
    """Told nothing of interest; the base of those that do something with it."""

    def begin(self, total: int) -> None:
        """A notebook of `total` cells begins."""

    def cell_started(self, index: int, total: int, name: str) -> None: ...

    def cell_ended(self, index: int, total: int, name: str, status: str) -> None: ...

    def cell_passed(self, index: int) -> None:
        """A cell that there is nothing to execute in."""

    def printed(self, stream: str, text: str) -> None: ...

    def tick(self) -> None:
        """Called a few times a second."""

    def stop_requested(self) -> bool:
        """Was the notebook asked, by other means than a signal, to stop?"""
        return False

    def close(self) -> None: ...


class TerminalObserver(Observer):
    """What the papermill command shows: a progress bar, and the output if asked for."""

    def __init__(
        self,
        progress_bar: bool | dict[str, Any] = True,
        log_output: bool = False,
        stdout_file: TextIO | None = None,
        stderr_file: TextIO | None = None,
    ) -> None:
        self._options = progress_bar
        self._log = logging.getLogger("papermill") if log_output else None
        self._files = {"stdout": stdout_file, "stderr": stderr_file}
        self._bar: Any = None

    def begin(self, total: int) -> None:
        if self._options:
            from tqdm.auto import tqdm

            options = self._options if isinstance(self._options, dict) else {}
            self._bar = tqdm(total=total, **{"unit": "cell", "desc": "Executing", **options})

    def cell_started(self, index: int, total: int, name: str) -> None:
        if self._log is not None:
            self._log.info("Executing cell %d of %d: %s", index + 1, total, name)

    def cell_ended(self, index: int, total: int, name: str, status: str) -> None:
        self.cell_passed(index)

    def cell_passed(self, index: int) -> None:
        if self._bar is not None:
            self._bar.update(1)

    def printed(self, stream: str, text: str) -> None:
        file = self._files.get(stream)
        if file is not None:
            file.write(text)
            file.flush()
        if self._log is not None:
            self._log.info(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class ExperimentObserver(Observer):
    """Writes events and the log of an experiment."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._events = EventLog(directory / "events.jsonl")
        self._log = RunLog(directory / "log.txt", self._events)

    def cell_started(self, index: int, total: int, name: str) -> None:
        self._event("cell", index=index, total=total, name=name, status="started")
        self._progress(index, total, name)

    def cell_ended(self, index: int, total: int, name: str, status: str) -> None:
        self._log.end_lines()
        self._log.tick()
        self._event("cell", index=index, total=total, name=name, status=status)

    def _progress(self, step: int, total: int, name: str) -> None:
        """Cells count as progress unless the notebook itself knows better."""
        latest = self._events.last("progress")
        if latest is None or latest.get("unit") == CELLS:
            self._event("progress", step=step, total=total, unit=CELLS, eta_s=None, phase=name, cell=name)

    def printed(self, stream: str, text: str) -> None:
        self._log.write(stream, text)

    def tick(self) -> None:
        self._log.tick()

    def stop_requested(self) -> bool:
        return any((self._directory / name).exists() for name in ("cancel.json", "stop.json"))

    def close(self) -> None:
        self._log.close()

    def _event(self, kind: str, **data: Any) -> None:
        with contextlib.suppress(OSError):
            self._events.append(kind, **data)
