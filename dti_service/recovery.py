"""Makes records and reality agree again after any crash."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import socket
import time
from pathlib import Path
from typing import Any

from dti_service import atomic
from dti_service.errors import NotFound
from dti_service.execution.notebook_seal import seal_notebook
from dti_service.execution.outcome import Conclusion, Ending, conclude
from dti_service.execution.processes import sweep_experiment
from dti_service.experiment import Experiment, State, transition
from dti_service.settings import Settings
from dti_service.store import NOTEBOOK, REPORT, RESULTS, RUNNER, STOP, Store

log = logging.getLogger(__name__)

# A runner of another machine whose lock cannot be seen from here counts as alive for so long after its last sign.
ELSEWHERE_S = 60.0
METRICS = "metrics.json"
THOROUGH_S = 600.0


def recover(store: Store, settings: Settings, *, thorough: bool = False) -> list[str]:
    """Find experiments that are running on the record but that nobody runs; returns the ids that were put right.

    Safe to call at any time, from any number of processes: whoever gets the experiment's lock decides. `thorough` looks
    also at every ended experiment, for the working files of a supervisor that was killed as the last thing it did.
    """
    recovered = []
    for experiment in store.running():
        with _tolerating(experiment.id), store.claim(experiment.id) as free:
            if free and _put_right(experiment.id, store, settings):
                recovered.append(experiment.id)
    for id, _ in store.waiting():
        # A cancel whose writer died before it could end the experiment.
        if store.is_cancelled(id):
            with _tolerating(id), store.claim(id) as free:
                experiment = store.get(id)
                if free and experiment.state == "queued":
                    _change(store, experiment, "cancelled")
                    recovered.append(id)
    if thorough:
        for id in store.unfinished():
            with _tolerating(id), store.claim(id) as free:
                if free and store.get(id).ended:
                    store.clear_up(id)
    with _tolerating("leftovers"):
        store.sweep()
    return recovered


class Rounds:
    """Recovery at intervals, in seconds: a quick look often, a thorough one at first and then seldom, if at all."""

    def __init__(
        self, store: Store, settings: Settings, every_s: float, *, thorough_s: float = THOROUGH_S
    ) -> None:
        self.store = store
        self.settings = settings
        self.every_s = every_s
        self.thorough_s = thorough_s
        self._next = 0.0
        self._next_thorough = 0.0 if thorough_s < math.inf else math.inf

    def soon(self, *, thorough: bool = False) -> None:
        """Something was lost: look now."""
        self._next = 0.0
        if thorough and self.thorough_s < math.inf:
            self._next_thorough = 0.0

    def step(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        thorough = now >= self._next_thorough
        recover(self.store, self.settings, thorough=thorough)
        self._next = time.monotonic() + self.every_s
        if thorough:
            self._next_thorough = time.monotonic() + self.thorough_s


@contextlib.contextmanager
def _tolerating(id: str) -> Any:
    """One damaged or vanishing directory does not hinder the others."""
    try:
        yield
    except (NotFound, ValueError, OSError) as error:
        log.warning("Experiment %s cannot be recovered now: %s", id, error)


def _put_right(id: str, store: Store, settings: Settings) -> bool:
    experiment = store.get(id)  # again: it may have ended before we got the lock
    folder = store.directory(id)
    if experiment.state != "running" or _alive_elsewhere(folder):
        return False
    sweep_experiment(id, store.data_dir)
    store.sweep_files(id)
    if store.is_cancelled(id):
        conclusion = conclude(Ending(None, reason="cancel", metrics=_read_object(folder / RESULTS / METRICS)))
    elif experiment.origin == "interactive":
        conclusion = _lost("The notebook's process ended before the run did.")
    else:
        conclusion = _as_reported(folder, experiment, settings) or _after_loss(experiment, settings)
    losses = experiment.losses + (conclusion.lost if isinstance(conclusion, _Lost) else 0)
    if conclusion.state == "queued":
        log.warning("Experiment %s lost its process (attempt %d) and is queued again", id, experiment.attempt)
        _change(store, experiment, "queued", losses=losses)
        return True
    if experiment.origin != "interactive":
        with contextlib.suppress(OSError):
            seal_notebook(folder / NOTEBOOK, "cancelled" if conclusion.state == "cancelled" else "failed")
    changes = {"error": conclusion.error, "metrics": conclusion.metrics, "losses": losses}
    _change(store, experiment, conclusion.state, **changes)
    return True


@dataclasses.dataclass(frozen=True)
class _Lost(Conclusion):
    """The end of a run whose process vanished; `lost` is how many times that counts."""

    lost: int = 1


def _lost(message: str) -> _Lost:
    return _Lost("failed", {"kind": "lost", "message": message, "cell": None})


def _as_reported(folder: Path, experiment: Experiment, settings: Settings) -> Conclusion | None:
    """The end that the run had come to when its supervisor was lost, if it left word of it."""
    report = _read_object(folder / REPORT)
    reason = (_read_object(folder / STOP) or {}).get("reason")
    if reason not in ("time_limit", "stop"):
        reason = None
    if reason is None and (report or {}).get("outcome") not in ("ok", "error"):
        return None
    limits = [limit for limit in (experiment.time_limit_s, settings.time_limit_s) if limit]
    metrics = _read_object(folder / RESULTS / METRICS)
    return conclude(Ending(report, reason=reason, metrics=metrics, time_limit_s=min(limits, default=None)))


def _after_loss(experiment: Experiment, settings: Settings) -> Conclusion:
    losses = experiment.losses + 1
    if losses < settings.max_attempts:
        return _Lost("queued")
    times = f"{losses} times" if losses > 1 else "once"
    return _lost(f"The process that ran this experiment was lost {times}; it is not started again.")


def _alive_elsewhere(folder: Path) -> bool:
    """Has a runner on another machine given a sign lately? Not every network file system shows its locks."""
    path = folder / RUNNER
    host = (_read_object(path) or {}).get("host")
    if host in (None, socket.gethostname()):
        return False
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime < ELSEWHERE_S
    return False


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        value = atomic.read_json(path)
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _change(store: Store, experiment: Experiment, state: State, **changes: Any) -> None:
    changed = transition(experiment, state, **changes)
    store.save(changed)
    event: dict[str, Any] = {"state": state, "attempt": changed.attempt}
    if changed.error is not None:
        event["error"] = changed.error
    with contextlib.suppress(OSError):  # the record is what counts
        store.events(experiment.id).append("state", **event)
