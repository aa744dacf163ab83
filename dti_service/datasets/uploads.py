"""Files that were sent, kept under the hash of their content until a dataset takes them.

Each owner has a folder of their own: knowing the hash of somebody else's file gives no access to it.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from pathlib import Path

from dti_service.datasets.files import sha256_of
from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.limits import Limits
from dti_service.datasets.request import Document
from dti_service.errors import Conflict, TooLarge
from dti_service.locks import FileLock


class Uploads:
    """The uploads of one owner, below `folder`."""

    def __init__(self, folder: Path, owner: str, limits: Limits) -> None:
        self.folder = folder / hashlib.sha256(owner.encode("utf-8", errors="replace")).hexdigest()[:16]
        self.limits = limits

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def _part(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.part"

    def received(self, sha256: str) -> tuple[int, bool]:
        """Bytes that are here of the file with this hash, and whether that is all of it."""
        for path, complete in ((self.path(sha256), True), (self._part(sha256), False)):
            try:
                return path.stat().st_size, complete
            except FileNotFoundError:
                continue
        return 0, False

    def receive(self) -> Receiver:
        """Somewhere to write a file whose hash is not known yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        check_room(self.folder, self.limits)
        return Receiver(self, self.folder / f"{uuid.uuid4().hex}.new")

    def resume(self, sha256: str, offset: int) -> Appender:
        """Somewhere to write the bytes of a file from `offset` on; `Conflict` when another number is here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        check_room(self.folder, self.limits)
        return Appender(self, sha256, offset)

    def missing(self, documents: tuple[Document, ...]) -> list[str]:
        """Names of files of these documents that are not here."""
        return [file.name for d in documents for file in d.files if not self.path(file.sha256).exists()]

    def discard(self, documents: tuple[Document, ...]) -> None:
        """Delete the files of these documents: they were refused, or the dataset has them now."""
        for document in documents:
            for file in document.files:
                self.path(file.sha256).unlink(missing_ok=True)
                self._part(file.sha256).unlink(missing_ok=True)
        try:
            self.folder.rmdir()
            self.folder.parent.rmdir()
        except OSError:
            pass  # others are still there


class Receiver:
    """Writes one upload to disk as it arrives. Ends with `keep` or `drop`."""

    def __init__(self, uploads: Uploads, path: Path) -> None:
        self._uploads = uploads
        self._path = path
        self._stream = path.open("xb")
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._uploads.limits.document_bytes:
            raise TooLarge(f"A file may have at most {self._uploads.limits.document_bytes} bytes")
        self._stream.write(data)
        self._digest.update(data)

    def keep(self) -> str:
        """Make it findable under its hash, which is returned."""
        self._stream.close()
        sha256 = self._digest.hexdigest()
        self._path.replace(self._uploads.path(sha256))
        return sha256

    def drop(self) -> None:
        self._stream.close()
        self._path.unlink(missing_ok=True)


class Appender:
    """Continues an upload that broke off. One client at a time; ends with `close`."""

    def __init__(self, uploads: Uploads, sha256: str, offset: int) -> None:
        self._uploads = uploads
        self._sha256 = sha256
        self._path = uploads._part(sha256)
        self._lock = FileLock(self._path.with_suffix(".lock"))
        if not self._lock.acquire():
            raise Conflict("Somebody is sending this very file at the moment")
        here, complete = uploads.received(sha256)
        if complete or here != offset:
            self._unlock()
            raise Conflict(f"{here} bytes of this file are here; continue from there")
        self._stream = self._path.open("ab")
        self.size = offset

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._uploads.limits.document_bytes:
            raise TooLarge(f"A file may have at most {self._uploads.limits.document_bytes} bytes")
        self._stream.write(data)

    def _unlock(self) -> None:
        self._lock.path.unlink(missing_ok=True)
        self._lock.release()

    def close(self, *, complete: bool) -> bool:
        """Whether all of the file is here now. `complete`: the client says that this was the last piece; then the
        hash must be right, and what came is deleted when it is not."""
        self._stream.close()
        try:
            if not complete:
                return False
            if sha256_of(self._path) != self._sha256:
                self._path.unlink(missing_ok=True)
                raise GuardError(
                    self._sha256, "the content has another hash", "send the file again from the start"
                )
            self._path.replace(self._uploads.path(self._sha256))
            return True
        finally:
            self._unlock()


def check_room(folder: Path, limits: Limits) -> None:
    """`GuardError` when the disk is nearly full."""
    if shutil.disk_usage(folder).free < limits.reserve_bytes:
        raise GuardError("the disk", "it is nearly full", "delete experiments or datasets")


def collect(folder: Path, max_age_s: float, *, now: float | None = None) -> int:
    """Delete uploads of all owners that no dataset took within `max_age_s` seconds; returns the bytes freed."""
    freed = 0
    moment = time.time() if now is None else now
    for path in folder.glob("*/*"):
        try:
            status = path.stat()
            if moment - status.st_mtime > max_age_s:
                path.unlink()
                freed += status.st_size
        except FileNotFoundError:
            continue
    return freed
