"""Small tools for files that other processes read or want at the same time."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dti_service import atomic
from dti_service.datasets.guard.errors import PreparationStopped
from dti_service.locks import FileLock

CHUNK = 1 << 20


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    """Replace a JSON file as a whole, without spaces: these files may hold a hundred thousand entries."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    atomic.write_bytes(path, text.encode("utf-8"), sync=sync)


def read_json(path: Path) -> Any:
    """The value of a file of ours; None when there is none, or a crash left it empty."""
    try:
        return atomic.read_json(path)
    except (OSError, ValueError):
        return None


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that is never changed in place; a copy where the file system has no links."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def exclusive(
    path: Path, should_stop: Callable[[], bool] = lambda: False, poll_s: float = 0.1
) -> Iterator[None]:
    """Hold the lock file `path`, waiting for it; `PreparationStopped` when told to stop meanwhile. The file does
    not stay behind: whoever waits for one that was removed takes the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    while not lock.acquire():
        if should_stop():
            raise PreparationStopped
        time.sleep(poll_s)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
