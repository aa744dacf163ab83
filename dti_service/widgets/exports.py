"""Results taken home from a notebook: one table, or the images in folders, as the run left them or as curated."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dti_service.curations import RAW, Reading, read_reading
from dti_service.curations.folders import Folders, safe_name
from dti_service.datasets.catalogue import Catalogue
from dti_service.errors import InvalidRequest, NotFound
from dti_service.ids import is_id
from dti_service.store import RESULTS
from dti_service.widgets.found import Found


def read(found: Found, reading: str | None) -> Reading:
    """A curated version, or the result itself. Raises InvalidRequest when there is none."""
    try:
        return read_reading(found.directory, reading or RAW)
    except NotFound as error:
        problem = {"field": "reading", "reason": str(error)}
        raise InvalidRequest(f"{found.experiment.name}: {error}", [problem]) from None


def to_csv(found: Found, path: str | Path | None = None, reading: str | None = None) -> Path:
    """Write one row for each image: cluster, name, distance, source, notes; it opens in a spreadsheet.

    Returns the file; without `path` it is named after the experiment, in the current folder. Raises InvalidRequest.
    """
    return _write(_target(found, path, reading, ".csv"), [read(found, reading).csv(bom=True).encode("utf-8")])


def to_zip(found: Found, path: str | Path | None = None, reading: str | None = None) -> Path:
    """Write the images in one folder for each cluster, with the table beside them. Arguments and errors as `to_csv`.

    Images are the files of the dataset where this data directory holds them, else as the model saw them.
    """
    folders = Folders(read(found, reading), found.results, _originals(found))
    try:
        return _write(_target(found, path, reading, ".zip"), folders.chunks())
    finally:
        folders.close()


def _originals(found: Found) -> Path | None:
    dataset = found.experiment.dataset
    if found.data_dir is None or dataset is None or not is_id(dataset):
        return None
    folder = Catalogue(found.data_dir).images_folder(dataset)
    return folder if folder.is_dir() else None


def _target(found: Found, path: str | Path | None, reading: str | None, suffix: str) -> Path:
    if path is not None:
        return Path(path).expanduser()
    # In a run of the service, what is written belongs to its results.
    own = os.environ.get("DTI_EXPERIMENT_DIR")
    folder = Path(own) / RESULTS if own else Path()
    version = "" if reading in (None, RAW) else f" {reading}"
    return folder / f"{safe_name(found.experiment.name.replace(':', '') + version)}{suffix}"


def _write(target: Path, chunks: Iterable[bytes]) -> Path:
    """Write a file that appears under its name only when it is complete."""
    if not target.parent.is_dir():
        reason = f"the folder {target.parent} does not exist"
        raise InvalidRequest(f"path: {reason}", [{"field": "path", "reason": reason}])
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
