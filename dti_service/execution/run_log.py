"""`log.txt` of an experiment, and the same lines, fewer if there are many, as `log` events."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from dti_service.events import EventLog

LONGEST_LINE = 10_000  # characters in log.txt
LONGEST_EVENT_LINE = 1000  # characters in an event
LARGEST_LOG = 50_000_000  # bytes
EVENT_RATE = 2000.0  # characters a second in events, in the long run
EVENT_BURST = 40_000.0  # and at once
UNFINISHED_S = 10.0  # a progress bar is shown this often


class _Line:
    """The line that a stream has begun."""

    def __init__(self) -> None:
        self.text = ""
        self.overwritten = False  # it shows progress on one line
        self.shown_at = time.monotonic()

    def add(self, text: str) -> list[str]:
        """Finished lines; of what a carriage return overwrites only the last state is left."""
        *finished, rest = (self.text + text).split("\n")
        lines = [_overwrite(line.rstrip("\r")) for line in finished]
        self.overwritten = "\r" in rest or (self.overwritten and not finished)
        self.text = _overwrite(rest)
        while len(self.text) > LONGEST_LINE:  # what never ends its line must not gather here
            lines.append(self.text[:LONGEST_LINE])
            self.text = self.text[LONGEST_LINE:]
        return lines

    def take(self) -> list[str]:
        text, self.text = self.text.rstrip("\r"), ""
        self.overwritten = False
        return [text] if text else []


def _overwrite(line: str) -> str:
    body = line.rstrip("\r")
    return body.rpartition("\r")[2] + ("\r" if line != body else "")


class RunLog:
    """Takes the texts that a notebook prints. A full disk loses lines, never a run."""

    def __init__(self, path: Path, events: EventLog | None = None) -> None:
        self._events = events
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._size = os.fstat(self._handle).st_size
        self._open_lines: dict[str, _Line] = {}
        self._pending: list[tuple[str, str]] = []
        self._pending_size = 0
        self._left_out = 0
        self._allowance = EVENT_BURST
        self._counted_at = time.monotonic()

    def write(self, stream: str, text: str) -> None:
        """Text as printed on `stream`, in pieces of any size."""
        self._lines(stream, self._open_lines.setdefault(stream, _Line()).add(text))

    def _lines(self, stream: str, lines: list[str]) -> None:
        if not lines:
            return
        content = "".join(f"{_cut(line, LONGEST_LINE)}\n" for line in lines).encode(errors="replace")
        if self._size <= LARGEST_LOG:
            self._size += len(content)
            if self._size > LARGEST_LOG:
                content = (
                    f"[this log has reached {LARGEST_LOG // 10**6} MB; what follows is left out]\n".encode()
                )
            with contextlib.suppress(OSError):
                os.write(self._handle, content)
        for line in lines:
            if self._pending_size < EVENT_BURST:
                line = _cut(line, LONGEST_EVENT_LINE)
                self._pending.append((stream, line))
                self._pending_size += len(line) + 1
            else:
                self._left_out += 1

    def tick(self) -> None:
        """Send what has gathered as events; call this a few times a second."""
        now = time.monotonic()
        for stream, line in self._open_lines.items():
            if line.overwritten and now - line.shown_at >= UNFINISHED_S:
                line.shown_at = now
                self._lines(stream, [line.text.rstrip("\r")] if line.text.strip() else [])
        self._allowance = min(EVENT_BURST, self._allowance + (now - self._counted_at) * EVENT_RATE)
        self._counted_at = now
        pending, self._pending, self._pending_size = self._pending, [], 0
        blocks: list[tuple[str, list[str]]] = []
        for stream, text in pending:
            if self._allowance < len(text) + 1:
                self._left_out += 1
                continue
            self._allowance -= len(text) + 1
            if not blocks or blocks[-1][0] != stream:
                blocks.append((stream, []))
            blocks[-1][1].append(text)
        for stream, texts in blocks:
            self._event(stream, "\n".join(texts))
        if self._left_out and self._allowance > EVENT_BURST / 4:
            self._event("log", f"[{self._left_out} more lines are in log.txt]")
            self._left_out = 0

    def end_lines(self) -> None:
        """Nothing more belongs to the lines that were begun: a cell has ended."""
        for stream, line in self._open_lines.items():
            self._lines(stream, line.take())

    def close(self) -> None:
        self.end_lines()
        self._allowance = max(self._allowance, EVENT_BURST / 2)
        self.tick()
        os.close(self._handle)

    def _event(self, stream: str, text: str) -> None:
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.append("log", stream=stream, text=text)


def _cut(line: str, longest: int) -> str:
    return line if len(line) <= longest else f"{line[:longest]} [...]"
