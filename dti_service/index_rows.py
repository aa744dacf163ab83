"""What the index keeps of an experiment, and how a list asks for it."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from dti_service.errors import BadRequest
from dti_service.experiment import Experiment

FORMAT = 3
# Records stand apart from what is searched, so that a search reads little.
SCHEMA = """
CREATE TABLE experiments (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, shown TEXT NOT NULL, notebook TEXT NOT NULL,
    created_at TEXT NOT NULL, queued_at TEXT NOT NULL, finished_at TEXT NOT NULL, priority INTEGER NOT NULL,
    device TEXT NOT NULL, key TEXT, search TEXT NOT NULL, stamp TEXT NOT NULL, settled INTEGER NOT NULL
);
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
INSERT_ROW = f"INSERT OR REPLACE INTO experiments VALUES ({','.join('?' * 14)})"
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


def select(query: Query) -> Selection:
    """Raises BadRequest for an unknown sort or cursor."""
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
        conditions.append("instr(search, ?) > 0")
        values.append(query.q.casefold())
    further, more_values = list(conditions), list(values)
    if query.cursor is not None:
        # Go on behind the last row seen, so that rows that come and go shift nothing.
        further.append(f"({column}, id) {'<' if descending else '>'} (?, ?)")
        more_values += _decode_cursor(query.cursor, query.sort)
    return Selection(column, descending, _where(conditions), values, _where(further), more_values)


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
