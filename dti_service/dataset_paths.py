"""From the `dataset` of a request to a folder on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dti_service.ids import is_id

if TYPE_CHECKING:
    from dti_service.run import Run

SAMPLE = "sample"


def is_address(dataset: str) -> bool:
    return dataset.lower().startswith(("http://", "https://"))


def resolve(dataset: str, run: Run) -> Path:
    """The folder, or .npz file, of "sample", a path, a dataset's id, or an address (which is downloaded first).

    Raises dti_sprites.DataError when there is none.
    """
    from dti_sprites import DataError

    if dataset == SAMPLE:
        from dti_sprites.data.samples import write_digits

        return write_digits(run.data_dir / "samples" / "digits")
    if is_id(dataset):
        folder = run.data_dir / "datasets" / dataset / "images"
        if not folder.is_dir():
            raise DataError(f"there is no dataset {dataset} in {run.data_dir}")
        return folder
    if is_address(dataset):
        from dti_service.datasets import fetch_images

        return fetch_images(dataset, run)
    path = Path(dataset).expanduser()
    if not path.exists():
        raise DataError(f"dataset: {path} does not exist")
    return path.resolve()
