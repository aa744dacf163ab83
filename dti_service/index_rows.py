"""What the index keeps of an experiment, and how a list asks for it."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from dti_service.errors import BadRequest
from dti_service.experiment import Experiment

FORMAT = 4
SHORTEST_INDEXED = 3  # characters of a text that the trigrams of `searched` can find
# Records stand apart from what is searched, so that a search reads little. `searched` keeps the trigrams of `search`;
# an update keeps the number of a row, so that the triggers see all that changes. Statements end with their line.
SCHEMA = """
CREATE TABLE experiments (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, shown TEXT NOT NULL, notebook TEXT NOT NULL,
    created_at TEXT NOT NULL, queued_at TEXT NOT NULL, finished_at TEXT NOT NULL, priority INTEGER NOT NULL,
    device TEXT NOT NULL, key TEXT, search TEXT NOT NULL, stamp TEXT NOT NULL, settled INTEGER NOT NULL
);
CREATE VIRTUAL TABLE searched USING fts5(
    search, content='experiments', columnsize=0, tokenize='trigram case_sensitive 1'
);
CREATE TRIGGER searched_new AFTER INSERT ON experiments
    BEGIN INSERT INTO searched (rowid, search) VALUES (new.rowid, new.search); END;
CREATE TRIGGER searched_gone AFTER DELETE ON experiments
    BEGIN INSERT INTO searched (searched, rowid, search) VALUES ('delete', old.rowid, old.search); END;
CREATE TRIGGER searched_changed AFTER UPDATE ON experiments WHEN old.search <> new.search
    BEGIN INSERT INTO searched (searched, rowid, search) VALUES ('delete', old.rowid, old.search); \
INSERT INTO searched (rowid, search) VALUES (new.rowid, new.search); END;
CREATE TABLE records (id TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE INDEX by_created ON experiments (created_at, id);
CREATE INDEX by_name ON experiments (name, id);
CREATE INDEX by_state ON experiments (shown, created_at, id);
CREATE INDEX by_finished ON experiments (finished_at, id);
CREATE INDEX by_notebook ON experiments (notebook, created_at, id);
CREATE INDEX by_key ON experiments (key) WHERE key IS NOT NULL;
CREATE INDEX unsettled ON experiments (id, stamp) WHERE settled = 0;
CREATE INDEX waiting ON experiments (priority DESC, queued_at, id, device) WHERE state = 'queued';
"""
COLUMNS = (
    *("id", "name", "state", "shown", "notebook", "created_at", "queued_at", "finished_at", "priority"),
    *("device", "key", "search", "stamp", "settled"),
)
INSERT_ROW = (
    f"INSERT INTO experiments VALUES ({','.join('?' * len(COLUMNS))})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS[1:])}"
)
INSERT_RECORD = "INSERT OR REPLACE INTO records VALUES (?, ?)"
SORTS = {"created_at": "created_at", "name": "name", "state": "shown", "finished_at": "finished_at"}


@dataclass(frozen=True)
class Query:
    """Which experiments, in which order; `sort` is a key of SORTS, with "-" in front for descending."""

    limit: int = 50
    cursor: str | None = None
    sort: str = "-created_at"
    state: str | None = None  # or several, separated by commas; "cancelling" is one of them
    notebook: str | None = None
    q: str | None = None  # text in name, id, tags, notebook, dataset or owner


@dataclass(frozen=True)
class Page:
    items: list[Experiment]
    next_cursor: str | None
    total: int


def row(experiment: Experiment, shown: str, stamp: str, settled: bool) -> tuple[Any, ...]:
    """`shown` is the state that people see; what is `settled` is not looked at again."""
    words = (
        experiment.name,
        experiment.id,
        experiment.notebook,
        experiment.dataset or "",
        experiment.owner or "",
        *experiment.tags,
    )
    return (
        experiment.id,
        experiment.name,
        experiment.state,
        shown,
        experiment.notebook,
        experiment.created_at,
        experiment.queued_at or experiment.created_at,
        experiment.finished_at or "",
        experiment.priority,
        experiment.device,
        experiment.idempotency_key,
        "\n".join(words).casefold(),
        stamp,
        int(settled),
    )


@dataclass(frozen=True)
class Selection:
    """A query as parts of an SQL statement."""

    column: str
    descending: bool
    where: str
    values: list[Any]
    where_behind_cursor: str
    values_behind_cursor: list[Any]

    @property
    def order(self) -> str:
        direction = "DESC" if self.descending else "ASC"
        return f"ORDER BY {self.column} {direction}, id {direction}"


def select(query: Query, *, row_by_row: bool = False) -> Selection:
    """Raises BadRequest for an unknown sort or cursor.

    A text is looked up among the trigrams, which takes as long as there are rows that have it; or `row_by_row` in the
    order of the list, which is soon through with a page when many have it.
    """
    descending = query.sort.startswith("-")
    column = SORTS.get(query.sort.removeprefix("-"))
    if column is None:
        raise _wrong("sort", f"must be one of {', '.join(SORTS)}, with - in front for descending")
    conditions: list[str] = []
    values: list[Any] = []
    if query.state:
        states = [state.strip() for state in query.state.split(",") if state.strip()]
        conditions.append(f"shown IN ({','.join('?' * len(states))})")
        values += states
    if query.notebook:
        conditions.append("notebook = ?")
        values.append(query.notebook)
    if query.q:
        condition, value = _containing(query.q.casefold(), row_by_row)
        conditions.append(condition)
        values.append(value)
    further, more_values = list(conditions), list(values)
    if query.cursor is not None:
        # Go on behind the last row seen, so that rows that come and go shift nothing.
        further.append(f"({column}, id) {'<' if descending else '>'} (?, ?)")
        more_values += _decode_cursor(query.cursor, query.sort)
    return Selection(column, descending, _where(conditions), values, _where(further), more_values)


def _containing(words: str, row_by_row: bool) -> tuple[str, str]:
    """The condition, and its value, that a row has this text."""
    if row_by_row or len(words) < SHORTEST_INDEXED or "\0" in words:
        return "instr(search, ?) > 0", words
    phrase = words.replace('"', '""')
    return "rowid IN (SELECT rowid FROM searched WHERE searched MATCH ?)", f'"{phrase}"'


def _where(conditions: list[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def encode_cursor(sort: str, value: str, id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([sort, value, id]).encode()).decode().rstrip("=")


def _decode_cursor(text: str, sort: str) -> tuple[str, str]:
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        kind, value, id = json.loads(raw)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise _wrong("cursor", "is not one that this server gave") from None
    if kind != sort or not isinstance(value, str) or not isinstance(id, str):
        raise _wrong("cursor", "belongs to a list with another sort")
    return value, id


def _wrong(field: str, reason: str) -> BadRequest:
    return BadRequest(f"{field} {reason}", [{"field": field, "reason": reason}])
