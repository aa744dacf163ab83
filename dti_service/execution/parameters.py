"""The parameters of a notebook as JSON Schema, read from its cell tagged `parameters`; nothing is executed.

    schema = notebook_schema(path)
    values, errors = validate(schema, {"n_prototypes": 12})

See `parameter_cell` for how a notebook declares types, help, groups and ranges.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from dti_service.execution.parameter_cell import MISSING, Declaration, read_cell
from dti_service.execution.parameter_check import coerce_text, validate
from dti_service.execution.parameter_types import property_schema

__all__ = ["NotebookError", "coerce_text", "notebook_schema", "source_schema", "validate"]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
LARGEST_NOTEBOOK = 200 * 2**20  # bytes
CACHE_SIZE = 256

_cache: OrderedDict[tuple[Any, ...], dict[str, Any]] = OrderedDict()
_cache_guard = threading.Lock()


class NotebookError(ValueError):
    """A file that is not a notebook of format 4."""


def notebook_schema(path: str | Path) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the notebook's parameters.

    Additions to the standard: `x-group` of a parameter, `x-default-source` for a default that is not a plain value,
    and `x-problems`, a list of {line, reason}, for what could not be read. Raises NotebookError, OSError.
    """
    path = Path(path)
    state = path.stat()
    key = (str(path.absolute()), state.st_mtime_ns, state.st_size, state.st_ino)
    with _cache_guard:
        if key in _cache:
            _cache.move_to_end(key)
            return copy.deepcopy(_cache[key])
    if state.st_size > LARGEST_NOTEBOOK:
        raise NotebookError(f"{path.name} is larger than a notebook may be ({LARGEST_NOTEBOOK >> 20} MB)")
    schema = _schema(_cells(path), path.stem)
    with _cache_guard:
        _cache[key] = schema
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    return copy.deepcopy(schema)


def source_schema(source: str) -> dict[str, Any]:
    """The schema of a parameters cell with this source."""
    cell = read_cell(source)
    problems = list(cell.problems)
    properties = {item.name: _property(item, problems) for item in cell.declarations}
    schema: dict[str, Any] = {
        "$schema": DRAFT,
        "type": "object",
        "properties": properties,
        "required": [
            item.name for item in cell.declarations if item.default is MISSING and item.source is None
        ],
        "additionalProperties": False,
    }
    if problems:
        schema["x-problems"] = [{"line": line, "reason": reason} for line, reason in sorted(problems)]
    return schema


def _property(declaration: Declaration, problems: list[tuple[int, str]]) -> dict[str, Any]:
    schema = property_schema(declaration, problems)
    if declaration.help:
        schema["description"] = declaration.help
    if declaration.group:
        schema["x-group"] = declaration.group
    if declaration.source is not None:
        schema["x-default-source"] = declaration.source
    if declaration.default is not MISSING:
        schema["default"] = declaration.default
        for error in validate({"properties": {"": schema}}, {"": declaration.default})[1]:
            problems.append((declaration.line, f"the default of {declaration.name} {error['reason']}"))
    return schema


def _cells(path: Path) -> list[dict[str, Any]]:
    try:
        notebook = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise NotebookError(f"{path.name} is not a notebook: it is not JSON") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or notebook.get("nbformat") != 4:
        raise NotebookError(
            f"{path.name} is not a notebook of format 4: open and save it in JupyterLab first"
        )
    return [cell for cell in cells if isinstance(cell, dict)]


def _schema(cells: list[dict[str, Any]], name: str) -> dict[str, Any]:
    source = next((_source(cell) for cell in cells if "parameters" in _tags(cell)), "")
    text = next((_source(cell) for cell in cells if cell.get("cell_type") == "markdown"), "")
    title, description = _headline(text)
    return {"title": title or name.replace("_", " "), "description": description, **source_schema(source)}


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    parts = source if isinstance(source, list) else [source]
    return "".join(part for part in parts if isinstance(part, str))


def _tags(cell: dict[str, Any]) -> list[Any]:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) and cell.get("cell_type") == "code" else None
    return tags if isinstance(tags, list) else []


def _headline(markdown: str) -> tuple[str, str]:
    """The first heading, and the first paragraph behind it, of the notebook's first text cell."""
    title = ""
    paragraph: list[str] = []
    for line in markdown.splitlines():
        heading = re.match(r"#+\s+(.*)", line)
        if heading and not title and not paragraph:
            title = heading[1].strip(" #")
        elif heading or (paragraph and not line.strip()):
            break
        elif line.strip():
            paragraph.append(line.strip())
    return title, " ".join(paragraph)
