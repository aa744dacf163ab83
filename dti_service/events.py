"""The event file of an experiment: append-only, one JSON object per line, written by several processes.

The position of an event is the byte offset just after its line; it serves as the id of a server-sent event, so that a
reader goes on exactly where it stopped.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from dti_service.experiment import timestamp

CHUNK = 256 * 1024  # bytes read at a time
TAIL = 32 * 1024  # bytes at the end in which the latest event is looked for first


class EventLog:
    """Reads and appends to one `events.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, **data: Any) -> None:
        """Add one event. One `write` in append mode, so that lines of several writers do not mix. Raises OSError."""
        event = {"time": timestamp(), "kind": kind, **data}
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str).encode() + b"\n"
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(handle, self._mend(handle) + line)
        finally:
            os.close(handle)

    @staticmethod
    def _mend(handle: int) -> bytes:
        """A line end, if a writer was killed in the middle of its line."""
        size = os.fstat(handle).st_size
        return b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""

    def read(self, after: int = 0, limit: int | None = None) -> tuple[list[tuple[int, dict[str, Any]]], int]:
        """Events behind position `after`, as (position, event), at most `limit`; and the position to go on from.

        A last line without its end is left for later; lines that are not events are skipped.
        """
        events: list[tuple[int, dict[str, Any]]] = []
        position = max(0, after)
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return events, position
        with file:
            position = self._line_start(file, position)
            file.seek(position)
            rest = b""
            while limit is None or len(events) < limit:
                chunk = file.read(CHUNK)
                if not chunk:
                    break
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    position += len(line) + 1
                    event = _parse(line)
                    if event is not None:
                        events.append((position, event))
                        if limit is not None and len(events) >= limit:
                            break
        return events, position

    @staticmethod
    def _line_start(file: Any, position: int) -> int:
        """`position` if a line begins there, else the beginning of the next line; never behind the end."""
        end = file.seek(0, os.SEEK_END)
        if position == 0 or position >= end:
            return min(position, end)
        file.seek(position - 1)
        if file.read(1) == b"\n":
            return position
        return position + len(file.readline())

    async def follow(self, after: int = 0, poll_s: float = 0.1) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """Events behind `after`, then further ones as they come, for ever."""
        position = after
        while True:
            events, position = await asyncio.to_thread(self.read, position, 1000)
            for item in events:
                yield item
            if not events:
                await asyncio.sleep(poll_s)

    def last(self, kind: str) -> dict[str, Any] | None:
        """The latest event of that kind, or None; reads from the end."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            size = file.seek(0, os.SEEK_END)
            window = TAIL
            while True:
                start = max(0, size - window)
                file.seek(start)
                lines = file.read(size - start).split(b"\n")[:-1]
                # Unless the window reaches the beginning, its first line may have lost its own beginning.
                for line in reversed(lines[1:] if start else lines):
                    event = _parse(line)
                    if event is not None and event["kind"] == kind:
                        return event
                if not start:
                    return None
                window *= 8


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None
