"""The data directory: rights, atomic renames, locks, space; and the files with keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dti_service import profile
from dti_service.doctor.check import Check
from dti_service.locks import FileLock
from dti_service.settings import Settings

MINIMUM_FREE_GB = 2.0
MINIMUM_FREE_FILES = 50_000  # a few experiments

# Exit code 0 when the lock can be had.
TRY_LOCK = """
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)
"""


def data_directory(settings: Settings) -> Iterator[Check]:
    folder = settings.data_dir
    findings = profile.check_folder(folder)
    for finding in findings:
        yield Check("data directory", False, finding.message, "See docs/operations.md, Security.")
    if any(finding.always for finding in findings):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as scratch:
            problem = rename_problem(Path(scratch)) or lock_problem(Path(scratch))
    except OSError as error:
        problem = str(error)
    if problem or not findings:
        yield Check(
            "data directory",
            not problem,
            problem or f"{folder} (writable, locks and renames work)",
            "Put the data on a file system with atomic renames and file locks (local, NFS 4, CephFS, Lustre with"
            " -o flock), and set DTI_DATA_DIR.",
        )


def rename_problem(folder: Path) -> str:
    """Does a rename replace a file as a whole? The problem, or an empty text."""
    one, two = folder / "one", folder / "two"
    one.write_text("1")
    two.write_text("2")
    os.replace(one, two)
    return "" if two.read_text() == "1" else f"a rename in {folder.parent} did not replace the file"


def lock_problem(folder: Path) -> str:
    """Does a lock keep another process out, and end with its holder? The problem, or an empty text."""
    lock = FileLock(folder / "lock")
    if not lock.acquire():
        return f"no file lock can be had in {folder.parent}"
    attempt = [sys.executable, "-I", "-c", TRY_LOCK, str(lock.path)]
    excluded = subprocess.run(attempt, timeout=60).returncode == 3
    lock.release()
    if not excluded:
        return f"file locks do not keep other processes out in {folder.parent}"
    if subprocess.run(attempt, timeout=60).returncode != 0:
        return f"a file lock that was released is still held in {folder.parent}"
    return ""


def space(settings: Settings) -> Iterator[Check]:
    places = (settings.data_dir, *settings.data_dir.parents)
    folder = next(place for place in places if place.exists())
    free = shutil.disk_usage(folder).free / 1e9
    yield Check(
        "disk space",
        free >= MINIMUM_FREE_GB,
        f"{free:.1f} GB free",
        "Make room (dti cleanup --older-than 30d), or move DTI_DATA_DIR to a larger disk.",
    )
    found = os.statvfs(folder)
    if found.f_files:  # some file systems have no fixed number
        yield Check(
            "files",
            found.f_favail >= MINIMUM_FREE_FILES,
            f"{found.f_favail} more files possible",
            "The file system runs out of inodes: dti cleanup --older-than 30d, or another file system.",
        )
    temporary = Path(tempfile.gettempdir())
    free = shutil.disk_usage(temporary).free / 1e9
    yield Check(
        "temporary files",
        free >= 0.5,
        f"{free:.1f} GB free in {temporary}",
        "Make room there, or set TMPDIR.",
    )


def keys(_: Settings) -> Iterator[Check]:
    """Of the files with tokens and keys that the environment names."""
    for path in profile.secret_files(os.environ):
        findings = profile.check_secret_file(path)
        exists = path.exists()
        found = findings[0].message if findings else f"{path}" if exists else f"{path} does not exist"
        remedy = (
            f"chmod 600 {path}" if findings else "Make it, or correct JUPYTER_TOKEN_FILE or DTI_SECRET_FILES."
        )
        yield Check("key file", exists and not findings, found, remedy)
