"""Zip archives from outside: read only after the whole directory was judged, unpacked member by member with a count."""

from __future__ import annotations

import itertools
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.limits import Limits
from dti_service.datasets.guard.names import hidden, member_parts
from dti_service.datasets.guard.tables import MOST_BYTES, TABLE_FILES

IMAGE_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".bmp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    )
)
PDF_SUFFIX = ".pdf"
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".cbz", ".cbr", ".lzma")

CHUNK = 1 << 18
_ENTRY = b"PK\x01\x02"
_END = b"PK\x05\x06"
_END_SIZE = 22
_END64_LOCATOR = b"PK\x06\x07"
_END64 = b"PK\x06\x06"
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8_NAME = 0x800


@dataclass(frozen=True)
class Member:
    """A file of an archive that will be used. `name`: as its owner knows it; `parts`: its path, not yet made safe."""

    name: str
    parts: tuple[str, ...]
    size: int
    info: zipfile.ZipInfo

    @property
    def is_pdf(self) -> bool:
        return self.parts[-1].lower().endswith(PDF_SUFFIX)


class Archive:
    """An open archive that passed inspection. `members`: images and PDFs in order of name; `ignored`: other files."""

    def __init__(self, file: zipfile.ZipFile, subject: str, limits: Limits) -> None:
        self._file = file
        self._subject = subject
        self._limits = limits
        self.ignored: list[str] = []
        self.tables: list[Member] = []  # what they say of the images
        self.members: list[Member] = sorted(self._inspect(), key=lambda member: member.parts)

    def _refusal(self, reason: str, remedy: str) -> GuardError:
        return GuardError(self._subject, reason, remedy)

    def _inspect(self) -> Iterator[Member]:
        infos = self._file.infolist()
        self._check_layout(infos)
        seen: set[tuple[str, ...]] = set()
        for info in infos:
            name = _name(info)
            parts = member_parts(name, self._subject)
            self._check_entry(info, name)
            if info.is_dir() or not parts:
                continue
            if parts in seen:
                raise self._refusal(f"the member {name[:80]!r} occurs twice", "pack it again")
            seen.add(parts)
            if hidden(parts):
                continue
            suffix = Path(parts[-1].lower()).suffix
            if suffix in _ARCHIVES:
                raise self._refusal(
                    f"it holds another archive, {name[:80]!r}", "unpack that one and pack the images"
                )
            if suffix in IMAGE_SUFFIXES or suffix == PDF_SUFFIX:
                most = self._limits.document_bytes if suffix == PDF_SUFFIX else self._limits.image_bytes
                if info.file_size > most:
                    raise self._refusal(
                        f"the member {name[:80]!r} has more than {most} bytes", "leave it out"
                    )
                yield Member(name, parts, info.file_size, info)
            elif parts[-1].lower() in TABLE_FILES and info.file_size <= MOST_BYTES:
                self.tables.append(Member(name, parts, info.file_size, info))
            else:
                self.ignored.append(name)

    def _check_layout(self, infos: list[zipfile.ZipInfo]) -> None:
        limits = self._limits
        if len(infos) > limits.archive_members:
            raise self._refusal(f"more than {limits.archive_members} members", "split it")
        packed = sum(info.compress_size for info in infos)
        unpacked = sum(info.file_size for info in infos)
        if unpacked > limits.archive_bytes:
            raise self._refusal(f"more than {limits.archive_bytes} bytes unpacked", "split it")
        if unpacked > limits.archive_small and unpacked > limits.archive_ratio * max(packed, 1):
            raise self._refusal(
                f"it unpacks to more than {limits.archive_ratio:g} times its size", "pack images only"
            )
        # Members that share bytes unpack to far more than the archive holds.
        ordered = sorted(infos, key=lambda info: info.header_offset)
        for info, following in itertools.pairwise(ordered):
            if info.header_offset + _LOCAL_HEADER + info.compress_size > following.header_offset:
                raise self._refusal("its members overlap", "pack it again")

    def _check_entry(self, info: zipfile.ZipInfo, name: str) -> None:
        if info.flag_bits & _ENCRYPTED:
            raise self._refusal(f"the member {name[:80]!r} is encrypted", "pack it again without a password")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind == stat.S_IFLNK:
            raise self._refusal(f"the member {name[:80]!r} is a link", "pack the files themselves")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise self._refusal(
                f"the member {name[:80]!r} is not an ordinary file", "pack ordinary files only"
            )
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._refusal(
                f"the member {name[:80]!r} is packed with method {info.compress_type}",
                "use the usual method, deflate",
            )

    def extract(self, member: Member, target: Path, tick: Callable[[], None]) -> None:
        """Write a member's content to `target`, no byte more than the directory promised; `tick` is called between
        pieces and may raise to stop."""
        label = f"{self._subject}: {member.name}"
        written = 0
        try:
            with self._file.open(member.info) as source, target.open("wb") as sink:
                while piece := source.read(CHUNK):
                    written += len(piece)
                    if written > member.size:
                        raise GuardError(label, "larger than the archive says", "pack it again")
                    sink.write(piece)
                    tick()
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            struct.error,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise GuardError(label, "damaged inside the archive", "pack it again") from error
        if written != member.size:
            raise GuardError(label, "cut short inside the archive", "pack it again")


def _name(info: zipfile.ZipInfo) -> str:
    """The name as its owner typed it. Without the UTF-8 flag `zipfile` reads code page 437; most packers that
    forget the flag write UTF-8 all the same."""
    name = info.orig_filename
    if info.flag_bits & _UTF8_NAME:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


@contextmanager
def open_archive(path: Path, subject: str, limits: Limits) -> Iterator[Archive]:
    """Judge a zip file and open it; `GuardError` naming `subject` where it is refused."""
    with path.open("rb") as stream:
        _check_end(stream, subject, limits)
        try:
            file = zipfile.ZipFile(stream)
        except UnicodeDecodeError as error:
            raise GuardError(subject, "a name in it is not valid UTF-8", "pack it again") from error
        except (
            zipfile.BadZipFile,
            struct.error,
            ValueError,
            OverflowError,
            NotImplementedError,
            OSError,
        ) as error:
            raise GuardError(
                subject, "not a readable zip archive", "pack it again, or send it again"
            ) from error
        with file:
            yield Archive(file, subject, limits)


def _check_end(stream: BinaryIO, subject: str, limits: Limits) -> None:
    """Bound the directory before `zipfile` reads all of it into memory."""
    size = stream.seek(0, 2)
    start = max(0, size - _END_SIZE - 65535)
    stream.seek(start)
    tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_SIZE:
        raise GuardError(subject, "not a zip archive, or cut short", "send it again")
    end = start + at
    (length,) = struct.unpack_from("<I", tail, at + 12)
    if at >= 20 and tail[at - 20 : at - 16] == _END64_LOCATOR:
        (offset,) = struct.unpack_from("<Q", tail, at - 12)
        # An archive behind a prefix (self-extracting) keeps this record right before its locator.
        for place in (offset, start + at - 20 - 56):
            if not 0 <= place <= size - 56:
                continue
            stream.seek(place)
            record = stream.read(56)
            if record[:4] == _END64:
                end = min(end, place)
                length = max(length, struct.unpack_from("<Q", record, 40)[0])
    if length == 0xFFFFFFFF or length > limits.archive_directory_bytes:
        raise GuardError(
            subject, f"its directory has more than {limits.archive_directory_bytes} bytes", "split it"
        )
    # The number of entries that the record states is not what `zipfile` goes by: count them.
    stream.seek(max(0, end - length))
    if stream.read(length).count(_ENTRY) > limits.archive_members:
        raise GuardError(subject, f"more than {limits.archive_members} members", "split it")
    stream.seek(0)
