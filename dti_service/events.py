"""The event file of an experiment: append-only, one JSON object per line, written by several processes.

The position of an event is the byte offset just after its line; it serves as the id of a server-sent event, so that a
reader goes on exactly where it stopped.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from dti_service.experiment import timestamp
from dti_service.plain import plain

CHUNK = 256 * 1024  # bytes read at a time
TAIL = 32 * 1024  # bytes at the end in which the latest event is looked for first


class EventLog:
    """Reads and appends to one `events.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, /, **data: Any) -> None:
        """Add one event. One `write` in append mode, so that lines of several writers do not mix. Raises OSError."""
        event = {"time": timestamp(), "kind": kind, **data}
        event["kind"] = kind  # whatever the data hold
        content = _to_json(event) + b"\n"
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            content = self._mend(handle) + content
            if os.write(handle, content) < len(content):
                # Half a line: readers leave it out, and the next writer ends it.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
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
        return self.latest({kind})[0].get(kind)

    def latest(
        self, kinds: AbstractSet[str], since: int = 0, most: int | None = None
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """The latest event of each of these kinds behind the position `since`, and the position to look from later.

        Reads from the end, and gives up after `most` bytes.
        """
        found: dict[str, dict[str, Any]] = {}
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return found, 0
        with file:
            end = file.seek(0, os.SEEK_END)
            first = max(since, 0 if most is None else end - most)
            window, position, part = TAIL, min(since, end), b""
            whole_lines = False
            while end > first and found.keys() != kinds:
                start = max(first, end - window)
                file.seek(start)
                part = file.read(end - start) + part
                end, window = start, window * 4
                if not whole_lines:
                    # What follows the last line end is a line that is still being written.
                    length = part.rfind(b"\n") + 1
                    if not length:
                        continue
                    whole_lines, position, part = True, start + length, part[:length]
                lines = part.split(b"\n")
                # Unless something is known to begin here, the first line may lack its own beginning.
                part = b"" if start == since else lines.pop(0) + b"\n"
                for line in reversed(lines):
                    _note(line, kinds, found)
        return found, position


def _note(line: bytes, kinds: AbstractSet[str], found: dict[str, dict[str, Any]]) -> None:
    """Keep the event in `line` if it is the first of its kind to be seen."""
    if any(b'"%s"' % kind.encode() in line for kind in kinds - found.keys()):
        event = _parse(line)
        if event is not None and event["kind"] in kinds:
            found.setdefault(event["kind"], event)


def _to_json(event: dict[str, Any]) -> bytes:
    """One line. Numbers that JSON has no word for become null, text that is not Unicode loses what is not."""
    try:
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(plain(event), ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode(errors="replace")


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None
