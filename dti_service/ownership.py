"""An experiment that a notebook run by hand keeps itself: its process writes the record and holds the lock."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dti_service import atomic
from dti_service.events import EventLog
from dti_service.experiment import Experiment, State, timestamp, transition
from dti_service.ids import new_id
from dti_service.locks import FileLock
from dti_service.naming import default_name

if TYPE_CHECKING:
    from dti_service.run import Run


class OwnRecord:
    """The record of a run by hand, from `begin` to `end`."""

    def __init__(self, directory: Path, experiment: Experiment, lock: FileLock) -> None:
        self.directory = directory
        self.experiment = experiment
        self._lock = lock
        self._watched: Any = None

    @property
    def ended(self) -> bool:
        return self.experiment.ended

    def end(self, state: State, events: EventLog, **changes: Any) -> None:
        """Write the final state and let go of the directory; a second end is ignored."""
        if self.ended:
            return
        self.experiment = transition(self.experiment, state, **changes)
        atomic.write_json(self.directory / "experiment.json", self.experiment.to_dict())
        events.append("state", state=state, attempt=self.experiment.attempt, error=self.experiment.error)
        self._lock.release()
        if self._watched is not None:
            self._watched()
            self._watched = None

    def watch_errors(self, run: Run) -> None:
        """In a notebook, an error in a cell fails the run, so that it does not look alive until the kernel ends."""
        shell = _ipython()
        if shell is None:
            return

        def after_cell(result: Any) -> None:
            error = result.error_in_exec or result.error_before_exec
            if error is not None and not self.ended:
                if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "TrainingStopped":
                    run.cancel()
                else:
                    run.fail(error_kind(error), f"{type(error).__name__}: {error}")

        shell.events.register("post_run_cell", after_cell)
        self._watched = lambda: shell.events.unregister("post_run_cell", after_cell)


def begin(
    data_dir: Path, experiment_dir: str | Path | None, notebook: str, parameters: dict[str, Any]
) -> tuple[OwnRecord, Path]:
    """Make a running experiment that belongs to this process. Raises OSError, FileExistsError for a used directory."""
    id = new_id()
    directory = (
        Path(experiment_dir).expanduser().resolve() if experiment_dir else data_dir / "experiments" / id
    )
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / "experiment.json").exists():
        raise FileExistsError(f"{directory} holds an experiment already: give another experiment_dir")
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
        parameters={name: value for name, value in parameters.items() if value is not None},
        dataset=None if dataset is None else str(dataset),
        owner=_user(),
        origin="interactive",
        created_at=now,
        queued_at=now,
        started_at=now,
        attempt=1,
        assigned_device=parameters.get("device"),
    )
    (directory / "events.jsonl").touch()
    runner = {"host": socket.gethostname(), "pid": os.getpid(), "started_at": now, "attempt": 1}
    atomic.write_json(directory / "runner.json", runner)
    atomic.write_json(directory / "experiment.json", experiment.to_dict())
    EventLog(directory / "events.jsonl").append("state", state="running", attempt=1)
    return OwnRecord(directory, experiment, lock), directory


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
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    return get_ipython()
