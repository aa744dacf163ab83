"""Keeps what the report needs of a training while it runs: the film of the prototypes and the events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dti_sprites.results.files import dump_json, plain, write_text
from dti_sprites.results.snapshots import Snapshots
from dti_sprites.training import Callback, FitResult, TrainingInfo

FILM, EVENTS = "film.safetensors", "events.json"
MAX_EVENTS = 2000


class Recorder(Callback):
    """Writes film and events into `folder` whenever a checkpoint is saved, and takes them up after a resume."""

    def __init__(self, folder: Path, resume: bool) -> None:
        self.folder = folder
        self._last: tuple[int, np.ndarray] | None = None
        self.film = Snapshots.load(folder / FILM) if resume else Snapshots()
        self.events: list[dict[str, Any]] = _read_events(folder / EVENTS) if resume else []

    def on_start(self, info: TrainingInfo) -> None:
        # What came after the checkpoint from which training goes on will happen again.
        self.film.truncate(info.start_iteration)
        self.events = [event for event in self.events if event.get("iteration", 0) <= info.start_iteration]

    def on_prototypes(self, iteration: int, images: Mapping[str, np.ndarray]) -> None:
        shown = images["masked_prototypes"] if "masked_prototypes" in images else images["prototypes"]
        self._last = (iteration, shown)
        self.film.add(iteration, shown)

    def on_end(self, result: FitResult) -> None:
        if self._last is not None and not result.stopped:
            self.film.finish(*self._last)
        self.save()

    def on_event(self, kind: str, **data: Any) -> None:
        if "iteration" in data and len(self.events) < MAX_EVENTS:
            self.events.append({"kind": kind, **plain(data)})

    def on_checkpoint(self, path: Path, iteration: int) -> None:
        self.save()

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.film.save(self.folder / FILM)
        write_text(self.folder / EVENTS, dump_json(self.events, indent=None))


def _read_events(path: Path) -> list[dict[str, Any]]:
    try:
        events = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []
