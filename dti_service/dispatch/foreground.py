"""Serving the queue from a command: one experiment (`dti run`), or all until stopped (`dti worker`)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from dti_service.dispatch.local import Slots
from dti_service.errors import NotFound
from dti_service.experiment import Experiment
from dti_service.service import Service
from dti_service.settings import Settings

POLL_S = 0.2


def run_experiment(
    settings: Settings, id: str, *, on_poll: Callable[[], None] = lambda: None, service: Service | None = None
) -> Experiment:
    """Run one queued experiment here, or watch whoever runs it; returns it when it has ended.

    KeyboardInterrupt cancels it and waits for its end. Raises ExperimentNotFound.
    """
    service = service or Service(settings)
    slots = Slots(settings, service.store, only=id)
    cancelled = False
    try:
        while True:
            try:
                experiment = service.store.get(id)
                on_poll()
                if experiment.ended:
                    return experiment
                slots.step()
                threading.Event().wait(POLL_S)
            except KeyboardInterrupt:
                if cancelled:
                    raise
                cancelled = True
                service.cancel(id, "the command line")
    finally:
        slots.stop()


def run_worker(settings: Settings, *, burst: bool = False) -> None:
    """Serve the queue until SIGINT or SIGTERM, or with `burst` until it is empty; runs going on are queued again."""
    service = Service(settings)
    slots = Slots(settings, service.store)
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    earlier = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not stop.is_set():
            slots.step()
            if burst and not slots.jobs and not _anything_to_do(service, slots):
                return
            stop.wait(POLL_S)
    finally:
        slots.stop()
        for number, handler in earlier.items():
            with suppress(ValueError):
                signal.signal(number, handler)


def _anything_to_do(service: Service, slots: Slots) -> bool:
    """Is anything queued that one of our devices may run? What others run comes back to the queue if they fail."""
    with suppress(NotFound):
        return any(slot.accepts(experiment) for experiment in service.store.queued() for slot in slots.free)
    return False
