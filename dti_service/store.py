"""Experiment directories: the disk is the truth, and every change to it goes through here."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dti_service import atomic
from dti_service.errors import Conflict, NotFound
from dti_service.events import EventLog
from dti_service.experiment import Experiment, timestamp
from dti_service.ids import is_id, new_id
from dti_service.index import Index, Page, Query
from dti_service.locks import FileLock, is_locked, try_lock

log = logging.getLogger(__name__)

RECORD, ANNOTATIONS, CANCEL = "experiment.json", "annotations.json", "cancel.json"
NOTEBOOK, SOURCE = "notebook.ipynb", "source.ipynb"
EVENTS, LOG, LOCK = "events.jsonl", "log.txt", ".lock"
RUNNER, STOP, REPORT = "runner.json", "stop.json", "executor.json"  # only while it runs
RESULTS, CHECKPOINT, LIVE = "results", "checkpoint", "live"
MOST_EVENTS = 4 * 2**20  # bytes from the end in which the latest progress is looked for
PROGRESS = ("step", "total", "unit", "eta_s", "phase", "images")  # of the latest such event
MOST_KNOWN = 2000  # experiments whose progress is remembered
KEY_WAIT_S = 5.0
OLD_S = 600.0  # no write of a single file takes as long


class ExperimentNotFound(NotFound):
    """There is no experiment of that id."""


class Store:
    """The experiments of one data directory. Safe to use from several threads and processes at once."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = Path(data_dir)
        self.root = self.data_dir / "experiments"
        self.locks = self.data_dir / "locks"
        self.trash = self.data_dir / "trash"
        for folder in (self.root, self.locks, self.trash):
            folder.mkdir(parents=True, exist_ok=True)
        # What was read of progress: id -> latest events, and the position behind them.
        self._progress: dict[str, tuple[dict[str, Any], int]] = {}
        self.index = Index(self.data_dir / "index.sqlite3", self)

    # One experiment

    def create(
        self, experiment: Experiment, source: Path | None = None, checkpoint: Path | None = None
    ) -> Experiment:
        """Write a new experiment's directory; it appears complete or not at all. Raises OSError.

        `source` is the notebook, `checkpoint` the folder of another experiment's checkpoint to start from.
        """
        staging = self.root / f"{atomic.TEMPORARY_PREFIX}{experiment.id}"
        staging.mkdir()
        try:
            (staging / RESULTS).mkdir()
            if checkpoint is None:
                (staging / CHECKPOINT).mkdir()
            else:
                shutil.copytree(checkpoint, staging / CHECKPOINT)
            if source is not None:
                atomic.write_bytes(staging / SOURCE, source.read_bytes())
            annotations = {"name": experiment.name, "tags": experiment.tags, "keep": experiment.keep}
            atomic.write_json(staging / ANNOTATIONS, annotations)
            atomic.write_json(staging / RECORD, experiment.to_dict())
            events = EventLog(staging / EVENTS)
            events.append("state", state=experiment.state, attempt=experiment.attempt)
            staging.rename(self.root / experiment.id)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        atomic.sync_folder(self.root)
        self.index.update(experiment.id)
        return experiment

    def directory(self, id: str) -> Path:
        """The experiment's directory. Raises ExperimentNotFound, also for what is not an id."""
        folder = self.root / id
        if not is_id(id) or not folder.is_dir():
            raise ExperimentNotFound(f"There is no experiment {id[:64]}")
        return folder

    def get(self, id: str) -> Experiment:
        """The record with its annotations. Raises ExperimentNotFound; ValueError when the record is damaged."""
        folder = self.directory(id)
        try:
            experiment = Experiment.from_dict(atomic.read_json(folder / RECORD))
        except FileNotFoundError:
            raise ExperimentNotFound(f"There is no experiment {id}") from None
        if experiment.id != id:
            raise ValueError(f"the record in {folder} belongs to experiment {experiment.id}")
        return dataclasses.replace(experiment, **self._annotations(folder))

    @staticmethod
    def _annotations(folder: Path) -> dict[str, Any]:
        try:
            values = atomic.read_json(folder / ANNOTATIONS)
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(values, dict):
            return {}
        return {name: values[name] for name in ("name", "tags", "keep") if name in values}

    def save(self, experiment: Experiment) -> None:
        """Replace the record. Only for whoever may write it: see `lock`."""
        atomic.write_json(self.directory(experiment.id) / RECORD, experiment.to_dict())
        self.index.update(experiment.id)

    def annotate(self, id: str, **changes: Any) -> Experiment:
        """Change name, tags or keep, at any time. Raises ExperimentNotFound."""
        folder = self.directory(id)
        with try_lock(folder / ".annotations.lock", timeout_s=10):
            experiment = self.get(id)
            values = {"name": experiment.name, "tags": experiment.tags, "keep": experiment.keep, **changes}
            atomic.write_json(folder / ANNOTATIONS, values)
        self.index.update(id)
        return self.get(id)

    def delete(self, id: str, *, unless_kept: bool = False) -> bool:
        """Remove an experiment that is not running; False if it was kept. Raises ExperimentNotFound, Conflict."""
        with self.claim(id, timeout_s=0.2) as free:
            experiment = self.get(id) if free else None
            if experiment is None or experiment.state == "running":
                raise Conflict(f"Experiment {id} is running: cancel it first")
            if unless_kept and experiment.keep:
                return False
            self._discard(self.directory(id))
        self.index.remove(id)
        return True

    def _discard(self, folder: Path) -> None:
        """Out of sight at once, and then gone, so that a half-deleted experiment is never seen."""
        target = self.trash / f"{folder.name}-{new_id()}"
        folder.rename(target)
        shutil.rmtree(target, ignore_errors=True)

    # Locks and requests

    def lock(self, id: str) -> FileLock:
        """The lock that whoever runs the experiment holds for as long as it lives."""
        return FileLock(self.directory(id) / LOCK)

    @contextlib.contextmanager
    def claim(self, id: str, timeout_s: float = 0.0) -> Iterator[bool]:
        """Hold the experiment's lock during the block, if nobody runs it; the value says whether."""
        lock = self.lock(id)
        try:
            free = lock.wait(timeout_s)
        except FileNotFoundError:
            raise ExperimentNotFound(f"There is no experiment {id}") from None
        try:
            yield free
        finally:
            lock.release()

    def alive(self, id: str) -> bool:
        """Does a process that runs this experiment exist?"""
        return is_locked(self.directory(id) / LOCK)

    def request_cancel(self, id: str, by: str | None = None) -> None:
        """Write the wish to cancel. It is never taken back, and wins over a start that comes later."""
        folder = self.directory(id)
        if not (folder / CANCEL).exists():
            atomic.write_json(folder / CANCEL, {"at": timestamp(), "by": by})
            self.index.update(id)

    def cancel_requested(self, id: str) -> bool:
        """Raises ExperimentNotFound."""
        return (self.directory(id) / CANCEL).exists()

    def is_cancelled(self, id: str) -> bool:
        """The same for an id that is known to be one; False when its directory is gone."""
        return os.path.exists(f"{self.root}/{id}/{CANCEL}")

    # Events

    def events(self, id: str) -> EventLog:
        return EventLog(self.directory(id) / EVENTS)

    def progress(self, id: str) -> dict[str, Any] | None:
        """The latest {step, total, unit, eta_s, phase, images, cell}, or None before the first; cells count from 0."""
        known, position = self._progress.get(id, ({}, 0))
        found, position = self.events(id).latest({"progress", "cell"}, position, MOST_EVENTS)
        known = {**known, **found}
        self._progress[id] = (known, position)
        while len(self._progress) > MOST_KNOWN:
            with contextlib.suppress(StopIteration, KeyError, RuntimeError):
                del self._progress[next(iter(self._progress))]
        if "progress" not in known:
            return None
        progress = {name: known["progress"].get(name) for name in PROGRESS}
        return {**progress, "cell": known.get("cell", {}).get("index")}

    # Many experiments

    def ids(self) -> Iterator[str]:
        """Ids of all experiment directories, in no order."""
        for entry in self.root.iterdir():
            if is_id(entry.name):
                yield entry.name

    def page(self, query: Query | None = None) -> Page:
        """One page of experiments. Raises BadRequest for a cursor that is none."""
        self.index.refresh()
        return self.index.page(query or Query())

    def queued(self) -> list[Experiment]:
        """What waits, in the order in which it will run: highest priority first, then oldest first."""
        waiting = self._in_state("queued")
        return sorted(waiting, key=lambda item: (-item.priority, item.queued_at or item.created_at, item.id))

    def running(self) -> list[Experiment]:
        return self._in_state("running")

    def _in_state(self, state: str) -> list[Experiment]:
        """May lag behind by an instant: whoever acts on it looks at the record again, holding its lock."""
        self.index.refresh()
        return self.index.in_state(state)

    def waiting(self) -> list[tuple[str, str]]:
        """(id, device as asked for) of what waits, in the order in which it will run; quick for long queues."""
        self.index.refresh()
        return self.index.waiting()

    def named(self, without: Collection[str] = ()) -> set[str]:
        """Every id that stands in the record of an experiment, `without` those of some: its dataset, for example."""
        self.index.refresh(wait=True)
        return self.index.named(without)

    def find_by_key(self, key: str, owner: str | None) -> Experiment | None:
        """The experiment that was submitted with this idempotency key by this owner.

        Raises Unavailable while a new index is being built: one that is not in it yet may have the key.
        """
        self.index.refresh(wait=True, wait_s=KEY_WAIT_S)
        for id in self.index.ids_with_key(key):
            with contextlib.suppress(ExperimentNotFound, ValueError):
                experiment = self.get(id)
                if experiment.owner == owner:
                    return experiment
        return None

    def sweep(self) -> None:
        """Remove what an interrupted creation or deletion left behind."""
        for folder in self.trash.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for name in self.index.others():
            if name.startswith(atomic.TEMPORARY_PREFIX) and not _just_made(
                name.removeprefix(atomic.TEMPORARY_PREFIX)
            ):
                shutil.rmtree(self.root / name, ignore_errors=True)

    def clear_up(self, id: str) -> None:
        """Remove the working files of a run that is over. Only while holding its lock."""
        self.sweep_files(id)
        for name in (STOP, REPORT, RUNNER):
            with contextlib.suppress(OSError):
                (self.directory(id) / name).unlink(missing_ok=True)

    def unfinished(self) -> list[str]:
        """Ids of experiments with working files of a run, going on or not."""
        return [
            id
            for id in self.ids()
            if any((self.root / id / name).exists() for name in (STOP, REPORT, RUNNER))
        ]

    def sweep_files(self, id: str) -> None:
        """Remove what interrupted writers left in an experiment's directory. Only while holding its lock, when no
        process of a run is left: what a run was writing is nobody's now; what servers write must be old."""
        folder = self.directory(id)
        old = time.time() - OLD_S
        for pattern in _UNFINISHED:
            for path in folder.glob(f"**/{pattern}"):
                inside = path.relative_to(folder)
                with contextlib.suppress(OSError):
                    if not _of_servers(inside) or path.stat().st_mtime < old:
                        _remove(path)


# Files being written: those of the service, and those of the library.
_UNFINISHED = (f"{atomic.TEMPORARY_PREFIX}*", ".*.partial")
# What servers write while a run may be going on.
_SERVER_FILES = tuple(f"{atomic.TEMPORARY_PREFIX}{name}-" for name in (ANNOTATIONS, CANCEL, "discover.json"))


def _of_servers(inside: Path) -> bool:
    """May a server be writing this file of an experiment's directory now?"""
    if len(inside.parts) == 1:
        return inside.name.startswith(_SERVER_FILES)
    return inside.parts[0] not in (RESULTS, CHECKPOINT, LIVE)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def _just_made(id: str) -> bool:
    """An id tells when it was made: a creation takes well under a minute."""

    def milliseconds(id: str) -> int:
        return int(id.replace("-", "")[:12], 16)

    return is_id(id) and milliseconds(id) >= milliseconds(new_id()) - 60_000
