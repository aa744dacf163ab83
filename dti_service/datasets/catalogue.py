"""The directories of datasets: `datasets/<id>/` with dataset.json, images/, images.json, sources.csv, thumbnails/."""

from __future__ import annotations

import csv
import io
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dti_service.datasets.files import read_json, write_json
from dti_service.datasets.request import DatasetRequest
from dti_service.errors import Conflict, NotFound
from dti_service.ids import is_id, new_id
from dti_service.locks import FileLock

State = Literal["queued", "downloading", "ready", "failed"]
SCHEMA_VERSION = 1
ANNOTATIONS = "annotations.json"
SOURCE_COLUMNS = ("document", "page", "label", "crop")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Dataset:
    """The record of a dataset. `documents`: uid, type, src, title, images of each; `counts`: documents, images,
    skipped, bytes; `errors`: field and reason of what was refused or left out."""

    id: str
    name: str
    owner: str
    key: str
    state: State = "queued"
    created_at: str = ""
    finished_at: str | None = None
    documents: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    errors: list[dict[str, str]] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class ImageRecord:
    """One image of a dataset. `file`: relative to images/, the path that tables and exports show; `name`: as its
    owner knows it; `sha256`: of the bytes as received; `format`, `width`, `height`: of the file as kept."""

    file: str
    name: str
    source: dict[
        str, Any
    ]  # document (uid), type, src, page, label, crop; facts: what else is known, column -> text
    width: int
    height: int
    format: str
    bytes: int
    sha256: str
    original: dict[str, Any]  # format, mode, frames as received


class Catalogue:
    """All datasets below one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = Path(data_dir) / "datasets"
        self._images: dict[tuple[str, int], list[ImageRecord]] = {}
        self._images_lock = threading.Lock()

    @property
    def downloads(self) -> Path:
        return self.folder / ".downloads"

    @property
    def uploads(self) -> Path:
        return self.folder / ".uploads"

    def directory(self, dataset_id: str) -> Path:
        """Where a dataset lives; `NotFound` for a text that is no id, so that no path can be smuggled in."""
        if not is_id(dataset_id):
            raise NotFound("No such dataset")
        return self.folder / dataset_id

    def images_folder(self, dataset_id: str) -> Path:
        return self.directory(dataset_id) / "images"

    def lock_path(self, dataset_id: str) -> Path:
        return self.folder / f".{dataset_id}.lock"

    # -- records --------------------------------------------------------------------------------------------

    def create(self, request: DatasetRequest) -> Dataset:
        dataset = Dataset(
            id=new_id(),
            name=request.name,
            owner=request.owner,
            key=request.key,
            created_at=now(),
            documents=[{"uid": d.uid, "type": d.type, "src": d.src} for d in request.documents],
            counts={"documents": len(request.documents), "images": 0, "skipped": 0, "bytes": 0},
        )
        directory = self.directory(dataset.id)
        directory.mkdir(parents=True)
        write_json(directory / "request.json", request.to_json())
        self.save(dataset)
        return dataset

    def save(self, dataset: Dataset) -> None:
        write_json(self.directory(dataset.id) / "dataset.json", asdict(dataset))

    def update(self, dataset: Dataset, **changes: Any) -> Dataset:
        changed = replace(dataset, **changes)
        self.save(changed)
        return changed

    def get(self, dataset_id: str) -> Dataset:
        """The record; `NotFound` when there is none."""
        value = read_json(self.directory(dataset_id) / "dataset.json")
        try:
            return Dataset(**value)
        except TypeError as error:
            raise NotFound(f"No dataset {dataset_id}") from error

    def request(self, dataset_id: str) -> DatasetRequest:
        value = read_json(self.directory(dataset_id) / "request.json")
        if value is None:
            raise NotFound(f"No dataset {dataset_id}")
        return DatasetRequest.from_json(value)

    def all(self) -> list[Dataset]:
        """All datasets, newest first."""
        found = []
        for path in self.folder.glob("*/dataset.json"):
            if is_id(path.parent.name):
                try:
                    found.append(self.get(path.parent.name))
                except NotFound:
                    continue  # deleted meanwhile
        return sorted(found, key=lambda dataset: dataset.id, reverse=True)

    def newest_ready(self, key: str, besides: str = "") -> Dataset | None:
        """The latest complete dataset made from an equal request."""
        return next((d for d in self.all() if d.key == key and d.state == "ready" and d.id != besides), None)

    # -- images ---------------------------------------------------------------------------------------------

    def write_images(
        self, directory: Path, images: Iterable[ImageRecord], labels: Mapping[str, str] | None = None
    ) -> None:
        """Write images.json, the table of sources that exports carry, and labels.csv where labels are known."""
        records = list(images)
        write_json(directory / "images.json", [asdict(record) for record in records])
        (directory / "sources.csv").write_text(sources_csv(records), encoding="utf-8", newline="")

        if labels:
            text = table(("name", "label"), labels.items())
            (directory / "labels.csv").write_text(text, encoding="utf-8", newline="")

    def images(self, dataset_id: str) -> list[ImageRecord]:
        """The images of a complete dataset, in the order of its documents; empty before it is complete."""
        path = self.directory(dataset_id) / "images.json"
        try:
            version = path.stat().st_mtime_ns
        except FileNotFoundError:
            self.get(dataset_id)
            return []
        with self._images_lock:
            known = self._images.get((dataset_id, version))
        if known is not None:
            return known
        records = [ImageRecord(**value) for value in read_json(path) or []]
        with self._images_lock:
            if len(self._images) >= 8:
                self._images.pop(next(iter(self._images)))
            self._images[(dataset_id, version)] = records
        return records

    # -- use and removal ------------------------------------------------------------------------------------

    def mark_used(self, dataset_id: str, experiment_id: str) -> None:
        """Note that an experiment reads this dataset, which keeps it from being deleted until the end of the run."""
        folder = self.directory(dataset_id) / "uses"
        folder.mkdir(exist_ok=True)
        (folder / experiment_id).touch()

    def users(self, dataset_id: str, is_active: Callable[[str], bool]) -> list[str]:
        """Experiments that read this dataset and have not ended, by `is_active(experiment id)`."""
        found = sorted(path.name for path in (self.directory(dataset_id) / "uses").glob("*"))
        return [experiment for experiment in found if is_active(experiment)]

    def keep(self, dataset_id: str, wanted: bool) -> None:
        """Mark a dataset to be kept, or take the mark away; `NotFound`. Apart from the record, which another process
        may be writing."""
        self.get(dataset_id)
        write_json(self.directory(dataset_id) / ANNOTATIONS, {"keep": wanted})

    def kept(self, dataset_id: str) -> bool:
        value = read_json(self.directory(dataset_id) / ANNOTATIONS)
        return isinstance(value, dict) and value.get("keep") is True

    def check_not_kept(self, dataset_id: str) -> None:
        """`Conflict` for one that is marked to be kept."""
        if self.kept(dataset_id):
            raise Conflict(
                f"Dataset {dataset_id} is marked to be kept: take that mark away first (keep: false), or ask with force"
            )

    def delete(self, dataset_id: str, users: Iterable[str] = (), *, force: bool = False) -> None:
        """Delete a dataset; `Conflict` while experiments use it, it is being made, or, without `force`, it is kept."""
        self.get(dataset_id)
        if not force:
            self.check_not_kept(dataset_id)
        busy = list(users)
        if busy:
            raise Conflict(
                f"The dataset is in use by {len(busy)} experiment(s), for example {busy[0]}; cancel them first"
            )
        lock = FileLock(self.lock_path(dataset_id))
        if not lock.acquire():
            raise Conflict("The dataset is being made at the moment; try again in a moment")
        try:
            self.remove(dataset_id)
        finally:
            lock.path.unlink(missing_ok=True)
            lock.release()

    def remove(self, dataset_id: str) -> None:
        """Delete without asking. It disappears at once; a crash in between leaves a hidden folder for `tidy`."""
        trash = self.folder / f".trash-{uuid.uuid4().hex}"
        try:
            self.directory(dataset_id).rename(trash)
        except FileNotFoundError:
            return
        shutil.rmtree(trash, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a crash left behind. Only when no deletion is under way in this process."""
        for path in self.folder.glob(".trash-*"):
            shutil.rmtree(path, ignore_errors=True)


def source_row(record: ImageRecord) -> dict[str, Any]:
    """document, page, label, crop of an image, a crop as its id, and what else is known of it. What its owner says of
    document and page is what it is called."""
    source: Mapping[str, Any] = record.source
    crop = source.get("crop")
    return {
        "document": source.get("document"),
        "page": source.get("page"),
        "label": source.get("label"),
        "crop": crop["id"] if crop else None,
        **source.get("facts", {}),
    }


def sources_csv(records: Iterable[ImageRecord]) -> str:
    rows = [(record.file, source_row(record)) for record in records]
    columns = dict.fromkeys(SOURCE_COLUMNS)
    for _, row in rows:
        columns.update(dict.fromkeys(row))
    cells = ((file, *("" if row.get(name) is None else row[name] for name in columns)) for file, row in rows)
    return table(("path", *columns), cells)


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """The text of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
