"""Where readings are kept: `curations/<name>.json` in the experiment's directory, one version at a time."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dti_service import atomic
from dti_service.curations.documents import check_document
from dti_service.errors import Conflict, InvalidRequest, NotFound, ServiceError
from dti_service.experiment import timestamp
from dti_service.locks import FileLock

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
RAW = "raw"  # the result as the run left it; a name that no reading can take
MOST_READINGS = 500
LOCK_S = 10.0
# What a list tells of each reading.
SHOWN = (
    "title",
    "author",
    "note",
    "copied_from",
    "created_at",
    "updated_at",
    "saved_at",
    "saved_by",
)


class PreconditionFailed(ServiceError):
    """The reading is not in the version that the client meant to replace."""

    status = 412


@dataclass(frozen=True)
class Version:
    """A stored document and the ETag that names this version of it."""

    content: bytes
    etag: str

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.content))


def etag_of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def listed_in(header: str, etag: str | None) -> bool:
    """Whether an `If-Match` or `If-None-Match` header names this version; `*` names any that exists."""
    if etag is None:
        return False
    names = [name.strip() for name in header.split(",")]
    return "*" in names or etag in names


class Curations:
    """The readings of one experiment, in its `directory`."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "curations"

    def path(self, name: str) -> Path:
        """`NotFound` for a text that is no name, so that no path can be smuggled in."""
        if not NAME.fullmatch(name) or name == RAW:
            raise NotFound(f"There is no reading {name[:80]}")
        return self.folder / f"{name}.json"

    def all(self) -> list[dict[str, Any]]:
        """Name, title, author, times and size of every reading, the one that was begun first in front."""
        found = []
        for path in self.folder.glob("*.json"):
            if not NAME.fullmatch(path.stem):
                continue
            try:
                content = path.read_bytes()
                document = json.loads(content)
            except (OSError, ValueError):
                continue  # deleted meanwhile, or put there by somebody else
            if isinstance(document, dict):
                facts = {key: document.get(key) for key in SHOWN}
                found.append({"name": path.stem, **facts, "etag": etag_of(content), "bytes": len(content)})
        return sorted(found, key=lambda item: (str(item["created_at"] or ""), item["name"]))

    def read(self, name: str) -> Version:
        """The stored version. Raises `NotFound`."""
        try:
            content = self.path(name).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"There is no reading {name}") from None
        return Version(content, etag_of(content))

    def write(
        self,
        name: str,
        document: dict[str, Any],
        *,
        if_match: str | None = None,
        if_none_match: str | None = None,
        by: str = "",
        check: Callable[[dict[str, Any]], None] = check_document,
    ) -> tuple[Version, bool]:
        """Store a document; returns it as stored, and whether it is a new one.

        `if_match` and `if_none_match` are the headers of these names. Raises `PreconditionFailed` when the stored
        version is another one, `InvalidRequest` with every problem of the document, `Conflict`, OSError.
        """
        if name == RAW or not NAME.fullmatch(name):
            reason = "must be letters, digits, - and _, at most 64, and not raw"
            raise InvalidRequest("This name cannot be used", [{"field": "name", "reason": reason}])
        check(document)
        stamped = {**document, "saved_by": by, "saved_at": timestamp()}
        content = (json.dumps(stamped, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        path = self.path(name)
        with self._locked():
            stored = path.read_bytes() if path.exists() else None
            version = etag_of(stored) if stored is not None else None
            if if_match is not None and not listed_in(if_match, version):
                raise PreconditionFailed("This reading was changed meanwhile: read it again before saving")
            if if_none_match is not None and listed_in(if_none_match, version):
                raise PreconditionFailed("There is a reading of this name already")
            if stored is not None and if_match is None and if_none_match is None:
                # Without either, two people would overwrite each other without a word.
                raise PreconditionFailed("Send If-Match with the ETag of the version that is to be replaced")
            if stored is None and sum(1 for _ in self.folder.glob("*.json")) >= MOST_READINGS:
                raise Conflict(f"An experiment may have at most {MOST_READINGS} readings: delete some first")
            atomic.write_bytes(path, content)
        return Version(content, etag_of(content)), stored is None

    def delete(self, name: str, *, if_match: str | None = None) -> None:
        """Raises `NotFound`, and `PreconditionFailed` when another version than `if_match` is stored."""
        path = self.path(name)
        if not path.exists():
            raise NotFound(f"There is no reading {name}")
        with self._locked():
            if if_match is not None and not listed_in(if_match, self.read(name).etag):
                raise PreconditionFailed("This reading was changed meanwhile")
            path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(exist_ok=True)  # not its parents: a deleted experiment must not come back
        lock = FileLock(self.folder / ".lock")
        if not lock.wait(LOCK_S):
            raise Conflict("Somebody is saving at this very moment: try again")
        try:
            yield
        finally:
            lock.release()
