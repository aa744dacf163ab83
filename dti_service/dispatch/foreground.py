"""Serving the queue from a command: one experiment (`dti run`), or all until stopped (`dti worker`)."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import FrameType

from dti_service.dispatch.local import POLL_S, Slots
from dti_service.errors import Conflict, NotFound
from dti_service.execution.warm import WarmPool
from dti_service.experiment import Experiment
from dti_service.presence import announced
from dti_service.service import Service
from dti_service.settings import Settings

log = logging.getLogger(__name__)


def run_experiment(
    settings: Settings,
    id: str,
    *,
    on_poll: Callable[[], None] = lambda: None,
    service: Service | None = None,
    cancel: Callable[[], object] | None = None,
) -> Experiment:
    """Run one queued experiment here, or watch whoever runs it; returns it when it has ended.

    The first SIGINT cancels it and waits for its end, a second one raises KeyboardInterrupt at once. SIGTERM and
    SIGHUP put it back into the queue and end the process. `cancel`: how it is cancelled, if not by the service alone.
    Raises ExperimentNotFound, also when it is deleted.
    """
    service = service or Service(settings)
    cancel = cancel or partial(service.cancel, id, "the command line")
    slots = Slots(settings, service.store, only=id)
    interrupts = 0
    asked = threading.Event()

    def on_interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        asked.set()
        if interrupts > 1:
            raise KeyboardInterrupt

    def on_end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    handlers = {signal.SIGINT: on_interrupt, signal.SIGTERM: on_end, signal.SIGHUP: on_end}
    with _handling(handlers):
        try:
            while True:
                if asked.is_set():
                    asked.clear()
                    cancel()
                experiment = service.store.get(id)
                on_poll()
                if experiment.ended:
                    return experiment
                slots.step()
                asked.wait(POLL_S)
        finally:
            slots.stop()


def run_worker(settings: Settings, *, burst: bool = False) -> None:
    """Serve the queue until SIGINT or SIGTERM, or with `burst` until it is empty; runs going on are queued again."""
    service = Service(settings)
    pool = WarmPool(settings) if settings.warm_kernels else None
    slots = Slots(settings, service.store, pool=pool)
    stop = threading.Event()

    def ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    asked = _handling(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), ask_to_stop))
    with asked, announced(settings.data_dir, "worker", devices=settings.devices):
        try:
            while not stop.is_set():
                try:
                    slots.step()
                    # What runs elsewhere comes back to the queue if it fails there.
                    if burst and not slots.anything_to_do():
                        return
                except (NotFound, Conflict, OSError) as error:
                    log.warning("The worker met an error and goes on: %s", error)
                    stop.wait(1.0)
                stop.wait(POLL_S)
        finally:
            slots.stop()
            if pool is not None:
                pool.close()


@contextmanager
def _handling(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    """Handle these signals during the block; in other threads than the main one they are left as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
