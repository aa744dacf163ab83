"""An executor that has everything ready before there is anything to execute, seen from its supervisor.

It is known by a mark in the environment, as it was started for no experiment; the mark is noted in `runner.json` when
it gets one, so that a sweep finds what it started even if this supervisor is killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from dti_service.execution.inputs import Inputs
from dti_service.execution.job import Job, clean_environment
from dti_service.execution.private_dir import make_private_dir
from dti_service.execution.processes import STANDBY_MARK, bound_to_parent, descendants, end_all, reap

READY = b"ready\n"
READY_FILE = "ready"  # in the folder of sockets, made by the executor
OUTPUT_FILE = "output.txt"
POLL_S = 0.2
IDLE_POLL_S = 30.0
EXECUTOR_OOM_SCORE = 100

COMMAND = (sys.executable, "-P", "-W", "ignore", "-m", "dti_service.execution.executor")


class Standby:
    """Starts at once; use `wait_for_order`, then `hand_over`, or `dismiss`."""

    def __init__(self, libraries: str) -> None:
        self.mark = secrets.token_hex(16)
        self.sockets = make_private_dir(f"standby:{os.getpid()}:{self.mark}")
        with (self.sockets / OUTPUT_FILE).open("ab") as output:
            self.executor = subprocess.Popen(
                [*COMMAND, "--sockets", str(self.sockets), "--standby", libraries],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.sockets,
                env={**clean_environment(), STANDBY_MARK: self.mark},
                preexec_fn=bound_to_parent(EXECUTOR_OOM_SCORE),
            )

    def wait_for_order(self, inputs: Inputs) -> dict[str, str] | None:
        """What to run: {id, device}; None when there is nothing to wait for any more."""
        inputs.watch_child(self.executor.pid)
        told = False
        try:
            while not inputs.orders:
                if inputs.stops or self.executor.poll() is not None:
                    return None
                if not told and (self.sockets / READY_FILE).exists():
                    inputs.tell_starter(READY)
                    told = True
                inputs.wait(IDLE_POLL_S if told else POLL_S)
                reap(keep=self.executor.pid)
            return inputs.orders.pop(0)
        finally:
            inputs.forget_child()

    def hand_over(self, job: Job) -> subprocess.Popen[bytes]:
        """Give the executor its job; from now on it is like any other."""
        assert self.executor.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.executor.stdin as stdin:
            stdin.write(job.to_line())
        return self.executor

    def dismiss(self) -> None:
        """End it, unused."""
        end_all(lambda: descendants(os.getpid()), after_round=reap)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def append_output(self, log: Path) -> None:
        """What the kernel wrote past Jupyter, such as the last words of a crash, belongs to the run's log."""
        with contextlib.suppress(OSError):
            text = (self.sockets / OUTPUT_FILE).read_bytes()
            if text:
                with log.open("ab") as file:
                    file.write(text)
