"""A whole experiment as one file: `pack` to take it elsewhere, `take_in` to put it into a data directory.

The file is a zip of the experiment's directory below a folder named by its id, without working files and what is made
again when it is needed. What comes in is as untrusted as any upload: names, sizes and the record are checked, and it
appears as a whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from dti_service import archive, atomic
from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.limits import Limits
from dti_service.datasets.guard.names import hidden, member_parts
from dti_service.errors import Conflict, InvalidRequest, Unavailable
from dti_service.experiment import Experiment
from dti_service.ids import is_id
from dti_service.store import RECORD, REPORT, RUNNER, STOP, Store

CHUNK = 1 << 18
LARGEST_RECORD = 16 * 2**20
WORKING = frozenset({RUNNER, STOP, REPORT})
MADE_AGAIN = frozenset({"thumbnails", "fits"})
PACK_AGAIN = "write it again with `dti export ID --whole`"


def whole(store: Store, id: str) -> archive.Archive:
    """The zip of an experiment that has ended. Raises ExperimentNotFound, Conflict."""
    experiment = store.get(id)
    if not experiment.ended:
        raise Conflict(f"Experiment {id} is {experiment.state}: it can be taken away when it has ended")

    def name(path: str) -> str | None:
        left_out = path in WORKING or path.split("/", 1)[0] in MADE_AGAIN
        return None if left_out else f"{id}/{path}"

    return archive.Archive(archive.members(store.directory(id), name), exact=True)


def take_in(store: Store, file: Path) -> Experiment:
    """Put the experiment in `file` into the store under its own id.

    Raises InvalidRequest for what is no such file or cannot be trusted, Conflict when the experiment is here already,
    Unavailable when the disk has no room.
    """
    try:
        with zipfile.ZipFile(file) as zipped:
            return _take_in(store, zipped, file.name)
    except FileNotFoundError:
        raise InvalidRequest(f"There is no file {file}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise GuardError(file.name, f"it is not a whole zip file ({error})", PACK_AGAIN) from None
    except OSError as error:
        raise InvalidRequest(f"{file.name} cannot be taken in: {error.strerror or error}") from None


def _take_in(store: Store, zipped: zipfile.ZipFile, subject: str) -> Experiment:
    limits = Limits()
    members = _members(zipped, subject, limits)
    record = _record(zipped, members, subject)
    total = sum(info.file_size for info in members.values())
    if total + limits.reserve_bytes > shutil.disk_usage(store.root).free:
        raise Unavailable(f"The data disk has no room for the {total >> 20} MB of this experiment")
    target = store.root / record.id
    if target.exists():
        raise Conflict(f"Experiment {record.id} is here already")
    staging = store.root / f"{atomic.TEMPORARY_PREFIX}{record.id}"
    try:
        staging.mkdir()
    except FileExistsError:
        raise Conflict(f"Experiment {record.id} is being taken in already") from None
    try:
        for path, info in members.items():
            _unpack(zipped, info, staging / path, subject)
        # Who was to be told has been; and a request of another machine is not repeated by its key here.
        ours = dataclasses.replace(record, notify_url=[], idempotency_key=None, request_digest=None)
        atomic.write_json(staging / RECORD, ours.to_dict())
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    atomic.sync_folder(store.root)
    store.index.update(record.id)
    return store.get(record.id)


def _members(zipped: zipfile.ZipFile, subject: str, limits: Limits) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of an experiment's directory by their path in it; nothing that leads out of it. Raises GuardError."""
    infos = zipped.infolist()
    if len(infos) > 10 * limits.archive_members:
        raise GuardError(subject, "it holds too many files", PACK_AGAIN)
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    total = 0
    for info in infos:
        parts = member_parts(info.filename, subject)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise GuardError(subject, f"the member {info.filename[:80]!r} is a link or a device", PACK_AGAIN)
        if info.flag_bits & 0x1:
            raise GuardError(subject, "it is encrypted", "decrypt it first")
        if info.is_dir() or not parts:
            continue
        folders.add(parts[0])
        path = PurePosixPath(*parts[1:])
        total += info.file_size
        if not parts[1:] or path in found:
            raise GuardError(subject, f"the member {info.filename[:80]!r} is out of place", PACK_AGAIN)
        if not hidden(parts[1:]) and path.as_posix() not in WORKING:
            found[path] = info
    if total > limits.archive_bytes:
        raise GuardError(subject, f"it unpacks to more than {limits.archive_bytes} bytes", PACK_AGAIN)
    if len(folders) != 1 or not is_id(*folders) or PurePosixPath(RECORD) not in found:
        raise GuardError(subject, "it does not hold an experiment", PACK_AGAIN)
    return found


def _record(
    zipped: zipfile.ZipFile, members: dict[PurePosixPath, zipfile.ZipInfo], subject: str
) -> Experiment:
    info = members[PurePosixPath(RECORD)]
    if info.file_size > LARGEST_RECORD:
        raise GuardError(subject, "its record is too large", PACK_AGAIN)
    try:
        record = Experiment.from_dict(json.loads(zipped.read(info)))
    except (ValueError, RecursionError) as error:
        raise GuardError(subject, f"its record cannot be read: {error}", PACK_AGAIN) from None
    if record.id != info.filename.split("/")[0]:
        raise GuardError(subject, f"its record is of another experiment, {record.id[:64]}", PACK_AGAIN)
    if not record.ended:
        raise GuardError(subject, f"its experiment was {record.state}", "export it when it has ended")
    return record


def _unpack(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, subject: str) -> None:
    """Write one member; what is longer than it said is refused before it fills the disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        left = info.file_size
        with zipped.open(info) as stream, path.open("xb") as file:
            while chunk := stream.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise GuardError(subject, f"{info.filename[:80]!r} is longer than it says", PACK_AGAIN)
                file.write(chunk)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        # Names that this file system takes for one, or a file where others need a folder.
        raise GuardError(subject, f"the member {info.filename[:80]!r} is out of place", PACK_AGAIN) from None
