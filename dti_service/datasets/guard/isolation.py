"""Decoding in a process of its own: a crash, a hang or a bomb in a C library ends that process and nothing else."""

from __future__ import annotations

import os
import threading
from typing import Any

from dti_service.answering import AnsweringProcess
from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.limits import Limits

# What the process sees of our environment: enough to start Python, and the marks by which a run's processes are
# found. No tokens, no credentials.
_ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "DTI_EXPERIMENT_ID",
    "DTI_DATA_DIR",
)
_WORKER = "dti_service.datasets.guard.isolated_worker"
_ANSWER_BYTES = 16 << 20


class Decoder:
    """Calls functions of `decoding` in an isolated process, which is started when first needed and again after a
    crash. One call at a time; several threads may share it. Use as a context manager."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        arguments = [str(limits.decoder_memory), str(limits.decoder_file_bytes)]
        self._process = AnsweringProcess(_WORKER, arguments, limits.decoder_s, _ANSWER_BYTES)
        self._lock = threading.Lock()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, name: str, subject: str, **arguments: Any) -> Any:
        """The result of `decoding.name(**arguments)`; `GuardError` about `subject` when it refuses or does not
        survive."""
        request = {"call": name, "arguments": arguments, "cpu_s": self.limits.decoder_cpu_s}
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        with self._lock:
            answer = self._process.ask(request, environment)
        if answer is None:
            raise GuardError(
                subject,
                "decoding it crashed, or took too much time or memory",
                "save it again, or make it smaller",
            )
        if "result" not in answer:
            raise GuardError(subject, str(answer["reason"]), str(answer["remedy"]))
        return answer["result"]

    def close(self) -> None:
        """End the process. A later call starts a new one."""
        with self._lock:
            self._process.end()
