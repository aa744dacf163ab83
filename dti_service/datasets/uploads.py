"""Files that were sent, kept under the hash of their content until a dataset takes them.

Each owner has a folder of their own: knowing the hash of somebody else's file gives no access to it.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from pathlib import Path

from dti_service.datasets.files import link_or_copy, sha256_of
from dti_service.datasets.guard.errors import GuardError, shown
from dti_service.datasets.guard.limits import Limits
from dti_service.datasets.guard.sniff import sniff
from dti_service.datasets.request import Document, Upload, upload_document
from dti_service.errors import BadRequest, Conflict, TooLarge
from dti_service.locks import FileLock

NAME_LENGTH_SENT = 1000  # characters, folders included


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

    def receive(self, folder: Path | None = None) -> Receiver:
        """Somewhere to write a file whose hash is not known yet; it is kept in `folder`, by default here."""
        folder = folder or self.folder
        folder.mkdir(parents=True, exist_ok=True)
        check_room(folder, self.limits)
        return Receiver(folder, self.limits)

    def resume(self, sha256: str, offset: int) -> Appender:
        """Somewhere to write the bytes of a file from `offset` on; `Conflict` when another number is here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        check_room(self.folder, self.limits)
        return Appender(self, sha256, offset)

    def give(self, documents: tuple[Document, ...], target: Path, extra: Path | None = None) -> list[str]:
        """Have the files of these documents in the folder `target` too; returns the names of those that are not
        here. `extra`: another folder to look in first."""
        missing = []
        for file in (file for document in documents for file in document.files):
            target.mkdir(exist_ok=True)
            places = (
                [self.path(file.sha256)] if extra is None else [extra / file.sha256, self.path(file.sha256)]
            )
            source = next((place for place in places if place.exists()), None)
            if source is None:
                missing.append(file.name)
            elif not (target / file.sha256).exists():
                link_or_copy(source, target / file.sha256)
        return missing

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

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._most = limits.document_bytes
        self._path = folder / f"{uuid.uuid4().hex}.new"
        self._stream = self._path.open("xb")
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._most:
            raise TooLarge(f"A file may have at most {self._most} bytes")
        self._stream.write(data)
        self._digest.update(data)

    def keep(self) -> str:
        """Make it findable under its hash, which is returned."""
        self._stream.close()
        sha256 = self._digest.hexdigest()
        self._path.replace(self._folder / sha256)
        return sha256

    def drop(self) -> None:
        self._stream.close()
        self._path.unlink(missing_ok=True)


class Field:
    """Keeps a short value of a form."""

    def __init__(self, name: str, fields: dict[str, str], most: int) -> None:
        self._name, self._fields, self._most = name, fields, most
        self._value = b""

    def write(self, data: bytes) -> None:
        self._value += data
        if len(self._value) > self._most:
            raise TooLarge(f"The field {self._name} may have at most {self._most} bytes")

    def close(self) -> None:
        try:
            self._fields[self._name] = self._value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"The field {self._name} is not UTF-8") from error


class FilePart:
    """One file of a form on its way to disk."""

    def __init__(self, name: str, batch: Batch) -> None:
        self._name, self._batch = name, batch
        self.receiver = batch.uploads.receive(batch.folder)

    def write(self, data: bytes) -> None:
        self.receiver.write(data)

    def close(self) -> None:
        self._batch.files.append(Upload(self._name, self.receiver.keep()))


class Batch:
    """The files and fields of one form. A dataset takes `documents`, whose files are in `folder`; `drop` at the end."""

    def __init__(self, uploads: Uploads, known: tuple[str, ...]) -> None:
        self.uploads = uploads
        self.folder = uploads.folder / f"form-{uuid.uuid4().hex}"
        self.fields: dict[str, str] = {}
        self.files: list[Upload] = []
        self._known = known
        self._current: FilePart | None = None

    def open_part(self, name: str, filename: str | None) -> Field | FilePart:
        """Where the content of a part goes: parts with a file name are files, whatever the field is called."""
        if filename is None:
            if name not in self._known:
                known = ", ".join(self._known)
                raise BadRequest(f"Unknown field {shown(name)}; known are {known}, and files")
            return Field(name, self.fields, self.uploads.limits.json_bytes)
        if not 0 < len(filename) <= NAME_LENGTH_SENT:
            raise BadRequest(f"A file needs a name of 1 to {NAME_LENGTH_SENT} characters")
        self._current = FilePart(filename, self)
        return self._current

    def documents(self) -> tuple[Document, ...]:
        """The files as documents: each archive and each PDF is one, all single images together are one."""
        single = [file for file in self.files if sniff(self.folder / file.sha256) not in ("zip", "pdf")]
        others = [file for file in self.files if file not in single]
        images = (upload_document(tuple(single), "upload"),) if single else ()
        return (*images, *(upload_document((file,)) for file in others))

    def drop(self) -> None:
        """Delete the form's files; those that a dataset took are its own."""
        if self._current is not None:
            self._current.receiver.drop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.uploads.discard(())


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
    for path in folder.rglob("*"):
        try:
            status = path.stat()
            if path.is_file() and moment - status.st_mtime > max_age_s:
                path.unlink()
                freed += status.st_size
        except FileNotFoundError:
            continue
    return freed
