"""The `log` object that fronts poll once a second: status word, the latest messages, one bar for what goes on."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from dti_service.experiment import Experiment
from dti_service.store import Store

WORDS = {
    "queued": "PENDING",
    "running": "PROGRESS",
    "succeeded": "SUCCESS",
    "failed": "ERROR",
    "cancelled": "CANCELLED",
}
MESSAGES = 10
REMEMBERED = 200  # tasks whose events have been read so far


@dataclass
class _Reading:
    """How far the events of a task were read, and what was found."""

    position: int = 0
    messages: deque[str] = field(default_factory=lambda: deque(maxlen=MESSAGES))
    progress: dict[str, Any] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class StatusReader:
    """Reads each event once, however often and by however many pages a task is watched."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._readings: OrderedDict[str, _Reading] = OrderedDict()
        self._lock = threading.Lock()

    def log(
        self, experiment: Experiment, *, position: int | None = None, result_url: str = ""
    ) -> dict[str, Any]:
        """The `log` of a task. `position`: its place in the queue. Empty entries are left out, as fronts expect."""
        reading = self._read(experiment.id)
        messages = list(reading.messages)
        cancelling = experiment.state == "running" and self.store.cancel_requested(experiment.id)
        log: dict[str, Any] = {"status": WORDS[experiment.state], "id": experiment.id}
        if experiment.state == "queued" and position is not None:
            messages.append(f"Waiting in the queue, number {position}")
        if cancelling:
            messages.append("Cancelling ...")
        if experiment.state == "running" and reading.progress is not None:
            log["progress"] = [bar(reading.progress)]
        if experiment.state == "failed":
            # Fronts of the latest generation show nothing but these.
            log["errors"] = [str((experiment.error or {}).get("message") or "The run failed")]
        if experiment.state == "succeeded" and result_url:
            log["result_url"] = result_url
        if messages:
            log["infos"] = messages[-MESSAGES:]
        return log

    def _read(self, id: str) -> _Reading:
        with self._lock:
            reading = self._readings.setdefault(id, _Reading())
            self._readings.move_to_end(id)
            while len(self._readings) > REMEMBERED:
                self._readings.popitem(last=False)
        with reading.lock:
            events, reading.position = self.store.events(id).read(reading.position)
            for _, event in events:
                if event["kind"] == "progress":
                    reading.progress = event
                text = message(event)
                if text and (not reading.messages or reading.messages[-1] != text):
                    reading.messages.append(text)
        return reading


def bar(progress: dict[str, Any]) -> dict[str, Any]:
    """A progress event as the bar of a front."""
    phase = str(progress.get("phase") or "running")
    unit = str(progress.get("unit") or "steps")
    return {
        "context": f"{phase[:1].upper()}{phase[1:]} ({unit})",
        "current": progress.get("step") or 0,
        "total": progress.get("total") or 0,
    }


def message(event: dict[str, Any]) -> str | None:
    """What an event says to a person who waits, if anything."""
    kind = event["kind"]
    if kind == "state":
        return {
            "queued": "Queued again" if event.get("attempt") else None,
            "running": "Starting task train_dti",
            "succeeded": "Task finished",
            "cancelled": "Task cancelled",
            "failed": "Task failed",
        }.get(str(event.get("state")))
    if kind == "warning":
        return f"Warning: {event.get('message')}"
    if kind == "event":
        return _noted(event)
    return None


def _noted(event: dict[str, Any]) -> str | None:
    name, at = str(event.get("name")), f"Iteration {event.get('iteration')}"
    if name == "resumed":
        return f"Resumed at iteration {event.get('iteration')}"
    if name == "training_ended":
        return "Training over, running evaluation"
    if name == "finished":
        return None
    if name == "lr":
        return f"{at}: learning rate lowered to {event.get('lr')}"
    if name == "curriculum" and isinstance(event.get("activated"), list):
        return f"{at}: {', '.join(map(str, event['activated']))} learned from now on"
    if name == "reassignment" and isinstance(event.get("empty"), list):
        clusters = ", ".join(map(str, event["empty"]))
        return f"{at}: empty clusters ({clusters}) begin again as copies of cluster {event.get('source')}"
    if name == "split_merge":
        return (
            f"{at}: cluster {event.get('split')} split in two, cluster {event.get('merged')} given up for it"
        )
    if name == "full_resolution":
        return f"{at}: images at their full size from now on"
    details = ", ".join(
        f"{key} {value}"
        for key, value in event.items()
        if key not in ("kind", "name", "time") and isinstance(value, str | int | float)
    )
    words = name.replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}" + (f": {details}" if details else "")
