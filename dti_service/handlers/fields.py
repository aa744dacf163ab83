"""Reading a JSON object or a query field by field, so that all problems are told at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dti_service.errors import BadRequest, InvalidRequest

Reader = Callable[[Any], Any]


def text(*, longest: int, empty: bool = False) -> Reader:
    """A string of at most `longest` characters, without control characters."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a text")
        if len(value) > longest:
            raise ValueError(f"may have at most {longest} characters")
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise ValueError("may not hold control characters")
        if not empty and not value.strip():
            raise ValueError("may not be empty")
        return value

    return read


def integer(lowest: int, highest: int) -> Reader:
    """A whole number within limits; true and false are none."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number")
        if not lowest <= value <= highest:
            raise ValueError(f"must be from {lowest} to {highest}")
        return value

    return read


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def mapping(value: Any) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    return value


def texts(*, longest: int, most: int, single: bool = False) -> Reader:
    """A list of texts; with `single`, one text stands for a list of one."""
    one = text(longest=longest)

    def read(value: Any) -> list[str]:
        if single and isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            raise ValueError("must be a list of texts")
        if len(value) > most:
            raise ValueError(f"may have at most {most} entries")
        return [one(item) for item in value]

    return read


def documents(*, most: int) -> Reader:
    """A list of objects that name documents; what they may hold, the datasets' own reader says."""

    def read(value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise ValueError('must be a list of documents such as {"type": "zip", "src": "https://..."}')
        if len(value) > most:
            raise ValueError(f"may have at most {most} entries")
        return value

    return read


def read_object(
    body: Mapping[str, Any], readers: Mapping[str, Reader], *, required: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The fields of `readers` that are given (null: not given). `InvalidRequest` names every field that is wrong,
    missing or unknown."""
    errors = [
        {"field": name[:80], "reason": f"unknown field; known: {', '.join(readers)}"}
        for name in body
        if name not in readers
    ]
    errors += [{"field": name, "reason": "is required"} for name in required if body.get(name) is None]
    values = {}
    for name, reader in readers.items():
        if body.get(name) is None:
            continue
        try:
            values[name] = reader(body[name])
        except ValueError as error:
            errors.append({"field": name, "reason": str(error)})
    if errors:
        raise InvalidRequest("The request is not valid", errors)
    return values


def query_integer(query: Mapping[str, str], name: str, lowest: int, highest: int) -> int | None:
    """A whole number from the query; None when it is not given, `BadRequest` when it is none."""
    given = query.get(name)
    if given is None:
        return None
    if not given.isascii() or not given.isdecimal() or len(given) > 18 or not lowest <= int(given) <= highest:
        reason = f"must be a whole number from {lowest} to {highest}"
        raise BadRequest("The query is not valid", [{"field": name, "reason": reason}])
    return int(given)


def query_flag(query: Mapping[str, str], name: str) -> bool:
    """true or false from the query; false when it is not given."""
    return query_choice(query, name, ("true", "false")) == "true"


def query_choice(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    """One of some words from the query; None when it is not given."""
    given = query.get(name)
    if given is not None and given not in choices:
        reason = f"must be one of {', '.join(choices)}"
        raise BadRequest("The query is not valid", [{"field": name, "reason": reason}])
    return given
