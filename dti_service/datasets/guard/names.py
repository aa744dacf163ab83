"""File names from outside, made safe to write and kept apart from each other."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePosixPath

from dti_service.datasets.guard.errors import GuardError

NAME_BYTES = 120  # well below the 255 of common file systems, so that suffixes still fit
PATH_PARTS = 32

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DRIVE = re.compile(r"^[A-Za-z]:/")
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])$", re.IGNORECASE)


def _cut(text: str, size: int) -> str:
    return text.encode("utf-8")[:size].decode("utf-8", errors="ignore")


def safe_name(original: str, fallback: str = "file") -> str:
    """One path component that every file system takes: no separators, controls, marks of direction, hidden or
    reserved names; at most 120 bytes, a shortened one ending in a hash of the whole. Letters of any script stay.
    """
    text = original.encode("utf-8", errors="replace").decode("utf-8")
    text = unicodedata.normalize("NFC", text)
    text = "".join(
        " " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c)[0] != "C"
    )
    text = _FORBIDDEN.sub("_", text).strip(" ")
    text = re.sub(r"^\.+", "_", text).rstrip(". ") or fallback
    stem, dot, suffix = text.rpartition(".")
    if not dot or len(suffix.encode("utf-8")) > 10:
        stem, dot, suffix = text, "", ""
    if _RESERVED.match(stem.split(".")[0]):
        stem = "_" + stem
    if len((stem + dot + suffix).encode("utf-8")) > NAME_BYTES:
        digest = hashlib.sha256(original.encode("utf-8", errors="replace")).hexdigest()[:8]
        room = NAME_BYTES - len((dot + suffix).encode("utf-8")) - 9
        stem = f"{_cut(stem, room).rstrip('. ')}-{digest}"
    return stem + dot + suffix


def member_parts(name: str, subject: str) -> tuple[str, ...]:
    """The components of a relative path with / or \\; a `GuardError` about `subject` when it leads elsewhere."""
    remedy = "pack it again with relative names inside one folder"
    if "\0" in name:
        raise GuardError(subject, "a member's name holds a NUL character", remedy)
    path = name.replace("\\", "/")
    if path.startswith("/") or _DRIVE.match(path):
        raise GuardError(subject, f"the member {name[:80]!r} has an absolute name", remedy)
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts:
        raise GuardError(subject, f"the member {name[:80]!r} leads out of the archive", remedy)
    if len(parts) > PATH_PARTS:
        raise GuardError(
            subject, f"the member {name[:80]!r} is nested in more than {PATH_PARTS} folders", remedy
        )
    return parts


def hidden(parts: tuple[str, ...]) -> bool:
    """Whether a file is one that operating systems leave behind, or hidden on purpose."""
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1].lower() in (
        "thumbs.db",
        "desktop.ini",
    )


def _key(path: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


class UniqueNames:
    """Hands out relative paths that differ even where case and Unicode forms do not count."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._last: dict[str, int] = {}

    def take(self, *parts: str) -> PurePosixPath:
        """A safe path for these components, one of them renamed `name-2`, `name-3` ... where it is taken."""
        path = PurePosixPath()
        for part in parts[:-1]:
            path = self._free(path / safe_name(part, "folder"), self._files)
            self._folders.add(_key(str(path)))
        path = self._free(path / safe_name(parts[-1]), self._files, self._folders)
        self._files.add(_key(str(path)))
        return path

    def _free(self, wanted: PurePosixPath, *taken: set[str]) -> PurePosixPath:
        candidate, key = wanted, _key(str(wanted))
        while any(_key(str(candidate)) in names for names in taken):
            self._last[key] = self._last.get(key, 1) + 1
            candidate = wanted.with_name(f"{wanted.stem}-{self._last[key]}{wanted.suffix}")
        return candidate


def document_uid(text: str) -> str:
    """The name under which fronts look a document up; both sides make it by the same rule from `uid` or `src`."""
    text = re.sub(r"^https?://", "", text.strip())
    text = re.sub(r"www\.|[.:%\s]", "", text)
    return text.replace("/", "^")
