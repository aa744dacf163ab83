"""The process that holds the model: PyTorch stays out of the server, and whatever happens to it ends there."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dti_service.errors import NotFound, Unavailable

ANSWER_S = 90.0  # the first answer includes loading PyTorch and the model
IDLE_S = 300.0
_MOST_BYTES = 1 << 20


class Fitter:
    """One process, started when first needed and ended when idle; one request at a time.

    `threads` is where to call it from: one thread, so that waiting for a model never holds up thumbnails.
    """

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self.idle_s = idle_s
        self.threads = ThreadPoolExecutor(1, "dti-fit")
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._idle: threading.Timer | None = None
        self._closed = False

    def ask(self, call: str, results: Path, **arguments: Any) -> dict[str, Any]:
        """The answer of `worker.CALLS[call]` for the run in `results`.

        `NotFound` when the run left no model or has nothing to say of it, `Unavailable` when the process fails.
        """
        request = {"call": call, "results": str(results), **arguments}
        with self._lock:
            if self._closed:
                raise Unavailable("The server is stopping")
            if self._idle is not None:
                self._idle.cancel()
            answer = self._exchange(request)
            if answer is None:
                self._end()
            else:
                self._idle = threading.Timer(self.idle_s, self._rest)
                self._idle.daemon = True
                self._idle.start()
        if answer is None:
            raise Unavailable(
                "The model did not answer: it may need more memory than there is. Try again later"
            )
        if "error" in answer:
            raise NotFound(str(answer["error"]))
        return answer

    def close(self) -> None:
        """End the process and start no more."""
        self.threads.shutdown(wait=False, cancel_futures=True)
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()  # whoever waits for it gets no answer, and goes on
        with self._lock:
            self._end()

    def _rest(self) -> None:
        if self._lock.acquire(blocking=False):  # somebody is asking: it is not idle
            try:
                self._end()
            finally:
                self._lock.release()

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any] | None:
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            return self._read_line(process)
        except OSError:
            return None
        except BaseException:
            self._end()
            raise

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        secrets = ("TOKEN", "PASSWORD", "SECRET", "KEY", "REDIS_URL")
        environment = {
            name: value for name, value in os.environ.items() if not any(word in name for word in secrets)
        }
        # The device belongs to the runs; one image at a time is quick on any processor.
        environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dti_service.fitting.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        return self._process

    def _read_line(self, process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
        """The next answer; None when the process died, fell silent for too long or talked nonsense."""
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        until = time.monotonic() + ANSWER_S
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while not data.endswith(b"\n"):
                left = until - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None
                piece = os.read(descriptor, 1 << 16)
                data += piece
                if not piece or len(data) > _MOST_BYTES:
                    return None
        try:
            answer = json.loads(data)
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
