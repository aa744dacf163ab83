"""Known classes of the images, for evaluation only: training never sees them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from dti_sprites.errors import DataError

_NAME_COLUMNS = ("name", "file", "filename", "path", "image")
_LABEL_COLUMNS = ("label", "class", "category")


def labels_from_folders(names: Sequence[str]) -> list[str]:
    """The folder of each image, as its label. Raises DataError when an image is in none."""
    labels = [PurePosixPath(name).parent.as_posix() for name in names]
    outside = [name for name, label in zip(names, labels, strict=True) if label == "."]
    if outside:
        raise DataError(f"labels by folder: {len(outside)} images are in no sub-folder, such as {outside[0]}")
    return labels


def find_labels_file(folder: Path) -> Path:
    """`labels.csv` in the folder of the images or beside it. Raises DataError."""
    for candidate in (folder / "labels.csv", folder.parent / "labels.csv"):
        if candidate.is_file():
            return candidate
    raise DataError(f"no labels.csv in {folder} or beside it")


def read_labels(path: Path, names: Sequence[str], column: str | None = None) -> list[str]:
    """The label of each image from a CSV file with a header: a column of names and one of labels.

    A row is found by the image's whole name, or by its end (`images/a.png` by `a.png`) where that is
    unambiguous; an image without a row gets "". `column` names the column of labels. Raises DataError.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    columns = {str(key).strip().lower(): key for key in (rows[0] if rows else {})}
    name_column = next((columns[key] for key in _NAME_COLUMNS if key in columns), None)
    wanted = (column.lower(),) if column else _LABEL_COLUMNS
    label_column = next((columns[key] for key in wanted if key in columns), None)
    if name_column is None or label_column is None:
        raise DataError(
            f"{path} must have a column {' or '.join(_NAME_COLUMNS)} and a column {' or '.join(wanted)}; "
            f"it has {', '.join(columns) or 'none'}"
        )
    by_name = {str(row[name_column]).strip().replace("\\", "/"): str(row[label_column] or "") for row in rows}
    ends = Counter(end for name in names for end in _ends(name))
    labels = []
    for name in names:
        candidates = [name, *(end for end in _ends(name) if ends[end] == 1)]
        labels.append(next((by_name[c].strip() for c in candidates if c in by_name), ""))
    if names and not any(labels):
        raise DataError(f"{path} names none of the images: the first is {names[0]!r}")
    return labels


def _ends(name: str) -> list[str]:
    """The shorter names "b/c.png" and "c.png" of "a/b/c.png"."""
    parts = PurePosixPath(name).parts
    return ["/".join(parts[i:]) for i in range(1, len(parts))]
