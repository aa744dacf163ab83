"""Sending a file from disk: ETag and 304, one byte range, HEAD, and a policy that keeps HTML harmless."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

from tornado import web

from dti_service.errors import NotFound
from dti_service.handlers.base import Handler

CHUNK = 256 * 1024

# A page made by a run is shown as a stranger's: no scripts, no forms, no cookies of ours.
SANDBOX = (
    "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "font-src data:; media-src data:"
)


class CutShort(RuntimeError):
    """A file became shorter while it was sent, so the announced length cannot be kept."""


_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".gif": "image/gif",
    ".ipynb": "application/json",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".log": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".npz": "application/octet-stream",
    ".safetensors": "application/octet-stream",
    ".tsv": "text/tab-separated-values; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


def content_type(path: Path) -> str:
    """The media type of a file by its name; unknown ones are bytes, never guessed from the content."""
    known = _TYPES.get(path.suffix.lower())
    if known:
        return known
    guessed, encoding = mimetypes.guess_type(path.name)
    if guessed is None or encoding is not None:
        return "application/octet-stream"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed


class Source(Protocol):
    """Something whose bytes are sent: a file, or an archive made on the way."""

    @property
    def size(self) -> int | None:
        """Length in bytes; None: not known before the end, so no part of it can be asked for."""

    @property
    def modified(self) -> datetime: ...

    @property
    def etag(self) -> str: ...

    def chunks(self, start: int, end: int | None) -> Iterator[bytes]:
        """The bytes from `start` to `end` (None: to the end) in pieces; blocks, so it runs in a thread."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class OpenFile:
    stream: BinaryIO
    size: int
    modified: datetime
    etag: str

    def chunks(self, start: int, end: int | None) -> Iterator[bytes]:
        self.stream.seek(start)
        left = (self.size if end is None else end) - start
        while left:
            chunk = self.stream.read(min(CHUNK, left))
            if not chunk:
                raise CutShort("The file was cut short while it was sent")
            left -= len(chunk)
            yield chunk

    def close(self) -> None:
        self.stream.close()


@dataclass(frozen=True)
class Content:
    """Bytes in memory, sent as a file is: with a version and in part where asked for."""

    data: bytes
    modified: datetime
    etag: str

    @property
    def size(self) -> int:
        return len(self.data)

    def chunks(self, start: int, end: int | None) -> Iterator[bytes]:
        yield self.data[start:end]

    def close(self) -> None:
        """Nothing is held."""


def open_file(path: Path) -> OpenFile:
    """Open a regular file for reading; `NotFound` when there is none. The ETag names this very version of it."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise NotFound("No such file") from error
    status = os.fstat(stream.fileno())
    modified = datetime.fromtimestamp(int(status.st_mtime), UTC)
    etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"'
    return OpenFile(stream, status.st_size, modified, etag)


def below(root: Path, name: str) -> Path:
    """The file `name` (with /) below `root`, following no way out of it; `NotFound` otherwise."""
    parts = name.split("/")
    if not name or "\0" in name or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise NotFound("No such file")
    try:
        base = root.resolve(strict=True)
        path = base.joinpath(*parts).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise NotFound("No such file") from error
    if not path.is_relative_to(base) or not path.is_file():
        raise NotFound("No such file")
    return path


def attachment(name: str, *, inline: bool = False) -> str:
    """A Content-Disposition for a file name of any characters."""
    plain = re.sub(r"[^A-Za-z0-9._ ()-]", "_", name)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and one-past-last byte of a `Range: bytes=` header; None: send everything.

    Several ranges, other units and nonsense are ignored, as RFC 9110 allows; a range that starts after the
    end raises 416.
    """
    match = re.fullmatch(r"bytes=\s*(\d*)-(\d*)\s*", header or "")
    if match is None or match.group(1) == match.group(2) == "":
        return None
    if match.group(1) == "":
        length = int(match.group(2))
        start, end = max(0, size - length), size
    else:
        start = int(match.group(1))
        end = min(size, int(match.group(2)) + 1) if match.group(2) else size
        if match.group(2) and int(match.group(2)) < start:
            return None
    if start >= size or start >= end:
        raise web.HTTPError(416, f"The file has {size} bytes")
    return start, end


class FileHandler(Handler):
    """Base of handlers that answer with the content of a file."""

    caching = (
        "no-cache"  # ask each time whether it is still the version; a subclass knows better where it is final
    )
    _unsatisfied: int | None = None  # the size of a file whose asked-for part lies behind its end

    async def send_file(self, path: Path, *, filename: str | None = None, policy: str = SANDBOX) -> None:
        """Answer with a file, or with the part of it that was asked for. Call last in a verb."""
        opened = await self.quick(open_file, path)
        await self.send(opened, content_type(path), filename or path.name, policy=policy, path=path)

    async def send(
        self,
        source: Source,
        media_type: str,
        filename: str,
        *,
        inline: bool = True,
        policy: str = SANDBOX,
        path: Path | None = None,
    ) -> None:
        """Answer with the bytes of a source, which is closed at the end. Call last in a verb. `path` is the file
        that they come from, if that is all they are: a proxy may then send it."""
        self.set_header("Content-Disposition", attachment(filename, inline=inline))
        self.set_header("Content-Security-Policy", policy)
        try:
            await self._send(source, media_type, self._through_proxy(path))
        finally:
            source.close()

    def _through_proxy(self, path: Path | None) -> str | None:
        """The location by which nginx sends a file of the data directory, if the settings say that it does."""
        settings = self.context.settings
        if settings.x_accel is None or path is None or not path.is_relative_to(settings.data_dir):
            return None
        return quote(f"{settings.x_accel}/{path.relative_to(settings.data_dir)}")

    async def _send(self, source: Source, media_type: str, location: str | None) -> None:
        self.answer_type = media_type
        self.set_header("Cache-Control", self.caching)
        self.set_header("Etag", source.etag)
        self.set_header("Last-Modified", format_datetime(source.modified, usegmt=True))
        if self._not_modified(source):
            self.set_status(304)
            self.finish()
            return
        if location is not None:
            # nginx takes the type and the policy from this answer; length, version and parts are its own business.
            self.clear_header("Etag")
            self.clear_header("Last-Modified")
            self.set_header("Content-Type", media_type)
            self.set_header("X-Accel-Redirect", location)
            self.finish()
            return
        start, end = 0, source.size
        if source.size is not None:
            self.set_header("Accept-Ranges", "bytes")
            start, end = self._wanted(source, source.size)
            self.set_header("Content-Length", str(end - start))
        self.set_header("Content-Type", media_type)
        if self.request.method != "HEAD":
            await self._copy(source, start, end)
        self.finish()

    def _wanted(self, source: Source, size: int) -> tuple[int, int]:
        """First and one-past-last byte to send; sets the status and header of a partial answer."""
        header = self.request.headers.get("Range") if self._range_applies(source) else None
        try:
            wanted = byte_range(header, size)
        except web.HTTPError:
            self._unsatisfied = size
            raise
        if wanted is None:
            return 0, size
        start, end = wanted
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        return start, end

    async def _copy(self, source: Source, start: int, end: int | None) -> None:
        if isinstance(source, Content):
            self.write(source.data[start:end])
            return
        chunks = source.chunks(start, end)
        if end is not None and end - start <= CHUNK:  # small: read in one go, sent together with the headers
            self.write(await self.quick(b"".join, chunks))
            return
        try:
            while (chunk := await self.quick(next, chunks, None)) is not None:
                self.write(chunk)
                await self.flush()
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 416 and self._unsatisfied is not None:
            self.set_header("Content-Range", f"bytes */{self._unsatisfied}")
        super().write_error(status_code, **kwargs)

    def _not_modified(self, source: Source) -> bool:
        if "If-None-Match" in self.request.headers:
            return self.check_etag_header()
        try:
            since = parsedate_to_datetime(self.request.headers.get("If-Modified-Since", ""))
        except (TypeError, ValueError):
            return False
        return since.tzinfo is not None and source.modified <= since

    def _range_applies(self, source: Source) -> bool:
        """`If-Range`: a part is only of use to a client that has the rest of this very version."""
        if self.request.method == "HEAD":
            return False
        condition = self.request.headers.get("If-Range")
        if condition is None or condition == source.etag:
            return True
        try:
            return parsedate_to_datetime(condition) == source.modified
        except (TypeError, ValueError):
            return False
