"""Renders the routes of `dti_service/openapi.yaml` into docs/api.md, between its two marks.

    python tools/api_guide.py            write the file anew
    python tools/api_guide.py --check    exit 1 if it is not up to date

The rest of docs/api.md is written by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
OPENAPI = ROOT / "dti_service" / "openapi.yaml"
GUIDE = ROOT / "docs" / "api.md"
BEGIN, END = "<!-- begin: rendered by tools/api_guide.py -->", "<!-- end -->"
# Said once, in the table of errors.
EVERYWHERE = {"400", "403", "413", "415"}
VERBS = ("get", "head", "post", "put", "patch", "delete")
TITLES = {
    "experiments": "Experiments",
    "results": "Results of an experiment",
    "datasets": "Datasets",
    "notebooks": "Notebooks",
    "demos": "Demos",
    "service": "The service itself",
    "compatibility": "Compatibility routes",
}


class Renderer:
    """Markdown of one OpenAPI document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def render(self) -> str:
        return "\n".join([*self._routes(), *self._objects()]).strip() + "\n"

    def _routes(self) -> list[str]:
        lines: list[str] = []
        for tag in self.document["tags"]:
            lines += [f"### {TITLES[tag['name']]}", ""]
            if tag.get("description"):
                lines += [_prose(tag["description"]), ""]
            for path, item in self.document["paths"].items():
                for verb in VERBS:
                    operation = item.get(verb)
                    # HEAD is GET without the content; saying each twice helps nobody.
                    if operation and verb != "head" and tag["name"] in operation["tags"]:
                        lines += self._operation(verb, path, item, operation)
        return lines

    def _operation(self, verb: str, path: str, item: dict[str, Any], operation: dict[str, Any]) -> list[str]:
        lines = [f"#### `{verb.upper()} {path}`", "", f"{operation['summary']}.", ""]
        if operation.get("description"):
            lines += [_prose(operation["description"]), ""]
        given = [*item.get("parameters", []), *operation.get("parameters", [])]
        rows = [self._parameter(self._resolved(entry)) for entry in given]
        rows = [row for row in rows if row is not None]
        if rows:
            lines += _table(("parameter", "in", "values", "meaning"), rows)
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            lines += [f"Body ({kind}): {self._type(content.get('schema', {}))}.", ""]
        answers = [
            self._answer(status, entry)
            for status, entry in operation["responses"].items()
            if status not in EVERYWHERE
        ]
        lines += ["Answers: " + "; ".join(answers) + ".", ""]
        return lines

    def _parameter(self, parameter: dict[str, Any]) -> tuple[str, ...] | None:
        if parameter["name"] in ("Range", "If-None-Match") and parameter["in"] == "header":
            return None  # said once, above the routes
        schema = self._resolved(parameter.get("schema", {}))
        name = f"`{parameter['name']}`"
        return name, parameter["in"], self._type(schema), _prose(parameter.get("description", ""))

    def _answer(self, status: str, response: dict[str, Any]) -> str:
        response = self._resolved(response)
        content = response.get("content", {})
        names = [
            schema["$ref"].rsplit("/", 1)[-1]
            for schema in (entry.get("schema", {}) for entry in content.values())
            if "$ref" in schema
        ]
        text = _prose(response["description"]).rstrip(".")
        shown = [name for name in dict.fromkeys(names) if name != "Error"]
        return f"`{status}` {text}" + (f" ({', '.join(map(_link, shown))})" if shown else "")

    def _objects(self) -> list[str]:
        lines = ["### Objects", ""]
        for name, schema in sorted(self.document["components"]["schemas"].items()):
            lines += [f"#### {name}", ""]
            if schema.get("description"):
                lines += [_prose(schema["description"]), ""]
            required = schema.get("required", [])
            rows = [
                (
                    f"`{field}`" + ("" if field in required else " (optional)"),
                    self._type(inner),
                    _prose(self._resolved(inner).get("description", "")),
                )
                for field, inner in schema.get("properties", {}).items()
            ]
            if rows:
                lines += _table(("field", "values", "meaning"), rows)
            else:
                lines += [f"{self._type(schema)}.", ""]
        return lines

    def _type(self, schema: dict[str, Any]) -> str:
        """A schema in a few words."""
        if "$ref" in schema:
            return _link(schema["$ref"].rsplit("/", 1)[-1])
        for choice in ("oneOf", "anyOf"):
            if choice in schema:
                return " or ".join(dict.fromkeys(self._type(inner) for inner in schema[choice]))
        if "allOf" in schema:
            return " and ".join(self._type(inner) for inner in schema["allOf"])
        if "const" in schema:
            return f"`{schema['const']}`"
        if "enum" in schema:
            words = ", ".join(f"`{value}`" for value in schema["enum"] if value is not None)
            return words + (" or null" if None in schema["enum"] else "") + _default(schema)
        kinds = schema.get("type", "anything")
        words = [
            f"list of {self._type(schema['items'])}" if kind == "array" and "items" in schema else kind
            for kind in ([kinds] if isinstance(kinds, str) else kinds)
        ]
        return " or ".join(words) + _bounds(schema) + _default(schema)

    def _resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in value:
            target: Any = self.document
            for step in value["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            value = target
        return value


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f", at least {low}"
    if schema.get("format"):
        return f" ({schema['format']})"
    return f", at most {schema['maxLength']} characters" if "maxLength" in schema else ""


def _default(schema: dict[str, Any]) -> str:
    return f" (default `{schema['default']}`)" if "default" in schema else ""


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _prose(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [*lines, ""]


def updated(guide: str, document: dict[str, Any]) -> str:
    """`guide` with its rendered part as `document` says. Raises ValueError without the two marks."""
    before, begin, rest = guide.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{GUIDE.name} must hold the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{Renderer(document).render()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    guide = GUIDE.read_text(encoding="utf-8")
    text = updated(guide, yaml.safe_load(OPENAPI.read_text(encoding="utf-8")))
    if "--check" in arguments:
        if text != guide:
            print("docs/api.md is not up to date: run python tools/api_guide.py", file=sys.stderr)
        return int(text != guide)
    GUIDE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
