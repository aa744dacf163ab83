"""What can wake the supervisor: signals, the end of its standard input, the end of a child, or the clock."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import stat
import sys
from types import TracebackType

POLL_S = 0.2  # where the system cannot tell of a child's end


class Inputs:
    """Waits for several things at once.

    `stops` counts how often this process was asked to stop; `orders` are objects that the starter sent, one a line of
    JSON, to a supervisor that stands by.
    """

    def __init__(self) -> None:
        self.stops = 0
        self.orders: list[dict[str, str]] = []
        self._line = b""
        self._held: list[int] = []
        self._selector = selectors.DefaultSelector()
        self._wakeup: tuple[int, int] | None = None
        self._child: int | None = None

    def __enter__(self) -> Inputs:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._wakeup = (reading, writing)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._selector.register(reading, selectors.EVENT_READ)
        if self._leashed():
            self._selector.register(0, selectors.EVENT_READ)
        return self

    @staticmethod
    def _leashed() -> bool:
        """Is standard input a pipe from whoever started us? By hand it is a terminal or nothing."""
        try:
            mode = os.fstat(0).st_mode
        except OSError:
            return False
        return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)

    def _on_signal(self, number: int, frame: object) -> None:
        self.stops += 1

    def watch_child(self, pid: int) -> None:
        """Wake up as soon as this child ends."""
        if sys.platform.startswith("linux"):
            with contextlib.suppress(OSError):
                self._child = os.pidfd_open(pid)
                self._selector.register(self._child, selectors.EVENT_READ)

    def forget_child(self) -> None:
        if self._child is not None:
            self._selector.unregister(self._child)
            os.close(self._child)
            self._child = None

    def wait(self, timeout_s: float) -> None:
        """Sleep until something happens, at most `timeout_s`."""
        if self._child is None:
            timeout_s = min(timeout_s, POLL_S)
        for key, _ in self._selector.select(max(0.0, timeout_s)):
            if key.fd == 0:
                self._read_leash()
            elif self._wakeup is not None and key.fd == self._wakeup[0]:
                with contextlib.suppress(BlockingIOError):
                    os.read(key.fd, 4096)

    def _read_leash(self) -> None:
        data = self._receive()
        if not data:
            self.stops += 1
            self._selector.unregister(0)
        *lines, self._line = (self._line + data).split(b"\n")
        self.orders += [json.loads(line) for line in lines]

    def _receive(self) -> bytes:
        if not stat.S_ISSOCK(os.fstat(0).st_mode):
            return os.read(0, 4096)
        with socket.socket(fileno=os.dup(0)) as leash:
            data, handles, _, _ = socket.recv_fds(leash, 4096, 16)
        # Locks that the starter shares with us; they last as long as this process.
        self._held += handles
        return data

    def tell_starter(self, message: bytes) -> None:
        """To a starter that listens, through a socket as standard input."""
        with contextlib.suppress(OSError):
            os.write(0, message)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget_child()
        signal.set_wakeup_fd(-1)
        self._selector.close()
        if self._wakeup is not None:
            for handle in self._wakeup:
                os.close(handle)
            self._wakeup = None
