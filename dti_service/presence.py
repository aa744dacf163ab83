"""Which servers and workers are at work on a data directory: each holds the lock of a file that describes it.

The lock is the proof of life, as it is for experiments: it ends with its process, however that ends. `dti doctor`
compares the versions, and a container's health check asks whether its own worker is there:

    python -m dti_service.presence worker
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dti_service import __version__, atomic
from dti_service.experiment import timestamp
from dti_service.locks import FileLock, is_locked
from dti_service.settings import Settings

FOLDER = "processes"


@dataclass(frozen=True)
class Process:
    """A server or worker; `url`: where a server listens; `devices`: what a worker serves."""

    kind: str  # server or worker
    host: str
    pid: int
    version: str
    started_at: str
    url: str = ""
    devices: str = ""


@contextlib.contextmanager
def announced(data_dir: Path, kind: str, *, url: str = "", devices: str = "") -> Iterator[None]:
    """Be present during the block. A data directory where this cannot be written is no reason not to work."""
    me = Process(kind, socket.gethostname(), os.getpid(), __version__, timestamp(), url, devices)
    lock = FileLock(
        data_dir / FOLDER / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', f'{kind}-{me.host}-{me.pid}')}.json"
    )
    with contextlib.suppress(OSError):
        lock.path.parent.mkdir(parents=True, exist_ok=True)
        if lock.acquire():
            os.ftruncate(lock.handle, 0)
            os.pwrite(lock.handle, json.dumps(asdict(me)).encode() + b"\n", 0)
    try:
        yield
    finally:
        if lock.held:
            with contextlib.suppress(OSError):
                lock.path.unlink(missing_ok=True)
            lock.release()


def present(data_dir: Path) -> list[Process]:
    """Everybody who is at work, by kind, host and process id; what the dead of this machine left is removed."""
    found = []
    for path in sorted((data_dir / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            process = _read(path)
            if is_locked(path):
                found.append(process)
            elif process.host == socket.gethostname():
                path.unlink(missing_ok=True)
    return found


def _read(path: Path) -> Process:
    """Fields of later versions are left out. Raises OSError, ValueError, TypeError."""
    values = atomic.read_json(path)
    return Process(**{field.name: values[field.name] for field in fields(Process) if field.name in values})


def main(arguments: list[str]) -> int:
    """Exit code 0 when a process of this kind is at work on this machine, else 1."""
    kind = arguments[0] if arguments else "worker"
    here = [item for item in present(Settings.from_env().data_dir) if item.host == socket.gethostname()]
    if not any(item.kind == kind for item in here):
        print(f"No {kind} is at work on {socket.gethostname()}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
