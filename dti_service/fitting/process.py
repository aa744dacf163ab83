"""The process that holds the model: PyTorch stays out of the server, and whatever happens to it ends there."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dti_service.answering import AnsweringProcess
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
        self._process = AnsweringProcess("dti_service.fitting.worker", [], ANSWER_S, _MOST_BYTES)
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
            answer = self._process.ask(request, _environment())
            if answer is not None:
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
        self._process.kill()  # whoever waits for it gets no answer, and goes on
        with self._lock:
            self._process.end()

    def _rest(self) -> None:
        if self._lock.acquire(blocking=False):  # somebody is asking: it is not idle
            try:
                self._process.end()
            finally:
                self._lock.release()


def _environment() -> dict[str, str]:
    """Ours, without what is secret."""
    secrets = ("TOKEN", "PASSWORD", "SECRET", "KEY", "REDIS_URL")
    shown = {name: value for name, value in os.environ.items() if not any(word in name for word in secrets)}
    # The device belongs to the runs; one image at a time is quick on any processor.
    return shown | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
