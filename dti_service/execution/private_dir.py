"""A short, private folder for Unix sockets: their paths are limited to about 100 characters."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

LONGEST_SOCKET_PATH = 100  # 108 bytes on Linux, 104 on macOS, with the ending that the kernel's client adds


class NoPrivateDirectory(OSError):
    """There is no folder in which sockets can be made; the message says what to do."""


def make_private_dir(name: str) -> Path:
    """A new, empty folder of this name that only this user can enter; one left by an earlier run is replaced."""
    folder = _base() / hashlib.sha256(name.encode()).hexdigest()[:16]
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    return folder


@contextlib.contextmanager
def private_dir(name: str) -> Iterator[Path]:
    """A private folder for the time of the block."""
    folder = make_private_dir(name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _base() -> Path:
    candidates = [tempfile.gettempdir(), "/tmp", os.environ.get("XDG_RUNTIME_DIR", "")]
    for candidate in candidates:
        folder = Path(candidate) / f"dti-{os.getuid()}"
        if not candidate or len(str(folder)) > LONGEST_SOCKET_PATH - 30:
            continue
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            state = folder.lstat()
            # Somebody else may have put a folder, or a link, of that name there first.
            mine = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077
            if mine and os.access(folder, os.W_OK | os.X_OK):
                return folder
    raise NoPrivateDirectory(
        "no private folder for sockets can be made: set TMPDIR to a short path that is yours"
    )
