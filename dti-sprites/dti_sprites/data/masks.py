"""Known masks of images: a picture for each, of which every value is a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dti_sprites.config import DataConfig
from dti_sprites.data.decode import fit
from dti_sprites.data.files import list_images
from dti_sprites.data.imageset import ImageSet
from dti_sprites.errors import DataError


def read_masks(folder: Path, images: ImageSet, config: DataConfig) -> torch.Tensor:
    """Label maps uint8 (N, H, W) of `images` from files of the same name (any image extension), cut like them."""
    by_stem = {Path(name).with_suffix("").as_posix(): path for name, path in list_images(folder)}
    masks = np.empty((len(images), *images.size), dtype=np.uint8)
    for i, name in enumerate(images.names):
        path = by_stem.get(Path(name).with_suffix("").as_posix())
        if path is None:
            raise DataError(f"no mask for {name} in {folder}")
        with Image.open(path) as mask:
            plain = mask if mask.mode in ("P", "L") else mask.convert("L")
            plain = Image.fromarray(np.asarray(plain))  # palette indices are the labels
            masks[i] = np.asarray(fit(plain, images.size, config, Image.Resampling.NEAREST))
    return torch.from_numpy(masks)
