"""A process that answers one line of JSON with another: what happens to it happens to nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any


class AnsweringProcess:
    """`python -m module arguments...`, started when first asked and again after it ended. Not for several threads."""

    def __init__(self, module: str, arguments: list[str], answer_s: float, most_bytes: int) -> None:
        """An answer takes at most `answer_s` seconds and `most_bytes`."""
        self.command = [sys.executable, "-P", "-m", module, *arguments]  # -P: never from the current folder
        self.answer_s = answer_s
        self.most_bytes = most_bytes
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any] | None:
        """The answer. None when the process died, fell silent for too long or talked nonsense: then it is ended.

        `environment` is what it sees of ours, should it have to be started.
        """
        answer = None
        try:
            process = self._running(environment)
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = self._read_line(process)
        except OSError:
            pass
        finally:
            if answer is None:
                self.end()
        return answer

    def kill(self) -> None:
        """From another thread: whoever waits for an answer gets none."""
        process = self.process
        if process is not None:
            process.kill()

    def end(self) -> None:
        """End the process; the next request starts another."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _running(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        if self.process is not None and self.process.poll() is None:
            return self.process
        self.end()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
        )
        return self.process

    def _read_line(self, process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        until = time.monotonic() + self.answer_s
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while not data.endswith(b"\n"):
                left = until - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None
                piece = os.read(descriptor, 1 << 16)
                data += piece
                if not piece or len(data) > self.most_bytes:
                    return None
        try:
            answer = json.loads(data)
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None
