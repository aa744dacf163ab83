"""Decoding in a process of its own: a crash, a hang or a bomb in a C library ends that process and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from typing import Any

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
_ANSWER_BYTES = 16 << 20


class Decoder:
    """Calls functions of `decoding` in an isolated process, which is started when first needed and again after a
    crash. One call at a time; several threads may share it. Use as a context manager."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, name: str, subject: str, **arguments: Any) -> Any:
        """The result of `decoding.name(**arguments)`; `GuardError` about `subject` when it refuses or does not
        survive."""
        request = {"call": name, "arguments": arguments, "cpu_s": self.limits.decoder_cpu_s}
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                answer = self._read_line(process)
            except BaseException:
                self._end()
                raise
            if answer is None:
                self._end()
        if answer is None:
            raise GuardError(
                subject,
                "decoding it crashed, or took too much time or memory",
                "save it again, or make it smaller",
            )
        if "result" not in answer:
            raise GuardError(subject, str(answer["reason"]), str(answer["remedy"]))
        return answer["result"]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",  # modules come from the installation, never from the current folder
                "-m",
                "dti_service.datasets.guard.isolated_worker",
                str(self.limits.decoder_memory),
                str(self.limits.decoder_file_bytes),
            ],
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
        until = time.monotonic() + self.limits.decoder_s
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while not data.endswith(b"\n"):
                left = until - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None
                piece = os.read(descriptor, 1 << 16)
                data += piece
                if not piece or len(data) > _ANSWER_BYTES:
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

    def close(self) -> None:
        """End the process. A later call starts a new one."""
        with self._lock:
            self._end()
