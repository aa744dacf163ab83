"""From a Python annotation, or from a default value alone, to JSON Schema (draft 2020-12)."""

from __future__ import annotations

import ast
from typing import Any

from dti_service.execution.parameter_cell import MISSING, Declaration, Interval

_SIMPLE = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "bool": "boolean",
    "None": "null",
    "NoneType": "null",
    "Path": "string",
    "PathLike": "string",
    "list": "array",
    "List": "array",
    "Sequence": "array",
    "Iterable": "array",
    "tuple": "array",
    "Tuple": "array",
    "set": "array",
    "Set": "array",
    "dict": "object",
    "Dict": "object",
    "Mapping": "object",
}
_TRANSPARENT = {"Annotated", "Final", "ClassVar", "Required", "NotRequired"}

Schema = dict[str, Any]


class UnknownType(ValueError):
    """An annotation that says nothing about JSON values."""


def property_schema(declaration: Declaration, problems: list[tuple[int, str]]) -> Schema:
    """The schema of one parameter; what cannot be expressed is reported and leaves the value unchecked."""
    schema: Schema = {}
    if declaration.annotation is not None:
        try:
            schema = _annotation(declaration.annotation)
        except UnknownType as error:
            problems.append((declaration.line, f"the type of {declaration.name} is not checked: {error}"))
    elif declaration.default is not MISSING:
        schema = _of_value(declaration.default)
    if declaration.default is None and schema and not accepts_null(schema):
        schema = _union([schema, {"type": "null"}])
    if declaration.interval is not None and not _limit(schema, declaration.interval):
        problems.append((declaration.line, f"the range of {declaration.name} is not for numbers"))
    return schema


def accepts_null(schema: Schema) -> bool:
    """May the value be None?"""
    if "anyOf" in schema:
        return any(accepts_null(variant) for variant in schema["anyOf"])
    if "enum" in schema:
        return None in schema["enum"]
    kind = schema.get("type")
    return kind is None or kind == "null" or (isinstance(kind, list) and "null" in kind)


def _annotation(node: ast.expr) -> Schema:
    if isinstance(node, ast.Constant):
        if node.value is None:
            return {"type": "null"}
        if isinstance(node.value, str):  # a quoted annotation
            try:
                return _annotation(ast.parse(node.value, mode="eval").body)
            except SyntaxError:
                raise UnknownType(repr(node.value)) from None
    if isinstance(node, ast.Name | ast.Attribute):
        name = _last_name(node)
        if name in {"Any", "object"}:
            return {}
        if name in _SIMPLE:
            return {"type": _SIMPLE[name]}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([_annotation(node.left), _annotation(node.right)])
    if isinstance(node, ast.Subscript):
        return _subscript(_last_name(node.value), node.slice)
    raise UnknownType(ast.unparse(node))


def _last_name(node: ast.expr) -> str:
    """ "Literal" of both `Literal` and `typing.Literal`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _subscript(name: str, content: ast.expr) -> Schema:
    items = list(content.elts) if isinstance(content, ast.Tuple) else [content]
    if name in _TRANSPARENT and items:
        return _annotation(items[0])
    if name == "Optional" and len(items) == 1:
        return _union([_annotation(items[0]), {"type": "null"}])
    if name == "Union":
        return _union([_annotation(item) for item in items])
    if name == "Literal":
        return _enum(items)
    if name in {"tuple", "Tuple"}:
        if len(items) == 2 and isinstance(items[1], ast.Constant) and items[1].value is ...:
            return {"type": "array", "items": _annotation(items[0])}
        members = [_annotation(item) for item in items]
        return {"type": "array", "prefixItems": members, "minItems": len(members), "maxItems": len(members)}
    if _SIMPLE.get(name) == "array" and len(items) == 1:
        schema = {"type": "array", "items": _annotation(items[0])}
        return schema | ({"uniqueItems": True} if name in {"set", "Set"} else {})
    if _SIMPLE.get(name) == "object" and len(items) == 2:
        return {"type": "object", "additionalProperties": _annotation(items[1])}
    raise UnknownType(f"{name}[{ast.unparse(content)}]")


def _enum(items: list[ast.expr]) -> Schema:
    try:
        values = [ast.literal_eval(item) for item in items]
    except ValueError:
        raise UnknownType("a Literal of something else than plain values") from None
    kinds = ["null" if value is None else _of_value(value).get("type", "") for value in values]
    if not all(kinds) or set(kinds) & {"array", "object"}:
        raise UnknownType("a Literal of something else than plain values")
    distinct = list(dict.fromkeys(kinds))
    return {"type": distinct[0] if len(distinct) == 1 else distinct, "enum": values}


def _union(variants: list[Schema]) -> Schema:
    """One schema for several: simple types become a list of types, everything else anyOf."""
    flat: list[Schema] = []
    for variant in variants:
        for item in variant.get("anyOf", [variant]):
            if not item:
                return {}
            if item not in flat:
                flat.append(item)
    if len(flat) == 1:
        return flat[0]
    enums = [item for item in flat if "enum" in item]
    if len(enums) == 1 and all(item == {"type": "null"} for item in flat if "enum" not in item):
        choice = enums[0]
        return {"type": [*_types(choice), "null"], "enum": [*choice["enum"], None]}
    if all(set(item) == {"type"} and not set(_types(item)) & {"array", "object"} for item in flat):
        return {"type": list(dict.fromkeys(kind for item in flat for kind in _types(item)))}
    return {"anyOf": flat}


def _types(schema: Schema) -> list[str]:
    kind = schema["type"]
    return list(kind) if isinstance(kind, list) else [kind]


def _of_value(value: Any) -> Schema:
    """The schema that a default without annotation suggests; of None nothing is known."""
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer"}
    if isinstance(value, float):
        return {"type": "number"}
    if isinstance(value, str):
        return {"type": "string"}
    if isinstance(value, list | tuple | set):
        return {"type": "array"}
    if isinstance(value, dict):
        return {"type": "object"}
    return {}


def _limit(schema: Schema, interval: Interval) -> bool:
    """Put the interval on every number in the schema; False when there is none."""
    if "enum" in schema:
        return False
    if "anyOf" in schema:
        return _limit_each(schema["anyOf"], interval)
    kinds = _types(schema) if "type" in schema else []
    if {"integer", "number"} & set(kinds):
        if interval.low is not None:
            schema["minimum" if interval.low_included else "exclusiveMinimum"] = interval.low
        if interval.high is not None:
            schema["maximum" if interval.high_included else "exclusiveMaximum"] = interval.high
        return True
    inner = [*schema.get("prefixItems", ()), *([schema["items"]] if "items" in schema else [])]
    return _limit_each(inner, interval)


def _limit_each(schemas: list[Schema], interval: Interval) -> bool:
    limited = [_limit(schema, interval) for schema in schemas]
    return any(limited)
