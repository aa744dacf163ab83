"""A result and a reading of it as one table: the same columns for every run, raw or curated, on screen and on disk."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dti_service.curations.documents import STATES
from dti_service.curations.store import RAW, Curations
from dti_service.errors import NotFound

TABLE = "cluster_by_path.csv"
SOURCE_COLUMNS = ("document", "page", "label", "crop", "known_label")
COLUMNS = (
    "image_id",
    "path",
    "cluster_id",
    "cluster_name",
    "distance",
    "second_cluster_id",
    "second_cluster_name",
    "second_distance",
    "cluster_state",
    "cluster_tags",
    "cluster_note",
    "image_tags",
    "image_note",
    "reviewed",
    "raw_cluster_id",
    "raw_distance",
    *SOURCE_COLUMNS,
    "reading",
    "author",
    "updated_at",
)
UTF8_BOM = "\ufeff"
_DISTANCE = "dist_cluster_"
# Columns of the run's table that do not say where an image comes from.
_OWN = ("image_id", "path", "cluster_id", "distance", "layers", "fits")
_OWN_BEGINNINGS = (_DISTANCE, "matrix_")


@dataclass
class Cluster:
    """A cluster of a reading. `prototype`: number of the run's prototype that it stands for, or None."""

    id: str
    name: str
    prototype: int | None
    state: str = STATES[0]
    note: str = ""
    tags: tuple[str, ...] = ()


@dataclass
class Image:
    """One image of the result. `distances`: text of the distance to each prototype, as the run wrote it."""

    id: int
    path: str
    label: int
    distance: str
    distances: dict[int, str]
    source: dict[str, str]


@dataclass
class Reading:
    """A result as a person reads it; without a document, as the run left it."""

    images: list[Image]
    clusters: dict[str, Cluster]
    places: dict[int, str]  # image number -> cluster
    notes: dict[int, dict[str, Any]] = field(default_factory=dict)
    title: str = RAW
    author: str = ""
    updated_at: str = ""
    note: str = ""

    def distance(self, image: Image, cluster: Cluster) -> str:
        """Distance of an image to what a cluster stands for; "" where the run knows none. Never made up."""
        if cluster.prototype is None:
            return ""
        if cluster.prototype == image.label:
            return image.distance
        return image.distances.get(cluster.prototype, "")

    def second(self, image: Image) -> tuple[Cluster, str] | None:
        """The nearest cluster besides the one that the image is in, and its distance."""
        own = self.places[image.id]
        best: tuple[float, Cluster, str] | None = None
        for cluster in self.clusters.values():
            if cluster.id == own:
                continue
            text = self.distance(image, cluster)
            value = _number(text)
            if value is not None and (best is None or value < best[0]):
                best = (value, cluster, text)
        return None if best is None else (best[1], best[2])

    def members(self) -> dict[str, list[Image]]:
        """The images of each cluster, the nearest first."""
        found: dict[str, list[Image]] = {id: [] for id in self.clusters}
        for image in self.images:
            found[self.places[image.id]].append(image)
        for id, images in found.items():
            cluster = self.clusters[id]
            images.sort(key=lambda image: (_sort_key(self.distance(image, cluster)), image.id))
        return found

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row of `columns()` for each image, in the order of their numbers."""
        for image in self.images:
            cluster = self.clusters[self.places[image.id]]
            second = self.second(image)
            own = self.notes.get(image.id, {})
            yield {
                "image_id": image.id,
                "path": image.path,
                "cluster_id": cluster.id,
                "cluster_name": cluster.name,
                "distance": self.distance(image, cluster),
                "second_cluster_id": second[0].id if second else "",
                "second_cluster_name": second[0].name if second else "",
                "second_distance": second[1] if second else "",
                "cluster_state": cluster.state,
                "cluster_tags": "; ".join(cluster.tags),
                "cluster_note": cluster.note,
                "image_tags": "; ".join(own.get("tags", [])),
                "image_note": own.get("note", ""),
                "reviewed": "yes" if own.get("reviewed") else "",
                "raw_cluster_id": image.label,
                "raw_distance": image.distance,
                **{name: image.source.get(name, "") for name in SOURCE_COLUMNS},
                "reading": self.title,
                "author": self.author,
                "updated_at": self.updated_at,
                **{name: text for name, text in image.source.items() if name not in SOURCE_COLUMNS},
            }

    def columns(self) -> list[str]:
        """`COLUMNS`, and after them what else the run knows of where its images come from."""
        more = dict.fromkeys(name for image in self.images for name in image.source)
        return [*COLUMNS, *(name for name in more if name not in SOURCE_COLUMNS)]

    def csv(self, *, bom: bool = False) -> str:
        """The rows as CSV. With `bom` it is made for spreadsheets: they guess the encoding right, and take no text
        for a formula."""
        text = io.StringIO()
        columns = self.columns()
        writer = csv.writer(text, lineterminator="\r\n")
        for row in itertools.chain([dict(zip(columns, columns))], self.rows()):
            cells = [row.get(name, "") for name in columns]
            writer.writerow([harmless(cell) for cell in cells] if bom else cells)
        return (UTF8_BOM if bom else "") + text.getvalue()

    def json(self) -> dict[str, Any]:
        """Clusters and rows as one value for programs: numbers are numbers, what is unknown is null."""
        clusters = [
            {
                "id": cluster.id,
                "name": cluster.name,
                "prototype": cluster.prototype,
                "state": cluster.state,
                "note": cluster.note,
                "tags": list(cluster.tags),
                "size": len(images),
            }
            for cluster, images in ((self.clusters[id], images) for id, images in self.members().items())
        ]
        reading = {
            "title": self.title,
            "author": self.author,
            "updated_at": self.updated_at,
            "note": self.note,
        }
        return {
            "reading": reading,
            "clusters": clusters,
            "images": [self._json_row(row) for row in self.rows()],
        }

    def _json_row(self, row: dict[str, Any]) -> dict[str, Any]:
        own = self.notes.get(row["image_id"], {})
        plain = {name: (None if value == "" else value) for name, value in row.items()}
        for name in ("distance", "second_distance", "raw_distance"):
            plain[name] = _number(row[name])
        cluster = self.clusters[row["cluster_id"]]
        notes = {
            "image_note": own.get("note", ""),
            "cluster_note": cluster.note,
            "reviewed": bool(own.get("reviewed")),
        }
        return {**plain, **notes, "image_tags": list(own.get("tags", [])), "cluster_tags": list(cluster.tags)}


def harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe in front; numbers stay as they are."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and _number(value) is None:
        return f"'{value}"
    return value


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _sort_key(text: str) -> float:
    value = _number(text)
    return math.inf if value is None else value


def read_table(results: Path) -> list[Image]:
    """The images of a result. Raises `NotFound` when there is no table yet, ValueError when it is none."""
    try:
        file = (results / TABLE).open(encoding="utf-8-sig", newline="", errors="replace")
    except FileNotFoundError:
        raise NotFound("There is no result yet") from None
    with file:
        reader = csv.reader(file)
        header = next(reader, [])
        at = {name: number for number, name in enumerate(header)}
        missing = [name for name in ("image_id", "path", "cluster_id", "distance") if name not in at]
        if missing:
            raise ValueError(f"{TABLE} has no column {', '.join(missing)}")
        columns = [
            (number, int(name.removeprefix(_DISTANCE)))
            for name, number in at.items()
            if name.startswith(_DISTANCE) and name.removeprefix(_DISTANCE).isdecimal()
        ]
        sources = [name for name in at if name not in _OWN and not name.startswith(_OWN_BEGINNINGS)]
        return [
            Image(
                id=int(row[at["image_id"]]),
                path=row[at["path"]],
                label=int(row[at["cluster_id"]]),
                distance=row[at["distance"]],
                distances={cluster: row[number] for number, cluster in columns},
                source={_source_column(name): row[at[name]] for name in sources},
            )
            for row in reader
            if row
        ]


def _source_column(name: str) -> str:
    """What a fact about an image is called beside what people say here: the author of a book is another one."""
    return name if name in SOURCE_COLUMNS or name not in COLUMNS else f"source_{name}"


def n_prototypes(results: Path, images: list[Image]) -> int:
    """How many clusters the run has, counting those without images."""
    known = [
        0,
        *(image.label + 1 for image in images),
        *(k + 1 for image in images[:1] for k in image.distances),
    ]
    try:
        metrics = json.loads((results / "metrics.json").read_bytes())
        known.append(int(metrics.get("n_prototypes") or 0))
    except (OSError, ValueError, TypeError, AttributeError):
        pass  # the table alone says enough
    return max(known)


_labels: dict[Path, tuple[tuple[int, int], dict[int, int], int]] = {}
_labels_lock = threading.Lock()
_MOST_CACHED = 8


def labels_of(results: Path) -> tuple[Mapping[int, int], int]:
    """The cluster of each image of a result and the number of clusters; kept in memory for the last few results."""
    try:
        status = (results / TABLE).stat()
    except FileNotFoundError:
        raise NotFound("There is no result yet") from None
    version = (status.st_mtime_ns, status.st_size)
    with _labels_lock:
        known = _labels.get(results)
    if known is not None and known[0] == version:
        return known[1], known[2]
    images = read_table(results)
    entry = (version, {image.id: image.label for image in images}, n_prototypes(results, images))
    with _labels_lock:
        while len(_labels) >= _MOST_CACHED:
            _labels.pop(next(iter(_labels)))
        _labels[results] = entry
    return entry[1], entry[2]


def read_reading(directory: Path, name: str) -> Reading:
    """The reading `name` of the experiment in `directory`; "raw" is the result itself. Raises `NotFound`."""
    results = directory / "results"
    document = None if name == RAW else Curations(directory).read(name).document
    images = read_table(results)
    if document is None:
        clusters = {str(k): Cluster(str(k), f"Cluster {k}", k) for k in range(n_prototypes(results, images))}
        return Reading(images, clusters, {image.id: str(image.label) for image in images})
    state = document["state"]
    clusters = {
        entry["id"]: Cluster(
            id=entry["id"],
            name=entry["name"],
            prototype=entry.get("prototype"),
            state=entry.get("state", STATES[0]),
            note=entry.get("note", ""),
            tags=tuple(entry.get("tags", [])),
        )
        for entry in state["clusters"]
    }
    moved = {int(image): target for image, target in state.get("moved", {}).items()}
    return Reading(
        images=images,
        clusters=clusters,
        places={image.id: moved.get(image.id, str(image.label)) for image in images},
        notes={int(image): value for image, value in state.get("images", {}).items()},
        title=document.get("title", name),
        author=document.get("author") or document.get("saved_by", ""),
        updated_at=document.get("updated_at", ""),
        note=document.get("note", ""),
    )
