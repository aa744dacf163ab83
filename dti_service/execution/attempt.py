"""One attempt at an experiment, from the claim of its record to the last of its processes."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dti_service import atomic
from dti_service.errors import NotFound
from dti_service.execution.inputs import Inputs
from dti_service.execution.job import Job, clean_environment, run_variables
from dti_service.execution.notebook_seal import seal_notebook
from dti_service.execution.outcome import Conclusion, Ending, StopReason, conclude
from dti_service.execution.private_dir import make_private_dir
from dti_service.execution.processes import (
    bound_to_parent,
    descendants,
    end_all,
    how_ended,
    oom_kills,
    reap,
    sweep_experiment,
)
from dti_service.execution.standby import COMMAND, EXECUTOR_OOM_SCORE, Standby
from dti_service.experiment import Experiment, timestamp, transition
from dti_service.store import CANCEL, LOG, NOTEBOOK, REPORT, RESULTS, RUNNER, STOP, Store

log = logging.getLogger(__name__)

RAN, NOT_CLAIMED = 0, 3  # exit codes

CLAIM_S = 2.0  # others hold the lock for instants only, unless they run the experiment
POLL_S = 0.2
HEARTBEAT_S = 5.0
REPORT_S = 3.0  # for the executor to finish its notebook once the kernel is gone
SAVE_TRIES = 5


@dataclass(frozen=True)
class Limits:
    """Times in seconds; None: no limit."""

    time_limit_s: float | None = None
    grace_s: float = 2.0
    interrupt_grace_s: float = 5.0


class Attempt:
    """Runs the experiment if it is queued and free."""

    def __init__(
        self,
        store: Store,
        id: str,
        device: str,
        limits: Limits,
        inputs: Inputs,
        standby: Standby | None = None,
    ) -> None:
        self.store = store
        self.id = id
        self.device = device
        self.limits = limits
        self.inputs = inputs
        self.standby = standby
        self.reason: StopReason | None = None
        self._stop_at = 0.0
        self._stage = 0
        self._heartbeat_at = 0.0
        self._deadline = float("inf")
        self._time_limit_s: float | None = None

    def run(self) -> int:
        """The exit code of the supervisor."""
        try:
            self.directory = self.store.directory(self.id)
            lock = self.store.lock(self.id)
            if not lock.wait(CLAIM_S):
                return NOT_CLAIMED
        except (NotFound, FileNotFoundError):
            return NOT_CLAIMED
        try:
            return self._run_locked()
        except NotFound:
            log.warning("The directory of experiment %s was removed while it ran", self.id)
            self._end_processes()
            return RAN
        finally:
            lock.release()

    def _run_locked(self) -> int:
        experiment = self.store.get(self.id)
        self.inputs.wait(0)  # whoever started us may be gone by now
        if experiment.state != "queued" or self.inputs.stops:
            return NOT_CLAIMED
        if self._cancelled():
            self._save(transition(experiment, "cancelled"))
            return RAN
        swept = sweep_experiment(self.id, self.store.data_dir)
        if swept:
            log.warning("%d processes of an earlier attempt at %s were ended", swept, self.id)
        experiment = transition(experiment, "running", assigned_device=self.device, error=None)
        self._prepare(experiment)
        self._save(experiment)
        # A cancel that came meanwhile saw "queued" or "running", and either way left its file before it looked.
        conclusion = Conclusion("cancelled") if self._cancelled() else self._execute(experiment)
        if conclusion.state == "queued":
            self._save(transition(experiment, "queued"))
        else:
            changes: dict[str, Any] = {"error": conclusion.error, "metrics": conclusion.metrics}
            self._save(transition(experiment, conclusion.state, **changes))
        # Last: until the record says how it ended, these files do, to whoever finds us dead.
        with contextlib.suppress(NotFound):
            self.store.clear_up(self.id)
        return RAN

    # Files

    def _prepare(self, experiment: Experiment) -> None:
        """Remove what says how an earlier attempt ended; its checkpoint and other results stay."""
        for path in (
            self.directory / STOP,
            self.directory / REPORT,
            self.directory / RESULTS / "metrics.json",
        ):
            path.unlink(missing_ok=True)
        self.store.sweep_files(self.id)
        runner = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": timestamp(),
            "attempt": experiment.attempt,
            "device": self.device,
            "standby": self.standby.mark if self.standby else None,
        }
        atomic.write_json(self.directory / RUNNER, runner, sync=False)
        self._heartbeat_at = time.monotonic()

    def _save(self, experiment: Experiment) -> None:
        """Write the record and tell of it; a disk that is full for a moment is waited for. Raises OSError, NotFound."""
        for attempt in range(1, SAVE_TRIES + 1):
            try:
                self.store.save(experiment)
                break
            except sqlite3.Error as error:
                # The record itself is written; the index catches up by itself.
                log.warning("The index could not be changed: %s", error)
                break
            except OSError as error:
                if attempt == SAVE_TRIES:
                    raise
                log.warning("The record of %s could not be written (%s); trying again", self.id, error)
                time.sleep(1.0)
        event: dict[str, Any] = {"state": experiment.state, "attempt": experiment.attempt}
        if experiment.error is not None:
            event["error"] = experiment.error
        self._event("state", **event)

    def _event(self, kind: str, **data: Any) -> None:
        with contextlib.suppress(OSError, NotFound):
            self.store.events(self.id).append(kind, **data)

    def _cancelled(self) -> bool:
        return (self.directory / CANCEL).exists()

    # Running

    def _execute(self, experiment: Experiment) -> Conclusion:
        """Have the notebook executed and watch over it."""
        limits = [limit for limit in (experiment.time_limit_s, self.limits.time_limit_s) if limit]
        self._time_limit_s = min(limits, default=None)
        if self._time_limit_s is not None:
            self._deadline = time.monotonic() + self._time_limit_s
        kills_before = oom_kills()
        if self.standby is not None:
            sockets = self.standby.sockets
        else:
            sockets = make_private_dir(f"{self.store.data_dir}:{self.id}")
        try:
            executor = self._start_executor(experiment, sockets)
            self._watch(executor)
            if self._cancelled():
                # The notebook looks for the wish too, and may have ended for it before it was noticed here.
                self.reason = "cancel"
            for_memory = oom_kills() > kills_before
            self._end_processes()
            if self.standby is not None:
                self.standby.append_output(self.directory / LOG)
            return self._conclude(executor, for_memory)
        finally:
            shutil.rmtree(sockets, ignore_errors=True)

    def _start_executor(self, experiment: Experiment, sockets: Path) -> subprocess.Popen[bytes]:
        variables = run_variables(self.id, self.directory, self.store.data_dir, self.device, os.environ)
        job = Job(
            directory=str(self.directory),
            variables=variables,
            notebook=experiment.notebook,
            parameters=experiment.parameters,
            dataset=experiment.dataset,
            interrupt_grace_s=self.limits.interrupt_grace_s,
        )
        with (self.directory / LOG).open("ab") as output:
            if experiment.attempt > 1:
                output.write(f"--- attempt {experiment.attempt} ---\n".encode())
                output.flush()
            if self.standby is not None:
                return self.standby.hand_over(job)
            executor = subprocess.Popen(
                [*COMMAND, "--sockets", str(sockets)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env={**clean_environment(), **variables},
                preexec_fn=bound_to_parent(EXECUTOR_OOM_SCORE),
            )
        assert executor.stdin is not None
        with contextlib.suppress(BrokenPipeError), executor.stdin as stdin:
            stdin.write(job.to_line())
        return executor

    def _watch(self, executor: subprocess.Popen[bytes]) -> None:
        """Until the executor has ended; it is helped to if that is wanted."""
        self.inputs.watch_child(executor.pid)
        try:
            while executor.poll() is None:
                self._beat()
                reap(keep=executor.pid)
                self._look_for_reasons()
                if self.reason is not None:
                    self._press(executor)
                self.inputs.wait(POLL_S)
        finally:
            self.inputs.forget_child()

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._heartbeat_at >= HEARTBEAT_S:
            self._heartbeat_at = now
            with contextlib.suppress(OSError):
                os.utime(self.directory / RUNNER)

    def _look_for_reasons(self) -> None:
        """Is there a reason to stop? A cancel, being final, takes the place of any other."""
        if self._cancelled():
            self._stop("cancel")
        elif self.reason is None and self.inputs.stops:
            self._stop("stop")
        elif self.reason is None and time.monotonic() >= self._deadline:
            self._stop("time_limit")

    def _stop(self, reason: StopReason) -> None:
        if self.reason is None:
            self._stop_at = time.monotonic()
        if self.reason != reason:
            self.reason = reason
            with contextlib.suppress(OSError):
                atomic.write_json(self.directory / STOP, {"at": timestamp(), "reason": reason}, sync=False)

    def _press(self, executor: subprocess.Popen[bytes]) -> None:
        """Ask, then interrupt, then kill: each step when the one before had its time."""
        elapsed = time.monotonic() - self._stop_at
        interrupt_at = self.limits.grace_s
        kill_at = interrupt_at + self.limits.interrupt_grace_s + REPORT_S
        if self._stage == 0 and elapsed >= interrupt_at:
            self._stage = 1
            # The executor interrupts its kernel, and ends it in time to write down what became of the cell.
            with contextlib.suppress(ProcessLookupError):
                executor.send_signal(signal.SIGTERM)
        elif self._stage == 1 and (elapsed >= kill_at or self.inputs.stops > 1):
            self._stage = 2
            self._end_processes(executor)

    def _end_processes(self, executor: subprocess.Popen[bytes] | None = None) -> None:
        """Nothing that the run started survives it, however it detached itself."""
        keep = executor.pid if executor is not None else None
        left = end_all(lambda: descendants(os.getpid()), after_round=lambda: reap(keep))
        sweep_experiment(self.id, self.store.data_dir)
        reap(keep)
        if left:
            log.warning("%d processes of experiment %s cannot be ended", len(left), self.id)

    # The end

    def _conclude(self, executor: subprocess.Popen[bytes], for_memory: bool) -> Conclusion:
        report = _read_object(self.directory / REPORT)
        cell = None
        if report is None:
            cell = self._seal("failed" if self.reason is None else "cancelled")
        return conclude(
            Ending(
                report=report,
                how=how_ended(executor.returncode),
                reason=self.reason,
                metrics=_read_object(self.directory / RESULTS / "metrics.json"),
                for_memory=for_memory,
                cell=cell,
                time_limit_s=self._time_limit_s,
            )
        )

    def _seal(self, status: str) -> int | None:
        """The executor could not finish its notebook; returns the cell that was running."""
        changed = []
        with contextlib.suppress(OSError):
            changed = seal_notebook(self.directory / NOTEBOOK, status)
        for index, total, name in changed:
            self._event("cell", index=index, total=total, name=name, status=status)
        return changed[-1][0] if changed else None


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        value = atomic.read_json(path)
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
