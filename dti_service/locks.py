"""File locks as proof of life: the kernel releases a lock when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path


class FileLock:
    """An exclusive lock on a file; held until `release` or the end of the process.

    Programs that the holder starts do not inherit it, unless they are given its `handle`. Works between processes of
    one machine, and between machines on file systems that implement flock (NFS does since Linux 2.6.12).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        return self._handle is not None

    @property
    def handle(self) -> int:
        """The open file; a process that inherits it shares the lock, which lasts until both have let go."""
        if self._handle is None:
            raise ValueError(f"{self.path} is not locked by this process")
        return self._handle

    def acquire(self) -> bool:
        """Take the lock if nobody holds it. Raises FileNotFoundError when its folder is gone."""
        if self.held:
            return True
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever deletes an experiment holds its lock: a lock on a deleted file protects nothing.
            fresh = os.fstat(handle).st_ino == os.stat(self.path).st_ino
        except (BlockingIOError, FileNotFoundError):
            os.close(handle)
            return False
        if not fresh:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def wait(self, timeout_s: float) -> bool:
        """Take the lock, waiting for at most `timeout_s`."""
        end = time.monotonic() + timeout_s
        while not self.acquire():
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextlib.contextmanager
def try_lock(path: Path, timeout_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock during the block if it can be had within `timeout_s`; the value says whether."""
    lock = FileLock(path)
    try:
        yield lock.wait(timeout_s)
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Does somebody hold this lock now? A missing file is not locked."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who only look are not in each other's way.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
