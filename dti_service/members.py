"""Which image lies in which cluster: a result's table without the columns that can wait, small enough to be read before
the first picture is shown.

The table of 10 000 images and 50 clusters has 5 MB, nine tenths of them distances to the clusters that an image is not
in. What is left is made once and kept beside the thumbnails; it can be deleted and is made again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from operator import itemgetter
from pathlib import Path

from dti_service.atomic import write_bytes

TABLE = "cluster_by_path.csv"
LATER = ("dist_cluster_", "matrix_")  # columns whose names begin so are left out
SUFFIXES = ("png", "jpg")


def members(directory: Path) -> str | None:
    """The members of the clusters of the experiment in `directory`, as JSON; None before there is a table.

    `table`: CSV as in `results/cluster_by_path.csv`, without distances to other clusters and without matrices;
    `columns`: all columns of that file; `images`: "png" or "jpg", what the pictures of images are named with (None:
    there are none); `masked_prototypes`: whether prototypes have masks. Raises OSError, and ValueError for a table that
    is none.
    """
    results = directory / "results"
    try:
        status = (results / TABLE).stat()
    except FileNotFoundError:
        return None
    facts = {
        "images": image_suffix(results / "clusters"),
        "masked_prototypes": any_file(results / "masked_prototypes"),
    }
    key = f"{status.st_mtime_ns}\0{status.st_size}\0{facts}"
    cache = directory / "thumbnails"
    kept = cache / f"members-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    try:
        return kept.read_text("utf-8")
    except OSError:
        pass
    columns, table = shortened((results / TABLE).read_text("utf-8-sig"))
    text = json.dumps({**facts, "columns": columns, "table": table}, ensure_ascii=False)
    cache.mkdir(exist_ok=True)  # not its parents: a deleted experiment must not come back
    write_bytes(kept, text.encode(), sync=False)
    return text


def shortened(text: str) -> tuple[list[str], str]:
    """All columns of a CSV text, and the text without those that are left for later. Raises ValueError."""
    lines = csv.reader(io.StringIO(text, newline=""))
    columns = next(lines, [])
    kept = [at for at, name in enumerate(columns) if not name.startswith(LATER)]
    if len(kept) < 2:
        raise ValueError(f"{TABLE} has no columns that say which image lies where")
    pick = itemgetter(*kept)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(pick(columns))
    try:
        writer.writerows(pick(line) for line in lines if line)
    except (IndexError, csv.Error) as error:
        raise ValueError(f"{TABLE} has a line that is too short") from error
    return columns, out.getvalue()


def image_suffix(clusters: Path) -> str | None:
    """What the pictures below `clusters/` are named with. A run writes all of them in one format."""
    try:
        with os.scandir(clusters) as folders:
            for folder in folders:
                with os.scandir(folder) as files:
                    for file in files:
                        stem, _, suffix = file.name.rpartition(".")
                        if stem.endswith("_raw") and suffix in SUFFIXES:
                            return suffix
    except OSError:
        pass
    return None


def any_file(folder: Path) -> bool:
    """Is there anything in a folder?"""
    try:
        with os.scandir(folder) as files:
            return next(files, None) is not None
    except OSError:
        return False
