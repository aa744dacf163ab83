"""Checks values against the schema of a notebook's parameters, and collects everything that is wrong with them."""

from __future__ import annotations

import ast
import difflib
import json
import keyword
import math
from collections.abc import Mapping
from typing import Any

LONGEST_NAME = 100  # characters
LONGEST_TEXT = 100_000  # characters of one text
LARGEST_TOTAL = 1_000_000  # characters of all values as JSON
LARGEST_INTEGER = 2**63
DEEPEST = 20  # lists and mappings inside each other
MOST_ERRORS = 100

Schema = dict[str, Any]
Problem = dict[str, str]

_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "a mapping",
}
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
# Earlier kinds are tried first when a text may be read as several.
_READING_ORDER = ("null", "boolean", "integer", "number", "array", "object", "string")


class _Wrong(Exception):
    """Values that do not fit, as (path below the parameter, reason)."""

    def __init__(self, reason: str, path: str = "") -> None:
        self.items = [(path, reason)]

    @classmethod
    def several(cls, items: list[tuple[str, str]]) -> _Wrong:
        error = cls("")
        error.items = items
        return error


def validate(schema: Schema, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The values to run with, and all problems as {"field", "reason"}; with problems, nothing should run.

    Strict: true is not a whole number, "10" is none either; a whole number is accepted as a float and becomes one.
    Names that the notebook does not declare are refused. Only the given values are returned, without defaults.
    """
    if not isinstance(values, Mapping):
        return {}, [{"field": "", "reason": f"must be a mapping of names to values, not {_kind(values)}"}]
    properties: dict[str, Schema] = schema.get("properties", {})
    clean: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in values.items():
        if name not in properties:
            problems.append({"field": _field(name), "reason": _unknown(name, properties)})
            continue
        try:
            clean[name] = _check(properties[name], value, 0)
        except _Wrong as error:
            problems += [{"field": name + path, "reason": reason} for path, reason in error.items]
    for name in schema.get("required", ()):
        if name not in values:
            problems.append({"field": name, "reason": "must be given: it has no default"})
    if not problems and len(json.dumps(clean)) > LARGEST_TOTAL:
        problems.append({"field": "", "reason": f"all values together exceed {LARGEST_TOTAL} characters"})
    return clean, problems[:MOST_ERRORS]


def coerce_text(schema: Schema, texts: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Values read from texts, as typed on a command line, by the types that the notebook declares; and problems.

    "12" becomes 12 for an int, "null" None where that is allowed, "1,2" or "[1, 2]" a list. Values that are no texts,
    and names that are not declared, stay as they are: `validate` decides on them.
    """
    properties: dict[str, Schema] = schema.get("properties", {})
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, text in texts.items():
        values[name] = text
        if name in properties and isinstance(text, str):
            try:
                values[name] = _read(properties[name], text)
            except _Wrong as error:
                problems += [{"field": name + path, "reason": reason} for path, reason in error.items]
    return values, problems


# Names


def _field(name: Any) -> str:
    """A name as the client gave it, unless it is no name at all."""
    return (
        name if isinstance(name, str) and name.isidentifier() and len(name) <= LONGEST_NAME else _shown(name)
    )


def _unknown(name: Any, properties: Mapping[str, Schema]) -> str:
    if (
        not isinstance(name, str)
        or not name.isidentifier()
        or keyword.iskeyword(name)
        or len(name) > LONGEST_NAME
    ):
        return "is not a parameter name"
    close = difflib.get_close_matches(name.lower(), properties, n=3, cutoff=0.6)
    if close:
        return f"is not a parameter of this notebook; did you mean {' or '.join(close)}?"
    if not properties:
        return "is not a parameter: this notebook takes none"
    known = ", ".join(properties)
    return f"is not a parameter of this notebook; it takes {known}"


# Values


def _check(schema: Schema, value: Any, depth: int) -> Any:
    """The value, with whole numbers as floats where floats are declared. Raises _Wrong."""
    if depth > DEEPEST:
        raise _Wrong(f"is nested more than {DEEPEST} deep")
    if "anyOf" in schema:
        return _check_variants(schema, value, depth)
    if "enum" in schema:
        for choice in schema["enum"]:
            if choice == value and type(choice) is type(value):
                return choice
        raise _Wrong(f"must be one of {_choices(schema['enum'])}, not {_shown(value)}")
    value = _plain(value)
    kinds = _kinds(schema)
    kind = _kind_of(value)
    if kinds and kind not in kinds:
        if kind == "integer" and "number" in kinds:
            value = float(value)
        else:
            raise _Wrong(f"must be {_words(kinds)}, not {_kind(value)}")
    if kind in {"integer", "number"}:
        _check_range(schema, value)
    elif kind == "array":
        return _check_items(schema, value, depth)
    elif kind == "object":
        return _check_members(schema, value, depth)
    return value


def _check_variants(schema: Schema, value: Any, depth: int) -> Any:
    failures = []
    for variant in schema["anyOf"]:
        try:
            return _check(variant, value, depth)
        except _Wrong as error:
            failures.append((variant, error))
    # The variant of the value's own kind explains best what is wrong.
    kind = _kind_of(value)
    for variant, failure in failures:
        if "enum" not in variant and kind in _kinds(variant):
            raise failure
    raise _Wrong(
        f"must be {' or '.join(_describe(variant) for variant in schema['anyOf'])}, not {_kind(value)}"
    )


def _plain(value: Any) -> Any:
    """The value itself if a notebook can be given it. Raises _Wrong."""
    if isinstance(value, float) and not math.isfinite(value):
        raise _Wrong("must be a finite number")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= LARGEST_INTEGER:
        raise _Wrong("must fit in 64 bits")
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise _Wrong(f"must have at most {LONGEST_TEXT} characters")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise _Wrong("holds characters that no text may have")
    return list(value) if isinstance(value, tuple) else value


def _check_range(schema: Schema, value: float) -> None:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and value < low:
        raise _Wrong(f"must be at least {low}, not {value}")
    if high is not None and value > high:
        raise _Wrong(f"must be at most {high}, not {value}")
    if above is not None and value <= above:
        raise _Wrong(f"must be more than {above}, not {value}")
    if below is not None and value >= below:
        raise _Wrong(f"must be less than {below}, not {value}")


def _check_items(schema: Schema, value: list[Any], depth: int) -> list[Any]:
    members = schema.get("prefixItems")
    if members is not None and len(value) != len(members):
        raise _Wrong(f"must have {len(members)} items, not {len(value)}")
    schemas = members if members is not None else [schema.get("items", {})] * len(value)
    checked, wrong = [], []
    for position, (item_schema, item) in enumerate(zip(schemas, value)):
        try:
            checked.append(_check(item_schema, item, depth + 1))
        except _Wrong as error:
            wrong += [(f"[{position}]{path}", reason) for path, reason in error.items]
    if wrong:
        raise _Wrong.several(wrong)
    if schema.get("uniqueItems") and len({json.dumps(item, sort_keys=True) for item in checked}) < len(
        checked
    ):
        raise _Wrong("must not hold the same item twice")
    return checked


def _check_members(schema: Schema, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    checked, wrong = {}, []
    for key, item in value.items():
        try:
            if not isinstance(key, str):
                raise _Wrong(f"must have texts as keys, not {_shown(key)}")
            checked[_plain(key)] = _check(schema.get("additionalProperties", {}), item, depth + 1)
        except _Wrong as error:
            wrong += [(f"[{_shown(key)}]{path}", reason) for path, reason in error.items]
    if wrong:
        raise _Wrong.several(wrong)
    return checked


# Texts


def _read(schema: Schema, text: str) -> Any:
    """The value that a text means under this schema. Raises _Wrong."""
    if "enum" in schema:
        for choice in schema["enum"]:
            if text == choice or (not isinstance(choice, str) and text.lower() in _spellings(choice)):
                return choice
        raise _Wrong(f"must be one of {_choices(schema['enum'])}, not {_shown(text)}")
    variants = schema.get("anyOf") or [{**schema, "type": kind} for kind in _kinds(schema)]
    if not variants:
        return _literal(text)
    for kind in _READING_ORDER:
        for variant in variants:
            if kind in (_kinds(variant) if "enum" not in variant else ["string"]):
                try:
                    return _read_kind(kind, variant, text)
                except (_Wrong, ValueError):
                    continue
    raise _Wrong(f"must be {' or '.join(_describe(variant) for variant in variants)}, not {_shown(text)}")


def _spellings(choice: Any) -> set[str]:
    """How a choice that is no text is typed on a command line."""
    return {"null", "none"} if choice is None else {json.dumps(choice).lower()}


def _read_kind(kind: str, schema: Schema, text: str) -> Any:
    if "enum" in schema:
        return _read(schema, text)
    word = text.strip().lower()
    if kind == "null" and word in {"null", "none"}:
        return None
    if kind == "boolean" and word in _TRUE | _FALSE:
        return word in _TRUE
    if kind == "integer":
        return int(text)
    if kind == "number":
        return float(text)
    if kind == "string":
        return text
    if kind == "array":
        return _read_list(schema, text)
    if kind == "object" and isinstance(value := _literal(text), dict):
        return value
    raise ValueError(text)


def _read_list(schema: Schema, text: str) -> list[Any]:
    value = _literal(text)
    if isinstance(value, list):
        return value
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    members = schema.get("prefixItems") or [schema.get("items", {})] * len(parts)
    return [_read(member, part) for member, part in zip(members, parts)] + parts[len(members) :]


def _literal(text: str) -> Any:
    """The JSON or Python value that the text spells, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return list(value) if isinstance(value, tuple | set) else value


# Words


def _kinds(schema: Schema) -> list[str]:
    kind = schema.get("type", [])
    return list(kind) if isinstance(kind, list) else [kind]


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for types, kind in (
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list | tuple, "array"),
        (Mapping, "object"),
    ):
        if isinstance(value, types):
            return kind
    raise _Wrong(f"cannot be {type(value).__name__}")


def _kind(value: Any) -> str:
    """The value in an error message: short texts and numbers themselves, else what they are."""
    kind = _kind_of(value)
    if kind == "string":
        return f"the text {_shown(value)}"
    if kind in {"array", "object"}:
        return _words([kind])
    return "null" if value is None else _shown(value)


def _describe(schema: Schema) -> str:
    if "enum" in schema:
        return f"one of {_choices(schema['enum'])}"
    if "prefixItems" in schema:
        return f"a list of {len(schema['prefixItems'])}"
    return _words(_kinds(schema))


def _words(kinds: list[str]) -> str:
    return " or ".join(_WORDS[kind] for kind in kinds if not (kind == "integer" and "number" in kinds))


def _choices(choices: list[Any]) -> str:
    return ", ".join(json.dumps(choice) for choice in choices)


def _shown(value: Any) -> str:
    """At most 80 characters of the value, on one line, as JSON where that is possible."""
    try:
        text = json.dumps(value[:100] if isinstance(value, str) else value)
    except (TypeError, ValueError):
        text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
