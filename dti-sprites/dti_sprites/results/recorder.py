"""Keeps what the report needs of a training while it runs: the film of the prototypes and the events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dti_sprites.results.files import dump_json, plain, write_text
from dti_sprites.results.snapshots import Snapshots
from dti_sprites.training import Callback

FILM, EVENTS = "film.safetensors", "events.json"
MAX_EVENTS = 2000


class Recorder(Callback):
    """Writes film and events into `folder` whenever a checkpoint is saved, and takes them up after a resume."""

    def __init__(self, folder: Path, resume: bool) -> None:
        self.folder = folder
        self.film = Snapshots.load(folder / FILM) if resume else Snapshots()
        self.events: list[dict[str, Any]] = _read_events(folder / EVENTS) if resume else []

    def start_from(self, iteration: int) -> None:
        """Forget what was recorded after `iteration`, from which training goes on."""
        self.film.truncate(iteration)
        self.events = [event for event in self.events if event.get("iteration", 0) <= iteration]

    def on_prototypes(self, iteration: int, images: Mapping[str, np.ndarray]) -> None:
        self.film.add(iteration, images.get("masked_prototypes", images["prototypes"]))

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
