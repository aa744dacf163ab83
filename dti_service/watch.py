"""Noticing that experiments change state, whoever changes it: a worker on another machine, a command, this server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from dti_service.errors import NotFound
from dti_service.experiment import Experiment

log = logging.getLogger(__name__)

Listener = Callable[[Experiment, str | None], None]


class Experiments(Protocol):
    """What the watch asks of the store."""

    def get(self, id: str) -> Experiment: ...
    def queued(self) -> Iterable[Experiment]: ...
    def running(self) -> Iterable[Experiment]: ...


class Watch:
    """Looks every `poll_s` seconds, in a thread, and calls `listener(experiment, earlier state or None)` for each
    change: for an experiment that appears, starts, is queued again, or ends."""

    def __init__(self, store: Experiments, listener: Listener, *, poll_s: float = 1.0) -> None:
        self.store = store
        self.listener = listener
        self.poll_s = poll_s
        self._known: dict[str, str | None] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def active(self) -> int:
        """Experiments that have not ended, as of the last look."""
        return len(self._known)

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="dti-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def expect(self, id: str) -> None:
        """An experiment was just made: it is noticed even if it ends before the next look."""
        with self._lock:
            self._known.setdefault(id, None)

    def look(self) -> None:
        """One round; called by the thread."""
        with self._lock:
            known = dict(self._known)
        active = {experiment.id: experiment for experiment in (*self.store.queued(), *self.store.running())}
        for id, earlier in known.items():
            if id not in active:
                self._look_at(id, earlier)
        for id, experiment in active.items():
            if known.get(id) != experiment.state:
                self._tell(experiment, known.get(id))

    def _look_at(self, id: str, earlier: str | None) -> None:
        """One that is no longer active, or changed between the two lists."""
        try:
            experiment = self.store.get(id)
        except NotFound:
            with self._lock:
                self._known.pop(id, None)
            return
        if experiment.state != earlier:
            self._tell(experiment, earlier)

    def _tell(self, experiment: Experiment, earlier: str | None) -> None:
        with self._lock:
            if experiment.ended:
                self._known.pop(experiment.id, None)
            else:
                self._known[experiment.id] = experiment.state
        try:
            self.listener(experiment, earlier)
        except Exception:
            log.exception("After the change of experiment %s to %s", experiment.id, experiment.state)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception:
                log.exception("The watch over experiments goes on after an error")
            self._stop.wait(self.poll_s)
