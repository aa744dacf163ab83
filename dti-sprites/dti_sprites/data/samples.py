"""Sample images that come with the library's dependencies: a first run needs no data and no network."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from dti_sprites.errors import DataError


def write_digits(folder: str | Path) -> Path:
    """Write scikit-learn's 1797 handwritten digits (8 x 8 pixels) below `folder` and return it.

    Makes `images/0000.png` ... and `labels.csv` (name, label). Already there: nothing is done. All or nothing, also
    when several processes write at once. Raises DataError when `folder` holds something else.

    Source: Optical Recognition of Handwritten Digits, test part (E. Alpaydin and C. Kaynak, UCI, 1998).
    """
    from sklearn.datasets import load_digits

    folder = Path(folder)
    if (folder / "labels.csv").is_file():
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} holds something else: give an empty or new folder")
    digits = load_digits()
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        (staging / "images").mkdir()
        levels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        names = [f"{i:04d}.png" for i in range(len(levels))]
        for name, image in zip(names, levels, strict=True):
            Image.fromarray(image).save(staging / "images" / name)
        with (staging / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "label"])
            writer.writerows(zip(names, digits.target.tolist(), strict=True))
        staging.chmod(0o755)  # mkdtemp makes it private
        try:
            os.rename(staging, folder)
        except OSError:
            if not (folder / "labels.csv").is_file():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder
