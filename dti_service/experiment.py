"""The experiment record and its state machine: values and rules, no input or output."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

SCHEMA_VERSION = 1

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Origin = Literal["service", "interactive"]
ErrorKind = Literal["user_error", "bad_input", "kernel_died", "out_of_memory", "time_limit", "lost"]

TRANSITIONS: dict[str, frozenset[str]] = {
    "queued": frozenset({"running", "cancelled", "failed"}),
    "running": frozenset({"succeeded", "failed", "cancelled", "queued"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
STATES = tuple(TRANSITIONS)
TERMINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)


class IllegalTransition(ValueError):
    """A change of state that the state machine does not know; terminal states never change."""


@dataclass(frozen=True)
class Experiment:
    """One experiment as kept in `experiment.json`. Times are ISO 8601 in UTC, with a final Z."""

    id: str
    notebook: str  # name of a registered notebook, or the path that was given
    name: str = ""
    state: State = "queued"
    parameters: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    tags: list[str] = field(default_factory=list)
    keep: bool = False
    owner: str | None = None
    priority: int = 0  # higher runs first
    device: str = "auto"  # as asked for
    assigned_device: str | None = None
    notify_url: list[str] = field(default_factory=list)
    resume_from: str | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None  # of what was asked for under that key
    origin: Origin = "service"
    created_at: str = ""
    queued_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    attempt: int = 0
    losses: int = 0  # attempts whose process vanished
    metrics: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None  # {kind, message, cell}
    time_limit_s: float | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Experiment:
        """Raises ValueError for what is not a record that this version can read."""
        if not isinstance(values, dict) or not isinstance(values.get("id"), str):
            raise ValueError("not an experiment record")
        version = values.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(f"a record of format {version!r}; this version reads format {SCHEMA_VERSION}")
        if values.get("state") not in TRANSITIONS:
            raise ValueError(f"unknown state {values.get('state')!r}")
        known = {name: value for name, value in values.items() if name in _FIELDS}
        wrong = [name for name, value in known.items() if not _fits(value, _FIELDS[name])]
        if wrong:
            raise ValueError(f"not an experiment record: {', '.join(wrong)} of the wrong type")
        try:
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"not an experiment record: {error}") from None


def _fits(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _types(annotation: Any) -> tuple[type, ...]:
    """The classes that a field of this annotation may hold; JSON knows no tuples, and whole numbers are floats too."""
    if get_origin(annotation) in (UnionType, Union):
        return tuple(type_ for part in get_args(annotation) for type_ in _types(part))
    if get_origin(annotation) is Literal:
        return (str,)
    class_ = get_origin(annotation) or annotation
    return (int, float) if class_ is float else (class_,)


_FIELDS = {name: _types(annotation) for name, annotation in get_type_hints(Experiment).items()}


def transition(experiment: Experiment, state: State, *, now: str | None = None, **changes: Any) -> Experiment:
    """The experiment in its next state, with the times that belong to it; `changes` are further fields.

    Raises IllegalTransition.
    """
    if state not in TRANSITIONS[experiment.state]:
        raise IllegalTransition(f"experiment {experiment.id} cannot go from {experiment.state} to {state}")
    now = now or timestamp()
    if state == "running":
        times: dict[str, Any] = {"started_at": now, "finished_at": None, "attempt": experiment.attempt + 1}
    elif state == "queued":
        # It keeps its place: what was interrupted goes on before what has not begun.
        times = {"assigned_device": None}
    else:
        times = {"finished_at": now}
    return dataclasses.replace(experiment, state=state, **{**times, **changes})


def timestamp(moment: datetime | None = None) -> str:
    """ISO 8601 in UTC with milliseconds: 2026-01-31T12:00:00.000Z."""
    moment = (moment or datetime.now(UTC)).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
