"""Tables of known labels from outside: labels.csv beside the images, with a column of names and one of labels."""

from __future__ import annotations

import csv
import io

LABELS_FILE = "labels.csv"
MOST_BYTES = 64 << 20
MOST_CHARACTERS = 1000
_NAMES = ("name", "file", "filename", "path", "image")
_LABELS = ("label", "class", "category")


def read_labels(data: bytes, most: int) -> dict[str, str]:
    """Label by name of at most `most` rows; empty for a file that is no such table: it is only an extra."""
    labels: dict[str, str] = {}
    try:
        rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        header = [column.strip().lower() for column in next(rows, [])]
        name_at = next(header.index(column) for column in _NAMES if column in header)
        label_at = next(header.index(column) for column in _LABELS if column in header)
        for row in rows:
            if len(row) <= max(name_at, label_at):
                continue
            name, label = row[name_at].strip().replace("\\", "/"), row[label_at].strip()
            if name and label and max(len(name), len(label)) <= MOST_CHARACTERS and label.isprintable():
                labels[name] = label
            if len(labels) > most:
                return {}
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return {}
    return labels
