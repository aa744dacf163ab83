"""What happened to experiments lately, kept in the index: whoever shows a list is told of changes, and need not ask.

A position names the index file and a place in it, so that it means the same to every server on that file, before and
after a restart; a position of another file, or one too far back, cannot be gone on from.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dti_service.experiment import Experiment, timestamp
from dti_service.index_file import IndexFile

KEPT = 5000  # changes
SCHEMA = """
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
    state TEXT NOT NULL, earlier TEXT, owner TEXT
);
CREATE TABLE origin (name TEXT NOT NULL);
INSERT INTO origin VALUES (lower(hex(randomblob(8))))
"""

Kind = Literal["created", "state", "updated", "deleted"]


@dataclass(frozen=True)
class Change:
    """`state` is the one that people see, after the change; `earlier` the one before, None for a new experiment."""

    position: str
    time: str
    kind: Kind
    id: str
    state: str
    earlier: str | None
    owner: str | None


@dataclass(frozen=True)
class Changes:
    """`complete`: these are all changes since the position asked for, or the first ones of many. Otherwise nothing is
    known of what was between, and `position` is where things stand now."""

    items: list[Change]
    position: str
    complete: bool


def note_put(connection: sqlite3.Connection, experiment: Experiment, shown: str, record: str) -> None:
    """An experiment is about to be written into the index. Within a transaction."""
    known = _known(connection, experiment.id)
    if known is None:
        _add(connection, "created", experiment.id, shown, None, experiment.owner)
    elif known[0] != shown:
        _add(connection, "state", experiment.id, shown, known[0], experiment.owner)
    elif known[1] != record:
        _add(connection, "updated", experiment.id, shown, shown, experiment.owner)


def note_removed(connection: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Experiments are about to be taken out of the index. Within a transaction."""
    for id in ids:
        known = _known(connection, id)
        if known is not None:
            shown, record = known
            _add(connection, "deleted", id, shown, shown, json.loads(record).get("owner"))


def forget_changes(connection: sqlite3.Connection) -> None:
    """From now on nobody can go on from a position given before. Within a transaction."""
    connection.execute("DELETE FROM changes")
    connection.execute("UPDATE origin SET name = lower(hex(randomblob(8)))")


def _known(connection: sqlite3.Connection, id: str) -> tuple[str, str] | None:
    """The state that is shown, and the record."""
    sql = "SELECT shown, record FROM experiments JOIN records ON records.id = experiments.id WHERE records.id = ?"
    return connection.execute(sql, (id,)).fetchone()


def _add(
    connection: sqlite3.Connection, kind: Kind, id: str, state: str, earlier: str | None, owner: str | None
) -> None:
    sql = "INSERT INTO changes (time, kind, id, state, earlier, owner) VALUES (?, ?, ?, ?, ?, ?)"
    added = connection.execute(sql, (timestamp(), kind, id, state, earlier, owner))
    connection.execute("DELETE FROM changes WHERE seq <= ?", ((added.lastrowid or 0) - KEPT,))


def is_position(text: str) -> bool:
    """Could this be a position that some server gave?"""
    return re.fullmatch(r"[0-9a-f]{16}-[0-9]{1,18}", text) is not None


def changes_after(file: IndexFile, position: str | None, limit: int) -> Changes:
    """The first `limit` changes behind a position; None: where things stand now."""
    sql = (
        "SELECT (SELECT name FROM origin), (SELECT seq FROM sqlite_sequence WHERE name = 'changes'),"
        " (SELECT MIN(seq) FROM changes)"
    )
    origin, newest, oldest = file.read(sql)[0]
    newest = newest or 0
    here = f"{origin}-{newest}"
    if position is None:
        return Changes([], here, True)
    name, _, place = position.rpartition("-")
    after = int(place)
    if name != origin or after > newest or after < (oldest or 1) - 1:
        return Changes([], here, False)
    if after == newest:
        return Changes([], here, True)
    sql = "SELECT seq, time, kind, id, state, earlier, owner FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
    items = [Change(f"{origin}-{seq}", *rest) for seq, *rest in file.read(sql, (after, limit))]
    return Changes(items, items[-1].position if items else here, True)
