"""Puts right the notebook of a run whose executor died: no cell may look as if it still ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dti_service import atomic


def seal_notebook(path: Path, status: str) -> list[tuple[int, int, str]]:
    """Cells marked as running get `status` ("failed" or "cancelled"); those never begun stay pending.

    Returns (index, number of cells, first line) of what was changed; nothing for a file that is no notebook. Raises
    OSError when the file cannot be written.
    """
    try:
        notebook = atomic.read_json(path)
        cells = notebook["cells"]
        changed = [
            (index, len(cells), _first_line(cell))
            for index, cell in enumerate(cells)
            if _seal_cell(cell, status)
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
    if changed:
        if status == "failed":
            notebook.setdefault("metadata", {}).setdefault("papermill", {})["exception"] = True
        atomic.write_json(path, notebook)
    return changed


def _seal_cell(cell: dict[str, Any], status: str) -> bool:
    state = cell.get("metadata", {}).get("papermill", {})
    if state.get("status") != "running":
        return False
    state["status"] = status
    state["exception"] = status == "failed"
    return True


def _first_line(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    text = "".join(source) if isinstance(source, list) else str(source)
    return text.strip().split("\n")[0][:80]
