"""An experiment that a notebook run by hand keeps itself: its process writes the record and holds the lock."""

from __future__ import annotations

import atexit
import contextlib
import getpass
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dti_service import atomic
from dti_service.events import EventLog
from dti_service.experiment import Experiment, State, timestamp, transition
from dti_service.ids import is_id, new_id
from dti_service.locks import FileLock
from dti_service.naming import default_name
from dti_service.plain import plain

if TYPE_CHECKING:
    from dti_service.run import Run


SIGN_S = 5.0
# Exceptions that mean: the run was asked to stop, and did.
STOPPED = ("TrainingStopped", "PreparationStopped")


class OwnRecord:
    """The record of a run by hand, from `begin` to `end`."""

    def __init__(self, directory: Path, experiment: Experiment, lock: FileLock) -> None:
        self.directory = directory
        self.experiment = experiment
        self._lock = lock
        self._watched: Any = None
        self._sign_at = time.monotonic()

    @property
    def ended(self) -> bool:
        return self.experiment.ended

    def end(self, state: State, events: EventLog, **changes: Any) -> None:
        """Write the final state and let go of the directory; a second end is ignored. Raises OSError."""
        if self.ended:
            return
        ended = transition(self.experiment, state, **changes)
        atomic.write_json(self.directory / "experiment.json", ended.to_dict())
        self.experiment = ended
        try:
            event: dict[str, Any] = {"state": state, "attempt": ended.attempt}
            events.append("state", **event, **({"error": ended.error} if ended.error else {}))
        finally:
            self._lock.release()
            if self._watched is not None:
                self._watched()
                self._watched = None

    def give_sign(self) -> None:
        """Tell other machines, which may not see the lock, that the run is alive."""
        now = time.monotonic()
        if not self.ended and now - self._sign_at >= SIGN_S:
            self._sign_at = now
            with contextlib.suppress(OSError):
                os.utime(self.directory / "runner.json")

    def watch_errors(self, run: Run) -> None:
        """Fail the run at an error in a cell of a notebook, and at the latest when the process ends."""
        atexit.register(self._at_exit, run, os.getpid())
        shell = _ipython()
        if shell is None:
            return

        def after_cell(result: Any) -> None:
            error = result.error_in_exec or result.error_before_exec
            if error is not None:
                self._fail(run, error)

        shell.events.register("post_run_cell", after_cell)
        self._watched = lambda: shell.events.unregister("post_run_cell", after_cell)

    def _at_exit(self, run: Run, pid: int) -> None:
        if self.ended or os.getpid() != pid:
            return
        error = None if _ipython() is not None else getattr(sys, "last_value", None)
        with contextlib.suppress(OSError):  # then recovery does it
            if error is not None:
                self._fail(run, error)
            else:
                run.fail("lost", "The notebook was closed before the run had ended.")

    def _fail(self, run: Run, error: BaseException) -> None:
        stopped = isinstance(error, KeyboardInterrupt) or type(error).__name__ in STOPPED
        if stopped or (self.directory / "cancel.json").exists():
            run.cancel()
        else:
            run.fail(error_kind(error), f"{type(error).__name__}: {error}")


def begin(
    data_dir: Path, experiment_dir: str | Path | None, notebook: str, parameters: dict[str, Any]
) -> tuple[OwnRecord, Path]:
    """Make a running experiment that belongs to this process. Raises OSError, FileExistsError for a used directory."""
    if experiment_dir:
        final = directory = Path(experiment_dir).expanduser().resolve()
        id = final.name if is_id(final.name) else new_id()
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / "experiment.json").exists():
            raise FileExistsError(f"{directory} holds an experiment already: give another experiment_dir")
    else:
        # It gets its name when it is complete, so that nobody sees half of it.
        id = new_id()
        final = data_dir / "experiments" / id
        directory = final.with_name(f"{atomic.TEMPORARY_PREFIX}{id}")
        directory.mkdir(parents=True)
    lock = FileLock(directory / ".lock")
    if not lock.acquire():
        raise FileExistsError(f"{directory} is in use by another run")
    now = timestamp()
    dataset = parameters.pop("dataset", None)
    experiment = Experiment(
        id=id,
        notebook=notebook,
        name=default_name(notebook, None if dataset is None else str(dataset)),
        state="running",
        parameters=plain({name: value for name, value in parameters.items() if value is not None}),
        dataset=None if dataset is None else str(dataset),
        owner=_user(),
        origin="interactive",
        created_at=now,
        queued_at=now,
        started_at=now,
        attempt=1,
        assigned_device=None if parameters.get("device") is None else str(parameters["device"]),
    )
    (directory / "events.jsonl").touch()
    runner = {"host": socket.gethostname(), "pid": os.getpid(), "started_at": now, "attempt": 1}
    atomic.write_json(directory / "runner.json", runner)
    atomic.write_json(directory / "experiment.json", experiment.to_dict())
    EventLog(directory / "events.jsonl").append("state", state="running", attempt=1)
    if directory != final:
        directory.rename(final)
        lock.path = final / ".lock"
    return OwnRecord(final, experiment, lock), final


def error_kind(error: BaseException) -> str:
    """The kind of error that an exception in a notebook means; told by names, so that no library is imported."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"ConfigError", "DataError", "GuardError", "InvalidRequest"}:
        return "bad_input"
    if names & {"MemoryError", "OutOfMemoryError"}:
        return "out_of_memory"
    return "user_error"


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _ipython() -> Any:
    """The shell of the notebook or console that this is, if it is one; IPython is not imported to find out."""
    module = sys.modules.get("IPython.core.getipython")
    return None if module is None else module.get_ipython()
