"""Reading an event stream and writing a download, both able to go on after a broken connection."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import httpx

from dti_service.client import calls
from dti_service.client.calls import Call


class EventStream:
    """Lines of `text/event-stream` to events; remembers the position up to which everything was given out."""

    def __init__(self, id: str, after: int) -> None:
        self.id = id
        self.position = after
        self.ended = False
        self._reset()

    @property
    def call(self) -> Call[Any]:
        options = {"headers": {"Accept": "text/event-stream", "Last-Event-ID": str(self.position)}}
        return Call("GET", calls.experiment_path(self.id, "events"), lambda answer: None, options)

    def _reset(self) -> None:
        self._kind, self._data, self._position = "", [], self.position  # type: tuple[str, list[str], int]

    def broken(self) -> None:
        """A new connection starts: an event that was received in part is sent again as a whole."""
        self._reset()

    def feed(self, line: str) -> dict[str, Any] | None:
        """One line without its end; the event that it completes, if any."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                self._kind = value
            elif name == "data":
                self._data.append(value)
            elif name == "id" and value.isdecimal():
                self._position = int(value)
            return None
        kind, data, position = self._kind, "\n".join(self._data), self._position
        self._reset()
        if not data:
            return None
        self.position = self._position = position
        if kind == "end":
            self.ended = True
            return None
        return {**json.loads(data), "id": position}


class Download:
    """A file that appears under its name only when it is complete, and that a second try continues."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.partial = target.with_name(f".{target.name}.part")
        self.etag: str | None = None
        self._stream: BinaryIO | None = None
        self._length: int | None = None

    def __enter__(self) -> Download:
        self._stream = self.partial.open("wb")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._stream is not None
        self._stream.close()
        if error is None:
            os.replace(self.partial, self.target)
        else:
            self.partial.unlink(missing_ok=True)

    def headers(self) -> dict[str, str]:
        """What asks for the rest; everything is sent anew when the file has changed on the server."""
        position = self._file.tell()
        if position == 0 or self.etag is None:
            return {}
        return {"Range": f"bytes={position}-", "If-Range": self.etag}

    def begin(self, answer: httpx.Response) -> None:
        """Take the head of an answer; a full one starts the file again."""
        if answer.status_code != 206:
            self._file.seek(0)
            self._file.truncate()
        etag = answer.headers.get("ETag", "")
        self.etag = etag if etag.startswith('"') else None
        length = answer.headers.get("Content-Length")
        self._length = self._file.tell() + int(length) if length else None

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def complete(self) -> bool:
        return self._length is None or self._file.tell() == self._length

    @property
    def _file(self) -> BinaryIO:
        assert self._stream is not None, "used outside its context"
        return self._stream
