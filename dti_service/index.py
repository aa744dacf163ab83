"""The index of experiments: an SQLite file that can be thrown away and is rebuilt from the directories.

Other processes change the disk too. `refresh` finds their changes by looking at times of change: of the folder of
experiments for new and deleted ones, and of the records that have not ended, which are few.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dti_service.errors import BadRequest
from dti_service.experiment import Experiment

if TYPE_CHECKING:
    from dti_service.store import Store

log = logging.getLogger(__name__)

FORMAT = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS experiments (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, notebook TEXT NOT NULL, owner TEXT NOT NULL,
    created_at TEXT NOT NULL, finished_at TEXT NOT NULL, priority INTEGER NOT NULL, key TEXT, search TEXT NOT NULL,
    stamp TEXT NOT NULL, ended INTEGER NOT NULL, record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_created ON experiments (created_at, id);
CREATE INDEX IF NOT EXISTS by_name ON experiments (name, id);
CREATE INDEX IF NOT EXISTS by_state ON experiments (state, created_at, id);
CREATE INDEX IF NOT EXISTS by_finished ON experiments (finished_at, id);
CREATE INDEX IF NOT EXISTS by_key ON experiments (key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS open ON experiments (id) WHERE ended = 0;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
SORTS = {"created_at": "created_at", "name": "name", "state": "state", "finished_at": "finished_at"}


@dataclass(frozen=True)
class Query:
    """Which experiments, in which order; `sort` is a key of SORTS, with "-" in front for descending."""

    limit: int = 50
    cursor: str | None = None
    sort: str = "-created_at"
    state: str | None = None  # or several, separated by commas
    notebook: str | None = None
    q: str | None = None  # text in name, id, tags, notebook or owner


@dataclass(frozen=True)
class Page:
    items: list[Experiment]
    next_cursor: str | None
    total: int


class Index:
    """Rows of experiments by id. All methods may be called from any thread."""

    def __init__(self, path: Path, store: Store) -> None:
        self.path = path
        self.store = store
        self._guard = threading.RLock()
        self._folder_stamp: int | None = None
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, check_same_thread=False, isolation_level=None)
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] not in (0, FORMAT):
                raise sqlite3.DatabaseError("another format")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(SCHEMA)
            connection.execute(f"PRAGMA user_version={FORMAT}")
        except sqlite3.DatabaseError as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise
            log.warning("The index %s cannot be used (%s) and is built anew", self.path, error)
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            return self._open()
        return connection

    def close(self) -> None:
        with self._guard:
            self._connection.close()

    # Writing

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def put(self, experiment: Experiment) -> None:
        self._put([(experiment, self._stamp(experiment.id))])

    def _put(self, items: Iterable[tuple[Experiment, str]]) -> None:
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO experiments VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                [_row(experiment, stamp) for experiment, stamp in items],
            )

    def remove(self, id: str) -> None:
        with self._transaction() as connection:
            connection.execute("DELETE FROM experiments WHERE id = ?", (id,))

    # Keeping up with the disk

    def refresh(self) -> None:
        """Take up what other processes changed on the disk."""
        with self._guard:
            folder_stamp = self.store.root.stat().st_mtime_ns
            if folder_stamp != self._folder_stamp:
                self._compare_folders()
                # Taken before the listing: what arrives during it is found the next time.
                self._folder_stamp = folder_stamp
            known = self._connection.execute("SELECT id, stamp FROM experiments WHERE ended = 0").fetchall()
            self._load(id for id, stamp in known if stamp != self._stamp(id))

    def rebuild(self) -> dict[str, Any]:
        """Forget everything and read every directory; returns {experiments, skipped: [{path, reason}]}."""
        with self._guard:
            with self._transaction() as connection:
                connection.execute("DELETE FROM experiments")
            folder_stamp = self.store.root.stat().st_mtime_ns
            skipped = self._load(self.store.ids())
            self._folder_stamp = folder_stamp
            count = self._connection.execute("SELECT COUNT(*) FROM experiments").fetchone()[0]
        return {"experiments": count, "skipped": skipped}

    def _compare_folders(self) -> None:
        on_disk = set(self.store.ids())
        known = {id for (id,) in self._connection.execute("SELECT id FROM experiments")}
        for id in known - on_disk:
            self.remove(id)
        self._load(on_disk - known)

    def _load(self, ids: Iterable[str]) -> list[dict[str, str]]:
        """Read these records into the index; returns what could not be read."""
        found, skipped = [], []
        for id in ids:
            stamp = self._stamp(id)
            try:
                found.append((self.store.get(id), stamp))
            except KeyError:
                self.remove(id)
            except (ValueError, OSError) as error:
                log.warning("Experiment directory %s is left out: %s", id, error)
                skipped.append({"path": str(self.store.root / id), "reason": str(error)})
        if found:
            self._put(found)
        return skipped

    def _stamp(self, id: str) -> str:
        """Changes whenever record, annotations or the wish to cancel change."""
        stamps = []
        for name in ("experiment.json", "annotations.json"):
            try:
                state = (self.store.root / id / name).stat()
                stamps.append(f"{state.st_mtime_ns}:{state.st_ino}")
            except OSError:
                stamps.append("-")
        return " ".join(stamps)

    # Reading

    def ids_in_state(self, state: str) -> list[str]:
        with self._guard, closing(self._connection.cursor()) as cursor:
            return [id for (id,) in cursor.execute("SELECT id FROM experiments WHERE state = ?", (state,))]

    def ids_with_key(self, key: str) -> list[str]:
        with self._guard, closing(self._connection.cursor()) as cursor:
            return [id for (id,) in cursor.execute("SELECT id FROM experiments WHERE key = ?", (key,))]

    def counts(self) -> dict[str, int]:
        """Number of experiments by state."""
        with self._guard, closing(self._connection.cursor()) as cursor:
            return dict(cursor.execute("SELECT state, COUNT(*) FROM experiments GROUP BY state").fetchall())

    def page(self, query: Query) -> Page:
        """The experiments that `query` asks for. Raises BadRequest for an unknown sort or cursor."""
        descending = query.sort.startswith("-")
        column = SORTS.get(query.sort.lstrip("-"))
        if column is None:
            raise BadRequest(f"sort must be one of {', '.join(SORTS)}, with - in front for descending")
        conditions, values = _conditions(query)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._guard, closing(self._connection.cursor()) as cursor:
            total = cursor.execute(f"SELECT COUNT(*) FROM experiments{where}", values).fetchone()[0]
            if query.cursor is not None:
                # Go on behind the last row seen, so that rows that come and go shift nothing.
                sign = "<" if descending else ">"
                where += f" {'AND' if where else 'WHERE'} ({column}, id) {sign} (?, ?)"
                values = [*values, *_decode_cursor(query.cursor, query.sort)]
            order = "DESC" if descending else "ASC"
            rows = cursor.execute(
                f"SELECT {column}, record FROM experiments{where} ORDER BY {column} {order}, id {order} LIMIT ?",
                [*values, query.limit + 1],
            ).fetchall()
        items = [Experiment.from_dict(json.loads(record)) for _, record in rows[: query.limit]]
        more = len(rows) > query.limit
        next_cursor = _encode_cursor(query.sort, rows[query.limit - 1][0], items[-1].id) if more else None
        return Page(items, next_cursor, total)


def _row(experiment: Experiment, stamp: str) -> tuple[Any, ...]:
    words = (experiment.name, experiment.id, experiment.notebook, experiment.owner or "", *experiment.tags)
    return (
        experiment.id,
        experiment.name,
        experiment.state,
        experiment.notebook,
        experiment.owner or "",
        experiment.created_at,
        experiment.finished_at or "",
        experiment.priority,
        experiment.idempotency_key,
        "\n".join(words).casefold(),
        stamp,
        int(experiment.ended),
        json.dumps(experiment.to_dict()),
    )


def _conditions(query: Query) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    if query.state:
        states = [state.strip() for state in query.state.split(",") if state.strip()]
        # "cancelling" is how a running experiment looks once its cancellation is asked for.
        states = ["running" if state == "cancelling" else state for state in states]
        conditions.append(f"state IN ({','.join('?' * len(states))})")
        values += states
    if query.notebook:
        conditions.append("notebook = ?")
        values.append(query.notebook)
    if query.q:
        pattern = query.q.casefold().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        conditions.append("search LIKE ? ESCAPE '\\'")
        values.append(f"%{pattern}%")
    return conditions, values


def _encode_cursor(sort: str, value: str, id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, value, id]).encode()).decode().rstrip("=")


def _decode_cursor(text: str, sort: str) -> tuple[str, str]:
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        kind, value, id = json.loads(raw)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise BadRequest("cursor is not one that this server gave") from None
    if kind != sort or not isinstance(value, str) or not isinstance(id, str):
        raise BadRequest("cursor belongs to a list with another sort")
    return value, id
