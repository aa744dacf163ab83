"""multipart/form-data read as it arrives (RFC 7578): files go to disk, nothing large is held in memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from dti_service.errors import BadRequest

MOST_HEADER_BYTES = 8192
MOST_PARTS = 20_000


class Sink(Protocol):
    """Takes the content of one part."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """The part is complete."""


OpenPart = Callable[[str, str | None], Sink]  # (name of the field, name of the file or None)


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type announces; `BadRequest` when there is none that can be used."""
    match = re.search(r';\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', content_type, re.IGNORECASE)
    boundary = (match.group(1) or match.group(2)) if match else ""
    if not boundary or not boundary.isascii() or not boundary.isprintable():
        raise BadRequest("multipart/form-data needs a boundary in its Content-Type")
    return boundary.encode()


class MultipartReader:
    """Feed it pieces of a body; it opens a sink for each part. `finish` at the end. Raises `BadRequest`."""

    def __init__(self, boundary: bytes, open_part: OpenPart) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._open = open_part
        self._buffer = b"\r\n"  # so that the first delimiter looks like the others
        self._sink: Sink | None = None
        self._parts = 0
        self._state = self._preamble
        self._done = False

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while self._state():
            pass

    def finish(self) -> None:
        if not self._done:
            raise BadRequest("The multipart body ends early")

    # Each state takes what it can from the buffer and says whether there may be more to do.

    def _preamble(self) -> bool:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            # Only the beginning of a delimiter can still matter of what stands before the first part.
            self._buffer = self._buffer[-len(self._delimiter) :]
            return False
        self._buffer = self._buffer[at + len(self._delimiter) :]
        self._state = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer.startswith(b"--"):
            self._done = True
            self._state = self._epilogue
            return True
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            if len(self._buffer) > MOST_HEADER_BYTES:
                raise BadRequest("The multipart body is malformed")
            return False
        if line.strip(b" \t"):
            raise BadRequest("The multipart body is malformed: something follows a boundary")
        self._buffer = b"\r\n" + rest
        self._state = self._headers
        return True

    def _headers(self) -> bool:
        at = self._buffer.find(b"\r\n\r\n")
        if at > MOST_HEADER_BYTES or (at < 0 and len(self._buffer) > MOST_HEADER_BYTES):
            raise BadRequest("The multipart body is malformed: a part has endless headers")
        if at < 0:
            return False
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise BadRequest(f"At most {MOST_PARTS} files at once; send an archive, or several datasets")
        name, filename = _disposition(self._buffer[:at])
        # The delimiter may follow at once, so its line break stays.
        self._buffer = self._buffer[at + 2 :]
        self._skip = 2
        self._sink = self._open(name, filename)
        self._state = self._content
        return True

    def _content(self) -> bool:
        sink = self._sink
        assert sink is not None
        at = self._buffer.find(self._delimiter, max(0, self._skip - 2))
        if at >= 0:
            if at > self._skip:
                sink.write(self._buffer[self._skip : at])
            sink.close()
            self._sink = None
            self._buffer = self._buffer[at + len(self._delimiter) :]
            self._state = self._after_delimiter
            return True
        keep = len(self._delimiter) + self._skip
        if len(self._buffer) > keep:
            sink.write(self._buffer[self._skip : -len(self._delimiter)])
            self._buffer = self._buffer[-len(self._delimiter) :]
            self._skip = 0
        return False

    def _epilogue(self) -> bool:
        self._buffer = b""
        return False


_PARAMETER = re.compile(r';\s*([\w*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))')


def _disposition(headers: bytes) -> tuple[str, str | None]:
    """Names of the field and of the file in a part's headers. Browsers send UTF-8 and write " as %22."""
    text = headers.decode("utf-8", errors="replace")
    for line in text.split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().lower() != "content-disposition":
            continue
        found: dict[str, str] = {}
        for match in _PARAMETER.finditer(value):
            key, quoted, plain = match.groups()
            found[key.lower()] = plain if quoted is None else quoted
        if "name" not in found:
            break
        filename = found.get("filename")
        if filename is not None:
            filename = filename.replace('\\"', '"').replace("%22", '"')
        return found["name"], filename
    raise BadRequest("The multipart body is malformed: a part has no name")
