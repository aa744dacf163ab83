"""A zip of a directory, written while it is sent: no temporary file, and one small buffer in memory.

Members are stored, not compressed (images and weights do not shrink), so the length of the whole is known
beforehand and any part of it can be sent again: a download that broke off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

CHUNK = 256 * 1024
_LIMIT32 = 0xFFFFFFFF
_LIMIT16 = 0xFFFF
_UTF8_NAMES = 0x0800


class ArchiveChanged(RuntimeError):
    """A file changed after the archive's length was announced."""


@dataclass(frozen=True)
class Member:
    """A file and the name it has in the archive; size in bytes and time as found when it was listed.

    `content`: what is packed instead of a file, whose path is then None.
    """

    name: str
    path: Path | None
    size: int
    modified_ns: int
    content: bytes | None = None

    def open(self) -> BinaryIO:
        """Raises OSError."""
        if self.path is not None:
            return self.path.open("rb")
        return io.BytesIO(self.content or b"")


def members(root: Path, rename: Callable[[str], str | None] = lambda name: name) -> list[Member]:
    """The regular files below `root`, sorted by name. `rename` maps a path relative to `root` to the name in the
    archive; None leaves the file out. Hidden files (half-written ones among them) and links are left out."""
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for file in files:
            path = Path(folder, file)
            name = None if file.startswith(".") else rename(path.relative_to(root).as_posix())
            if name is None:
                continue
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                found.append(Member(name, path, status.st_size, status.st_mtime_ns))
    return sorted(found, key=lambda member: member.name)


class Archive:
    """The zip of some members.

    `exact`: the files are final. Then `size` is the length in bytes, and a file that changes nevertheless raises
    `ArchiveChanged`. Otherwise each file is taken as it is when its turn comes, one that has vanished is left out,
    and `size` is None.
    """

    def __init__(self, members: Iterable[Member], *, exact: bool) -> None:
        self.members = list(members)
        self.exact = exact
        self.size = self._length() if exact else None
        newest = max((member.modified_ns for member in self.members), default=0)
        self.modified = datetime.fromtimestamp(newest // 10**9, UTC)
        digest = hashlib.sha256()
        for member in self.members:
            digest.update(f"{member.name}\0{member.size}\0{member.modified_ns}\n".encode())
        self.etag = f'"{digest.hexdigest()[:32]}"' if exact else f'W/"{digest.hexdigest()[:32]}"'

    def chunks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end` (to the end of the archive without) in pieces of at most 512 KiB.

        Files before `start` are read all the same, for their checksums stand in the directory at the end.
        """
        position = 0
        block = bytearray()  # small files are sent together
        for chunk in self._all():
            first, last = (
                max(start - position, 0),
                len(chunk) if end is None else min(len(chunk), end - position),
            )
            position += len(chunk)
            if first < last:
                block += chunk[first:last]
            if len(block) >= CHUNK:
                yield bytes(block)
                block.clear()
            if end is not None and position >= end:
                break
        if block:
            yield bytes(block)

    def close(self) -> None:
        """Nothing is held open between two reads."""

    def _all(self) -> Iterator[bytes]:
        directory = bytearray()
        offset = count = 0
        for member in self.members:
            try:
                stream = member.open()
            except OSError as error:
                if self.exact:
                    raise ArchiveChanged(f"{member.name} has vanished") from error
                continue
            with stream:
                size = stream.seek(0, os.SEEK_END)
                if self.exact and size != member.size:
                    raise ArchiveChanged(f"{member.name} has changed")
                checksum = _checksum(stream, size)
                header = _local_header(member, size, checksum)
                yield header
                yield from _pieces(stream, size)
            directory += _directory_entry(member, size, checksum, offset)
            offset += len(header) + size
            count += 1
        yield from (bytes(directory[i : i + CHUNK]) for i in range(0, len(directory), CHUNK))
        yield _end(count, len(directory), offset)

    def _length(self) -> int:
        offset = directory = 0
        for member in self.members:
            directory += len(_directory_entry(member, member.size, 0, offset))
            offset += len(_local_header(member, member.size, 0)) + member.size
        return offset + directory + len(_end(len(self.members), directory, offset))


def _pieces(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes from the start of the file, which may be growing."""
    stream.seek(0)
    left = size
    while left:
        piece = stream.read(min(CHUNK, left))
        if not piece:
            raise ArchiveChanged("a file was cut short while it was read")
        left -= len(piece)
        yield piece


def _checksum(stream: BinaryIO, size: int) -> int:
    checksum = 0
    for piece in _pieces(stream, size):
        checksum = zlib.crc32(piece, checksum)
    return checksum


def _dos_time(modified_ns: int) -> tuple[int, int]:
    year, month, day, hour, minute, second = time.gmtime(modified_ns // 10**9)[:6]
    if not 1980 <= year <= 2107:
        return 0, (1 << 5) | 1
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day


def _local_header(member: Member, size: int, checksum: int) -> bytes:
    name = member.name.encode()
    extra = struct.pack("<HHQQ", 1, 16, size, size) if size >= _LIMIT32 else b""
    shown = min(size, _LIMIT32)
    clock, day = _dos_time(member.modified_ns)
    version = 45 if extra else 20
    fields = (b"PK\3\4", version, _UTF8_NAMES, 0, clock, day, checksum, shown, shown, len(name), len(extra))
    return struct.pack("<4sHHHHHIIIHH", *fields) + name + extra


def _directory_entry(member: Member, size: int, checksum: int, offset: int) -> bytes:
    name = member.name.encode()
    large = [value for value in (size, size) if size >= _LIMIT32] + ([offset] if offset >= _LIMIT32 else [])
    extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
    shown = min(size, _LIMIT32)
    clock, day = _dos_time(member.modified_ns)
    version = 45 if extra else 20
    made_by = 3 << 8 | version  # Unix: the permissions below are meant
    fields = (
        b"PK\1\2",
        made_by,
        version,
        _UTF8_NAMES,
        0,
        clock,
        day,
        checksum,
        shown,
        shown,
        len(name),
        len(extra),
    )
    rest = (0, 0, 0, (stat.S_IFREG | 0o644) << 16, min(offset, _LIMIT32))
    return struct.pack("<4sHHHHHHIIIHH", *fields) + struct.pack("<HHHII", *rest) + name + extra


def _end(count: int, directory: int, offset: int) -> bytes:
    """The end of the central directory, which has `count` entries in `directory` bytes at `offset`."""
    large = b""
    if count >= _LIMIT16 or directory >= _LIMIT32 or offset >= _LIMIT32:
        record = (b"PK\6\6", 44, 45, 45, 0, 0, count, count, directory, offset)
        large = struct.pack("<4sQHHIIQQQQ", *record)
        large += struct.pack("<4sIQI", b"PK\6\7", 0, offset + directory, 1)
    shown = min(count, _LIMIT16)
    fields = (b"PK\5\6", 0, 0, shown, shown, min(directory, _LIMIT32), min(offset, _LIMIT32), 0)
    return large + struct.pack("<4sHHHHIIH", *fields)
