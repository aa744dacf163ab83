"""Makes records and reality agree again after any crash."""

from __future__ import annotations

import logging
from typing import Any

from dti_service.errors import NotFound
from dti_service.execution.processes import sweep_experiment
from dti_service.experiment import Experiment, State, transition
from dti_service.settings import Settings
from dti_service.store import Store

log = logging.getLogger(__name__)


def recover(store: Store, settings: Settings) -> list[str]:
    """Find experiments that are running on the record but that nobody runs; returns the ids that were put right.

    Safe to call at any time, from any number of processes: whoever gets the experiment's lock decides.
    """
    recovered = []
    for experiment in store.running():
        try:
            with store.claim(experiment.id) as free:
                if free and _put_right(experiment.id, store, settings):
                    recovered.append(experiment.id)
        except (NotFound, ValueError, OSError) as error:
            log.warning("Experiment %s cannot be recovered now: %s", experiment.id, error)
    for experiment in store.queued():
        # A cancel whose writer died before it could end the experiment.
        if store.cancel_requested(experiment.id):
            with store.claim(experiment.id) as free:
                if free and store.get(experiment.id).state == "queued":
                    _end(store, store.get(experiment.id), "cancelled")
    store.sweep()
    return recovered


def _put_right(id: str, store: Store, settings: Settings) -> bool:
    experiment = store.get(id)  # again: it may have ended before we got the lock
    if experiment.state != "running":
        return False
    sweep_experiment(id, store.data_dir)
    if experiment.origin == "interactive":
        _end(store, experiment, "failed", error=_error("lost", "The notebook's process ended before the run did."))
    elif store.cancel_requested(id):
        _end(store, experiment, "cancelled")
    elif experiment.attempt >= settings.max_attempts:
        times = f"{experiment.attempt} times" if experiment.attempt > 1 else "once"
        message = f"The process that ran this experiment was lost {times}; it is not started again."
        _end(store, experiment, "failed", error=_error("lost", message))
    else:
        log.warning("Experiment %s lost its process (attempt %d) and is queued again", id, experiment.attempt)
        _end(store, experiment, "queued")
    return True


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"kind": kind, "message": message, "cell": None}


def _end(store: Store, experiment: Experiment, state: State, **changes: Any) -> None:
    changed = transition(experiment, state, **changes)
    store.save(changed)
    store.events(experiment.id).append("state", state=state, attempt=changed.attempt, error=changed.error)
