"""Tables from outside: a CSV file beside the images, with a column of names and what is known of each image."""

from __future__ import annotations

import csv
import io

TABLE_FILES = ("labels.csv", "metadata.csv")
LABEL = "label"
MOST_BYTES = 64 << 20
MOST_CHARACTERS = 1000
MOST_COLUMNS = 24
MOST_HEADING = 60
_NAMES = ("name", "file", "filename", "path", "image")
_LABELS = (LABEL, "class", "category")
# What the tables of a run say themselves.
_TAKEN = {"image_id", "cluster_id", "cluster_name", "distance", "crop", "layers", "fits", "known_label"}
_TAKEN_BEGINNINGS = ("dist_cluster_", "matrix_")


def read_table(data: bytes, most: int) -> dict[str, dict[str, str]]:
    """What a table says of at most `most` images, by their names: column -> text, the column of known labels under
    `LABEL`. Empty for a file that is no such table: it is only an extra."""
    found: dict[str, dict[str, str]] = {}
    try:
        rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        header = [heading.strip() for heading in next(rows, [])]
        name_at, columns = _columns(header)
        for row in rows:
            if len(row) <= name_at:
                continue
            name = row[name_at].strip().replace("\\", "/")
            facts = {column: text for at, column in columns if at < len(row) and (text := _text(row[at]))}
            if name and len(name) <= MOST_CHARACTERS and facts:
                found[name] = facts
            if len(found) > most:
                return {}
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return {}
    return found


def _columns(header: list[str]) -> tuple[int, list[tuple[int, str]]]:
    """Where the name stands, and the place and name of each column of facts. StopIteration when there is no name."""
    low = [heading.lower() for heading in header]
    name_at = next(low.index(column) for column in _NAMES if column in low)
    label_at = next((low.index(column) for column in _LABELS if column in low), None)
    columns: dict[str, int] = {} if label_at is None else {LABEL: label_at}
    for at, heading in enumerate(header):
        if at in (name_at, label_at) or len(columns) >= MOST_COLUMNS:
            continue
        if not heading or len(heading) > MOST_HEADING or not heading.isprintable():
            continue
        if low[at] in (*_TAKEN, *_NAMES, *_LABELS) or low[at].startswith(_TAKEN_BEGINNINGS):
            continue
        columns.setdefault(heading, at)
    return name_at, [(at, column) for column, at in columns.items()]


def _text(cell: str) -> str:
    """A cell as it is kept; "" for one that is too long, or holds signs that no text has."""
    text = cell.strip()
    return text if len(text) <= MOST_CHARACTERS and text.isprintable() else ""
