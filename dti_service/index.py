"""The index of experiments: an SQLite file that can be thrown away and is rebuilt from the directories.

Whoever changes an experiment through the store also updates the index. Changes by others (a notebook run by hand,
another machine, a person with `cp`) are found by `refresh`, which looks at times of change: of the folder of
experiments for new and deleted ones, and of the records that have not ended, which are few.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dti_service.errors import ServiceError, Unavailable
from dti_service.experiment import Experiment
from dti_service.ids import IDS, is_id
from dti_service.index_changes import SCHEMA as CHANGES_SCHEMA
from dti_service.index_changes import Changes, changes_after, forget_changes, note_put, note_removed
from dti_service.index_file import IndexFile, on_network
from dti_service.index_rows import (
    FORMAT,
    INSERT_RECORD,
    INSERT_ROW,
    SCHEMA,
    Page,
    Query,
    encode_cursor,
    row,
    select,
)

if TYPE_CHECKING:
    from dti_service.store import Store

__all__ = ["Index", "Page", "Query"]

log = logging.getLogger(__name__)

CHUNK = 500  # experiments read into the index at a time
OFTEN = 2000  # experiments with a text: the first of them on a page are sooner come upon than all looked up and sorted
# With more than this to read, a server answers from what is there already; it is read in smaller bites.
MANY = 2000
BITE, BREATH_S = 50, 0.005
LOOK_S = 5.0  # for finding out whether it is so much
# With more to look at than this, it is done beside the requests that ask for it, and for a tenth of the time at most.
MUCH = 10_000  # names of directories, of which a record to look at counts as many as it costs
RECORD_COST = 10
SHARE = 0.1
RARELY_S = 30.0  # even when the last look took very long
# A folder may change again without another time of change, for as long as the clock of its file system is coarse.
COARSE_NS, COARSE_NETWORK_NS = 50_000_000, 3_000_000_000


@dataclass(frozen=True)
class Building:
    """How far the first reading of very many experiments has come."""

    done: int
    total: int

    def __str__(self) -> str:
        return f" ({self.done} of {self.total})"


class Index:
    """Rows of experiments by id. All methods may be called from any thread."""

    def __init__(self, path: Path, store: Store) -> None:
        self.store = store
        # Set by servers: lists are answered while a new index is being built. Commands wait until it is complete.
        self.serving = False
        self.building: Building | None = None
        self._file = IndexFile(path, SCHEMA + CHANGES_SCHEMA, FORMAT)
        self._coarse_ns = COARSE_NETWORK_NS if on_network(store.root) else COARSE_NS
        self._catching_up = threading.Lock()
        self._generation = 0
        self._names: set[str] | None = None  # all entries of the folder, as of the last look
        self._folder_stamp: int | None = None
        self._unreadable: dict[str, str] = {}  # id -> stamp of what could not be read
        self._effort = 0
        self._next_at = 0.0
        self._looked = threading.Event()  # once: whether there is much to read is known
        self._closed = False

    @property
    def path(self) -> Path:
        return self._file.path

    def close(self) -> None:
        self._closed = True  # a build ends at the next bite
        self._file.close()

    # Keeping up with the disk

    def update(self, id: str) -> None:
        """Take up the present state of one experiment. Never fails: a later refresh makes up for it."""
        try:
            self._load([id])
        except (ServiceError, sqlite3.Error, OSError) as error:
            log.warning("The index misses a change of experiment %s for now: %s", id, error)

    def refresh(self, *, wait: bool = False, wait_s: float = -1) -> None:
        """Take up what other processes changed on the disk.

        With very many experiments that goes on in a thread, and this returns at once unless `wait` is set. With
        `wait_s`: for so many seconds at the most. Raises Unavailable when they are over.
        """
        self._closed = False
        self._file.follow()
        first = self._names is None
        if (first and self.serving) or (not wait and not first and self._effort > MUCH):
            if time.monotonic() >= self._next_at and self._catching_up.acquire(blocking=False):
                threading.Thread(target=self._catch_up_in_thread, name="dti-index", daemon=True).start()
            if first:
                self._looked.wait(LOOK_S)
            if not wait:
                return
        if not self._catching_up.acquire(timeout=wait_s):
            raise Unavailable(
                f"Not all experiments are known yet{self.building or ''}: try again in a moment"
            )
        try:
            self._catch_up()
        finally:
            self._catching_up.release()

    def _catch_up_in_thread(self) -> None:
        try:
            self._catch_up()
        except Exception as error:
            log.warning("The index could not be brought up to date: %s", error)
        finally:
            self._looked.set()
            self._catching_up.release()

    def _catch_up(self) -> None:
        began = time.monotonic()
        try:
            self._compare_folders()
            known = self._file.read("SELECT id, stamp FROM experiments WHERE settled = 0")
            known += list(self._unreadable.items())
            self._load(id for id, stamp in known if stamp != self._stamp(id))
            self._effort = len(self._names or ()) + RECORD_COST * len(known)
        finally:
            now = time.monotonic()
            self._next_at = now + min((now - began) / SHARE, RARELY_S)

    def _compare_folders(self) -> None:
        before = self._names if self._generation == self._file.generation else None
        folder_stamp = os.stat(self.store.root).st_mtime_ns
        if before is not None and folder_stamp == self._folder_stamp:
            return
        looked_at = time.time_ns()
        names = set(os.listdir(self.store.root))
        if before is None:
            before = {id for (id,) in self._file.read("SELECT id FROM experiments")}
            self._unreadable = {}
        gone = [name for name in before - names if is_id(name)]
        self._remove(gone)
        new = [name for name in names - before if is_id(name)]
        if len(new) > MANY:
            self._build(new)
        else:
            self._load(new)
        self._names = names
        self._generation = self._file.generation
        self._folder_stamp = folder_stamp if looked_at - folder_stamp > self._coarse_ns else None

    def _build(self, new: list[str]) -> None:
        """Read very many for the first time, newest first. They are no news; who has followed the news is told to ask
        for everything again."""
        log.info("%d experiments are read into the index", len(new))
        self.building = Building(0, len(new))
        self._looked.set()
        try:
            for bite in _chunks(sorted(new, reverse=True), BITE):
                if self._closed:
                    raise Unavailable("the index was closed")
                marks = ",".join("?" * len(bite))
                known = self._file.read(f"SELECT id FROM experiments WHERE id IN ({marks})", bite)
                taken = {id for (id,) in known}  # by another process that builds too
                self._load((id for id in bite if id not in taken), news=False)
                self.building = Building(self.building.done + len(bite), len(new))
                if self.serving:
                    time.sleep(BREATH_S)  # for whoever wants an answer meanwhile
            self._file.write(forget_changes)
        finally:
            self.building = None

    def rebuild(self) -> dict[str, Any]:
        """Read every directory again; returns {experiments, skipped: [{path, reason}]}."""
        with self._catching_up:
            self._file.follow()
            names = set(os.listdir(self.store.root))
            known = {id for (id,) in self._file.read("SELECT id FROM experiments")}
            self._remove(known - names)
            skipped = self._load(sorted(filter(is_id, names)))
            for name in sorted(names):
                if not is_id(name) and not name.startswith("."):
                    path = str(self.store.root / name)
                    skipped.append({"path": path, "reason": "its name is not the id of an experiment"})
            self._names, self._folder_stamp, self._generation = names, None, self._file.generation
        count = self._file.read("SELECT COUNT(*) FROM experiments")[0][0]
        return {"experiments": count, "skipped": skipped}

    def others(self) -> list[str]:
        """Names in the folder of experiments that are no ids."""
        self.refresh()
        if self.building is None:
            self.refresh(wait=True)
        return [name for name in self._names or () if not is_id(name)]

    def _load(self, ids: Iterable[str], *, news: bool = True) -> list[dict[str, str]]:
        """Read these records into the index; returns what could not be read, as {path, reason}."""
        skipped = []
        for chunk in _chunks(ids, CHUNK):
            found: list[tuple[Experiment, bool, str]] = []
            for id in chunk:
                # Taken first: if the record changes while it is read, the stamp tells.
                stamp = self._stamp(id)
                try:
                    experiment = self.store.get(id)
                    found.append((experiment, self.store.cancel_requested(id), stamp))
                    self._unreadable.pop(id, None)
                except (KeyError, ValueError, OSError) as error:
                    if not (self.store.root / id).is_dir():
                        self._unreadable.pop(id, None)
                        self._remove([id])
                        continue
                    reason = "it has no experiment.json" if isinstance(error, KeyError) else str(error)
                    log.warning("The experiment directory %s is left out: %s", self.store.root / id, reason)
                    skipped.append({"path": str(self.store.root / id), "reason": reason})
                    self._unreadable[id] = stamp
                    self._remove([id])
            self._put(found, news)
        return skipped

    def _put(self, items: list[tuple[Experiment, bool, str]], news: bool) -> None:
        if not items:
            return
        # Before the others are kept from writing. Nothing in a record needs the deep copy of `to_dict`.
        records = [json.dumps(vars(experiment)) for experiment, _, _ in items]

        def insert(connection: sqlite3.Connection) -> None:
            for (experiment, cancelling, stamp), record in zip(items, records, strict=True):
                shown = "cancelling" if cancelling and experiment.state == "running" else experiment.state
                # Somebody may have changed it, and the index, since it was read: then it is looked at again.
                settled = experiment.ended and stamp == self._stamp(experiment.id)
                if news:
                    note_put(connection, experiment, shown, record)
                connection.execute(INSERT_ROW, row(experiment, shown, stamp, settled))
                connection.execute(INSERT_RECORD, (experiment.id, record))

        self._file.write(insert)

    def remove(self, id: str) -> None:
        """Forget a deleted experiment. Never fails."""
        try:
            self._remove([id])
        except (ServiceError, sqlite3.Error) as error:
            log.warning("The index still holds experiment %s: %s", id, error)

    def _remove(self, ids: Iterable[str]) -> None:
        rows = [(id,) for id in ids]

        def delete(connection: sqlite3.Connection) -> None:
            note_removed(connection, (id for (id,) in rows))
            connection.executemany("DELETE FROM experiments WHERE id = ?", rows)
            connection.executemany("DELETE FROM records WHERE id = ?", rows)

        if rows:
            self._file.write(delete)

    def _stamp(self, id: str) -> str:
        """Changes whenever the record, the annotations or the wish to cancel change: all are replaced as a whole."""
        folder = f"{self.store.root}/{id}/"
        stamps = []
        for name in ("experiment.json", "annotations.json", "cancel.json"):
            try:
                state = os.stat(folder + name)
                stamps.append(f"{state.st_mtime_ns:x}.{state.st_ino:x}.{state.st_size:x}")
            except OSError:
                stamps.append("-")
        return " ".join(stamps)

    # Reading

    def in_state(self, state: str) -> list[Experiment]:
        sql = "SELECT record FROM records WHERE id IN (SELECT id FROM experiments WHERE state = ?)"
        return [_experiment(record) for (record,) in self._file.read(sql, (state,))]

    def waiting(self) -> list[tuple[str, str]]:
        """(id, device as asked for) of what is queued, in the order in which it will run."""
        sql = (
            "SELECT id, device FROM experiments WHERE state = 'queued' ORDER BY priority DESC, queued_at, id"
        )
        return self._file.read(sql)

    def ids_with_key(self, key: str) -> list[str]:
        return [id for (id,) in self._file.read("SELECT id FROM experiments WHERE key = ?", (key,))]

    def named(self, without: Collection[str] = ()) -> set[str]:
        """All ids in the records, but for `without`: experiments."""
        found: set[str] = set()
        last = ""
        while records := self._file.read(
            "SELECT id, record FROM records WHERE id > ? ORDER BY id LIMIT ?", (last, CHUNK)
        ):
            for id, record in records:
                if id not in without:
                    found.update(IDS.findall(record))
            last = records[-1][0]
        return found

    def running_ids(self) -> list[str]:
        return [id for (id,) in self._file.read("SELECT id FROM experiments WHERE state = 'running'")]

    def changes(self, after: str | None, limit: int = 500) -> Changes:
        """What happened behind a position, as of the last refresh; None: only where things stand now."""
        return changes_after(self._file, after, limit)

    def counts(self) -> dict[str, int]:
        """Number of experiments by state."""
        return dict(self._file.read("SELECT state, COUNT(*) FROM experiments GROUP BY state"))

    def page(self, query: Query) -> Page:
        """The experiments that `query` asks for. Raises BadRequest for an unknown sort or cursor."""
        chosen = select(query)
        sql = f"SELECT COUNT(*) FROM experiments {chosen.where}"
        total = self._file.read(sql, chosen.values)[0][0]
        if query.q and total >= OFTEN:
            chosen = select(query, row_by_row=True)
        sql = (
            f"SELECT {chosen.column}, id FROM experiments {chosen.where_behind_cursor} {chosen.order} LIMIT ?"
        )
        found = self._file.read(sql, [*chosen.values_behind_cursor, query.limit + 1])
        ids = [id for _, id in found[: query.limit]]
        marks = ",".join("?" * len(ids))
        records = dict(self._file.read(f"SELECT id, record FROM records WHERE id IN ({marks})", ids))
        items = [_experiment(records[id]) for id in ids if id in records]
        more = len(found) > query.limit
        last_value, last_id = found[query.limit - 1] if more else ("", "")
        return Page(items, encode_cursor(query.sort, last_value, last_id) if more else None, total)


def _experiment(record: str) -> Experiment:
    return Experiment.from_dict(json.loads(record))


def _chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
