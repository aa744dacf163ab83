"""The tables of a result tree: which image belongs to which cluster, and how far it is from each.

`cluster_by_path.csv` and `.json` hold, for every image, `image_id, path, cluster_id, distance`, then
`dist_cluster_0 ... dist_cluster_{K-1}`, `matrix_<transformation>`, `known_label` where classes are known,
and the source of the image (document, page, ...) where that is known. `path` is the image's name, unique in
the set. With several layers, `layers` lists the sprite of each (null: it shows nothing). Of images that were
assigned to a finished model, `fits` says whether they lie as near to their prototype as images did in
training. Distances are written with as many digits as float32 has, so that reading them back gives the
same numbers.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dti_sprites.results import layout
from dti_sprites.results.files import UNDECODABLE, dump_json, plain

MATRIX_DECIMALS = 4
_FIXED = ("image_id", "path", "cluster_id", "distance")


@dataclass
class Assignments:
    """What a model says about N images."""

    names: list[str]
    labels: np.ndarray  # (N,) int64, the cluster of each image
    distances: np.ndarray  # (N, K) float32, to the best fit of every prototype
    matrices: dict[str, np.ndarray] = field(default_factory=dict)  # transformation -> (N, ...) of the winner
    sources: list[dict[str, Any]] | None = None  # document, page, crop, ... of each image
    known_labels: list[str | None] | None = None  # the class that a person gave, never seen by the training
    layers: np.ndarray | None = None  # (N, L) the sprite of each layer, -1 for none, when there are several
    fits: np.ndarray | None = None  # (N,) bool: as near to their prototype as images were in training

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n_clusters(self) -> int:
        return int(self.distances.shape[1])

    @cached_property
    def best(self) -> np.ndarray:
        """(N,) distance to the own cluster."""
        return self.distances[np.arange(len(self)), self.labels]

    @cached_property
    def sizes(self) -> np.ndarray:
        """(K,) images per cluster."""
        return np.bincount(self.labels, minlength=self.n_clusters)

    def runner_up(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) nearest other cluster and (N,) relative margin to it, (second - own) / second, in [0, 1].

        A small margin marks a doubtful image. Distances below 0 (log-densities) are counted from the smallest.
        With a single cluster: -1 and 1.
        """
        n = len(self)
        if self.n_clusters < 2:
            return np.full(n, -1), np.ones(n)
        others = self.distances.astype(np.float64)
        others[np.arange(n), self.labels] = np.inf
        second = others.argmin(1)
        floor = min(0.0, float(np.nanmin(self.distances, initial=0.0)))
        value = others[np.arange(n), second] - floor
        with np.errstate(invalid="ignore", divide="ignore"):
            margin = np.where(value > 0, (value - (self.best - floor)) / value, 0.0)
        return second, np.nan_to_num(margin).clip(0.0, 1.0)


def write_assignments(folder: Path, assignments: Assignments) -> None:
    """Write `cluster_by_path.csv` and `cluster_by_path.json` into `folder`."""
    rows = _rows(assignments)
    texts = {layout.TABLE_CSV: _csv_text(rows), layout.TABLE_JSON: _json_text(rows)}
    for name, text in texts.items():
        with (folder / name).open("w", encoding="utf-8", errors=UNDECODABLE, newline="") as file:
            file.write(text)


def assignments_csv(assignments: Assignments) -> str:
    """The text of the csv table."""
    return _csv_text(_rows(assignments))


def assignments_json(assignments: Assignments) -> str:
    """The text of the json table."""
    return _json_text(_rows(assignments))


def _json_text(rows: Sequence[dict[str, Any]]) -> str:
    without_id = ({key: value for key, value in row.items() if key != "image_id"} for row in rows)
    return dump_json(dict(enumerate(without_id)), indent=None)


def _rows(assignments: Assignments) -> list[dict[str, Any]]:
    distances = shortest(assignments.distances)
    best = shortest(assignments.best)
    matrices = {
        name: np.round(_flat(values), MATRIX_DECIMALS) for name, values in assignments.matrices.items()
    }
    layers = None
    if assignments.layers is not None:
        layers = [[k if k >= 0 else None for k in row] for row in assignments.layers.tolist()]
    rows = []
    for i, name in enumerate(assignments.names):
        row: dict[str, Any] = {
            "image_id": i,
            "path": name,
            "cluster_id": int(assignments.labels[i]),
            "distance": best[i],
        }
        row.update((f"dist_cluster_{k}", value) for k, value in enumerate(distances[i]))
        if assignments.fits is not None:
            row["fits"] = bool(assignments.fits[i])
        if layers is not None:
            row["layers"] = layers[i]
        row.update((f"matrix_{key}", values[i].tolist()) for key, values in matrices.items())
        if assignments.known_labels is not None:
            row["known_label"] = assignments.known_labels[i]
        if assignments.sources is not None:
            source = assignments.sources[i] or {}
            row.update((key, value) for key, value in source.items() if key not in row)
        rows.append(row)
    return rows


def _csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = dict.fromkeys(_FIXED)
    for row in rows:
        columns.update(dict.fromkeys(row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return dump_json(value, indent=None).strip()
    return plain(value) if isinstance(value, (float, np.generic)) else value


def _flat(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    return values.reshape(len(values), -1)


def shortest(values: np.ndarray) -> list[Any]:
    """float32 values as Python numbers with the fewest digits that give the same float32 back."""
    return np.asarray(values, dtype=np.float32).astype("U16").astype(np.float64).tolist()


def read_assignments(folder: Path) -> Assignments:
    """Read back what `write_assignments` wrote. Raises OSError, ValueError (not such a table)."""
    with (folder / layout.TABLE_CSV).open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        columns = next(reader, [])
        missing = [column for column in _FIXED if column not in columns]
        if missing:
            raise ValueError(f"{folder / layout.TABLE_CSV}: no column {', '.join(missing)}")
        rows = sorted(reader, key=lambda row: int(row[0]))
    position = {column: index for index, column in enumerate(columns)}
    n_clusters = sum(column.startswith("dist_cluster_") for column in columns)
    first = position.get("dist_cluster_0", 0)
    distances = np.array(
        [[cell or "nan" for cell in row[first : first + n_clusters]] for row in rows], dtype=np.float32
    ).reshape(len(rows), n_clusters)
    matrices = {
        column.removeprefix("matrix_"): np.array([json.loads(row[index]) for row in rows], dtype=np.float64)
        for column, index in position.items()
        if column.startswith("matrix_")
    }
    known = {
        *_FIXED,
        *("known_label", "layers", "fits"),
        *(column for column in columns if column.startswith(("dist_cluster_", "matrix_"))),
    }
    source_columns = [column for column in columns if column not in known]
    sources = [
        {column: row[position[column]] for column in source_columns if row[position[column]]} for row in rows
    ]
    return Assignments(
        names=[row[position["path"]] for row in rows],
        labels=np.array([int(row[position["cluster_id"]]) for row in rows], dtype=np.int64),
        distances=distances,
        matrices=matrices,
        sources=sources if source_columns else None,
        known_labels=[row[position["known_label"]] or None for row in rows]
        if "known_label" in position
        else None,
        layers=np.array(
            [[-1 if k is None else k for k in json.loads(row[position["layers"]])] for row in rows],
            dtype=np.int64,
        )
        if "layers" in position
        else None,
        fits=np.array([row[position["fits"]] == "True" for row in rows]) if "fits" in position else None,
    )


def originals(
    names: Sequence[str],
    paths: Sequence[Path | None] | None,
    sizes: Sequence[Sequence[int]] | None,
    root: Path | None,
) -> dict[str, Any]:
    """Content of `original.json`: where each image came from, so that viewers can show the full file.

    `root` is the folder that relative paths start from, as it was at the time of the run; `sizes` are
    (height, width) in pixels.
    """
    images: dict[str, Any] = {}
    for i, name in enumerate(names):
        entry: dict[str, Any] = {"name": name}
        path = paths[i] if paths is not None else None
        if path is not None:
            path = Path(path).absolute()
            entry["path"] = path.as_posix()
            if root is not None and path.is_relative_to(root):
                entry["relative_path"] = path.relative_to(root).as_posix()
        if sizes is not None:
            height, width = (int(value) for value in sizes[i])
            entry["width"], entry["height"] = width, height
        images[str(i)] = entry
    return {"root": root.as_posix() if root is not None else None, "images": images}


def common_root(paths: Sequence[Path | None] | None) -> Path | None:
    """The deepest folder that holds all `paths`; None without paths."""
    known = [Path(path).absolute() for path in paths or () if path is not None]
    if not known:
        return None
    root = known[0].parent
    for path in known:
        while not path.is_relative_to(root):
            root = root.parent
    return root


def curves(history: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The history of a training as columns of one length, with the names of `train_metrics.tsv`.

    iteration, epoch, batch, time/img (seconds), loss, the model's own terms, lr, prop_clus0, prop_clus1, ...
    """
    length = len(history.get("iteration", ()))
    series = {name: list(values) for name, values in history.items() if len(values) == length}
    shares = series.pop("proportions", [])
    columns = {"iteration": series.pop("iteration", [])}
    for name, column in (
        ("epoch", "epoch"),
        ("batch", "batch"),
        ("time_per_image", "time/img"),
        ("loss", "loss"),
    ):
        if name in series:
            columns[column] = series.pop(name)
    columns.update(series)
    columns.update((f"prop_clus{k}", list(values)) for k, values in enumerate(zip(*shares)))
    return columns


def curves_tsv(columns: Mapping[str, Sequence[Any]]) -> str:
    """`curves` as tab-separated text with a header."""
    lines = ["\t".join(columns)]
    for cells in zip(*columns.values()):
        lines.append("\t".join(f"{cell:.7g}" if isinstance(cell, float) else str(cell) for cell in cells))
    return "\n".join(lines) + "\n"
