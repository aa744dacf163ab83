"""Typed settings: one dataclass field carries its type, default, range and help text.

From these fields come the parsing of YAML, JSON and command-line values, the messages for what is wrong
with them, and the JSON Schema that forms are drawn from.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, Union

Problem = tuple[str, str]  # (field, reason)


class Mismatch(Exception):
    """The value is not of the type; the message completes "must be ..."."""


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    check: Callable[[Any], str | None] | None = None,
    factory: Any = dataclasses.MISSING,
) -> Any:
    """A dataclass field with its range: `minimum`/`maximum` inclusive, `above`/`below` exclusive.

    The range holds for every number in the value (both sides of a size, all entries of a list).
    `check` gets the parsed value and returns what is wrong with it, or None.
    """
    metadata: dict[str, Any] = {"help": help, "check": check}
    metadata |= {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    return dataclasses.field(default=default, default_factory=factory, metadata=metadata)


@cache
def field_types(cls: type) -> dict[str, Any]:
    """Resolved type of each field of a dataclass."""
    return typing.get_type_hints(cls)


def parse_section(cls: type, values: Any, path: str, problems: list[Problem]) -> dict[str, Any]:
    """Parsed keyword arguments of dataclass `cls` from a mapping; what is wrong goes to `problems`.

    Missing keys are left out (the default applies), nested sections come back as dataclasses.
    """
    if dataclasses.is_dataclass(values) and isinstance(values, cls):
        values = {f.name: getattr(values, f.name) for f in dataclasses.fields(values)}
    if not isinstance(values, Mapping):
        problems.append((path, f"must be a section of settings, not {_show(values)}"))
        return {}
    fields = {f.name: f for f in dataclasses.fields(cls)}
    parsed: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}.{key}" if path else str(key)
        if key not in fields:
            problems.append((name, f"unknown setting; possible: {', '.join(fields)}"))
            continue
        kind = field_types(cls)[key]
        if dataclasses.is_dataclass(kind):
            nested = parse_section(typing.cast(type, kind), value, name, problems)
            parsed[key] = typing.cast(type, kind)(**nested)
            continue
        try:
            parsed[key] = parse_value(kind, value)
        except Mismatch as mismatch:
            problems.append((name, f"must be {mismatch}, not {_show(value)}"))
            continue
        reason = _out_of_range(fields[key].metadata, parsed[key])
        if reason:
            problems.append((name, reason))
            del parsed[key]
    return parsed


def parse_value(kind: Any, value: Any) -> Any:
    """`value` as an instance of the annotated type `kind`; raises Mismatch.

    Numbers may come as text ("1e-3" is text in YAML 1.1), lists as tuples and the reverse. True and False
    are never numbers.
    """
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        options = typing.get_args(kind)
        # Text is tried last, otherwise a union with str would swallow every number.
        for option in sorted(options, key=lambda o: o is str):
            try:
                return parse_value(option, value)
            except Mismatch:
                continue
        raise Mismatch(describe(kind))
    if origin is Literal:
        choices = typing.get_args(kind)
        for choice in choices:
            if type(choice) is type(value) and choice == value:
                return choice
        raise Mismatch(describe(kind))
    if origin is tuple:
        return _parse_tuple(kind, value)
    if kind is type(None):
        if value is None:
            return None
    elif kind is bool:
        if isinstance(value, bool):
            return value
    elif kind is int:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif kind is float:
        number = _as_float(value)
        if number is not None:
            return number
    elif kind is str and isinstance(value, str):
        return value
    raise Mismatch(describe(kind))


def _as_float(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _parse_tuple(kind: Any, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise Mismatch(describe(kind))
    args = typing.get_args(kind)
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise Mismatch(describe(kind))
    try:
        return tuple(parse_value(arg, item) for arg, item in zip(args, value, strict=True))
    except Mismatch:
        raise Mismatch(describe(kind)) from None


def describe(kind: Any) -> str:
    """Words for a type: "a whole number", "one of a, b", "a list of whole numbers"."""
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option) for option in typing.get_args(kind))
    if origin is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(kind)))
    if origin is tuple:
        args = typing.get_args(kind)
        element = describe(args[0]).removeprefix("a ")
        return f"a list of {element}s" if args[-1] is Ellipsis else f"a list of {len(args)} {element}s"
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    return plain[kind]


def _out_of_range(metadata: Mapping[str, Any], value: Any) -> str | None:
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        for key, words, holds in (
            ("minimum", "at least", number.__ge__),
            ("maximum", "at most", number.__le__),
            ("above", "above", number.__gt__),
            ("below", "below", number.__lt__),
        ):
            bound = metadata.get(key)
            # An int compared by its own dunder with a float bound answers NotImplemented: compare as float.
            if bound is not None and not getattr(float(number), holds.__name__)(float(bound)):
                return f"must be {words} {bound:g}, not {number:g}"
    check = metadata.get("check")
    return check(value) if check else None


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def section_schema(cls: type) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a dataclass of settings."""
    properties: dict[str, Any] = {}
    for f in dataclasses.fields(cls):
        kind = field_types(cls)[f.name]
        if dataclasses.is_dataclass(kind):
            schema = section_schema(typing.cast(type, kind))
        else:
            schema = _type_schema(kind, f.metadata)
            default = f.default if f.default is not dataclasses.MISSING else None
            schema["default"] = list(default) if isinstance(default, tuple) else default
        if f.metadata.get("help"):
            schema["description"] = f.metadata["help"]
        properties[f.name] = schema
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _type_schema(kind: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_type_schema(option, metadata) for option in typing.get_args(kind)]}
    if origin is Literal:
        return {"enum": list(typing.get_args(kind))}
    if origin is tuple:
        args = typing.get_args(kind)
        schema: dict[str, Any] = {"type": "array", "items": _type_schema(args[0], metadata)}
        if args[-1] is not Ellipsis:
            schema |= {"minItems": len(args), "maxItems": len(args)}
        return schema
    if kind not in (int, float):
        return {"type": {bool: "boolean", str: "string", type(None): "null"}[kind]}
    schema = {"type": "integer" if kind is int else "number"}
    for key, keyword in (
        ("minimum", "minimum"),
        ("maximum", "maximum"),
        ("above", "exclusiveMinimum"),
        ("below", "exclusiveMaximum"),
    ):
        if metadata.get(key) is not None:
            schema[keyword] = metadata[key]
    return schema


def to_plain(section: Any) -> dict[str, Any]:
    """A dataclass of settings as nested dictionaries of what YAML and JSON can hold."""
    plain: dict[str, Any] = {}
    for f in dataclasses.fields(section):
        value = getattr(section, f.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            plain[f.name] = to_plain(value)
        else:
            plain[f.name] = list(value) if isinstance(value, tuple) else value
    return plain
