"""One run's processes that stand ready, so that the next run begins at once. Off unless it is asked for.

    pool = WarmPool(settings)
    pool.maintain()                              # now and then
    process = pool.spawn(id, device)             # as `supervisor.spawn`: ready if one is, else started now
    pool.close()

What stands ready is a whole tree (supervisor, executor with papermill imported, kernel with PyTorch loaded). It is
handed over once, to one run, and never used again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import subprocess
import time
from collections.abc import Sequence

from dti_service.execution.processes import available_memory
from dti_service.execution.standby import READY
from dti_service.execution.supervisor import spawn, spawn_standby
from dti_service.settings import Settings

log = logging.getLogger(__name__)

LIBRARIES = ("numpy", "PIL.Image", "torch", "torchvision", "dti_sprites.api", "dti_service.run")
NEEDED_BYTES = (
    3 * 2**30
)  # available memory to start one: it takes about 0.7 GB itself, and runs need the rest
LEAST_BYTES = 3 * 2**29  # below this it is given up for the sake of the runs
LONGEST_WAIT_S = 6 * 3600.0  # an older one may no longer be what is installed
MOST_FAILURES = 3


class WarmPool:
    """Keeps at most one tree ready. Not thread-safe."""

    def __init__(
        self,
        settings: Settings,
        *,
        enabled: bool = True,
        libraries: Sequence[str] = LIBRARIES,
        options: Sequence[str] = (),
    ) -> None:
        self.settings = settings
        self.enabled = enabled
        self._libraries = libraries
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: socket.socket | None = None
        self._ready = False
        self._started_at = 0.0
        self._failures = 0

    @property
    def ready(self) -> bool:
        """Could a run begin at once?"""
        self._listen()
        return self._ready and self._process is not None and self._process.poll() is None

    def maintain(self) -> None:
        """Start one if there is none and memory allows; give it up if memory runs short, or it is old."""
        if self._process is not None and self._process.poll() is not None:
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                log.warning("Kernels cannot be kept ready: the last ones ended by themselves")
                self.enabled = False
            self.close()
        memory = available_memory()
        if self._process is not None:
            short = memory is not None and memory < LEAST_BYTES
            if short or time.monotonic() - self._started_at > LONGEST_WAIT_S:
                self.close()
        elif self.enabled and (memory is None or memory >= NEEDED_BYTES):
            with contextlib.suppress(OSError):
                self._process, self._leash = spawn_standby(
                    self.settings, self._libraries, options=self._options
                )
                self._leash.setblocking(False)
                self._started_at = time.monotonic()

    def _listen(self) -> None:
        if self._leash is not None and not self._ready:
            with contextlib.suppress(BlockingIOError, OSError):
                self._ready = self._leash.recv(len(READY)) == READY
                self._failures = 0 if self._ready else self._failures

    def spawn(self, id: str, device: str, *, keep_open: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        """A supervisor for a queued experiment, on the terms of `supervisor.spawn`. Raises OSError."""
        if self.ready and self._process is not None and self._leash is not None:
            process, leash = self._process, self._leash
            self._process, self._leash, self._ready = None, None, False
            leash.setblocking(True)
            order = json.dumps({"id": id, "device": device}).encode() + b"\n"
            try:
                socket.send_fds(leash, [order], list(keep_open))
            except OSError:  # it ended just now
                leash.close()
                process.wait()
            else:
                process.stdin = leash.makefile("wb")
                leash.close()  # the file holds it open
                return process
        return spawn(self.settings, id, device, keep_open=keep_open, options=self._options)

    def close(self) -> None:
        """Give up what stands ready."""
        if self._leash is not None:
            self._leash.close()  # it takes the end of its input as the end of its wait
        if self._process is not None:
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process, self._leash, self._ready = None, None, False
