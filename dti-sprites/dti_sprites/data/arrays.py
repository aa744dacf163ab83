"""Images that are already in memory: arrays, tensors, .npz files, PyTorch datasets."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dti_sprites.errors import DataError

_CHANNELS = (1, 2, 3, 4)  # grey, grey + alpha, RGB, RGB + alpha


def array_to_uint8(values: np.ndarray, what: str = "the array") -> np.ndarray:
    """8-bit values of an array of bool, integers (0..255, or uint16) or floats in [0, 1].

    Raises DataError for other ranges and types.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise DataError(f"{what} must hold numbers, not {values.dtype}")
    if values.size == 0:
        return values.astype(np.uint8)
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        # Interpolation may overshoot a little; anything more is another unit.
        if not (low >= -1e-2 and high <= 1 + 1e-2):  # also false for NaN
            raise DataError(f"{what} of floats must be in [0, 1], not [{low:g}, {high:g}]: divide by 255?")
        return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    if values.dtype == np.uint16:
        return np.rint(values / 257.0).astype(np.uint8)
    if low < 0 or high > 255:
        raise DataError(f"{what} of integers must be in [0, 255], not [{low}, {high}]")
    return values.astype(np.uint8)


def to_channels_last(values: np.ndarray, channels_first: bool) -> np.ndarray:
    """(N, H, W, C) of (N, H, W), (N, H, W, C) or (N, C, H, W); `channels_first` decides when both fit."""
    if values.ndim == 3:
        return values[..., None]
    if values.ndim == 4:
        first, last = values.shape[1] in _CHANNELS, values.shape[3] in _CHANNELS
        if first and (channels_first or not last):
            return values.transpose(0, 2, 3, 1)
        if last:
            return values
    raise DataError(
        f"the array must have the shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C in 1 to 4, not {values.shape}"
    )


def array_to_8bit(values: np.ndarray | Tensor) -> tuple[np.ndarray, bool]:
    """(8-bit values, whether channels come first where both orders fit) of an array or tensor."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return array_to_uint8((values.float() if values.dtype == torch.bfloat16 else values).numpy()), True
    return array_to_uint8(values), False


def to_pictures(values: np.ndarray) -> list[Image.Image]:
    """One Pillow image (mode L, LA, RGB or RGBA) per entry of a uint8 array (N, H, W, C)."""
    if min(values.shape) == 0:
        raise DataError(f"no images: the array has the shape {values.shape}")
    single = values[..., 0] if values.shape[-1] == 1 else values
    return [Image.fromarray(np.ascontiguousarray(image)) for image in single]


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(images, labels or None) of an .npz (`x`, `images` or `arr_0`; `labels` or `y`) or .npy file."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded as content:
            images = next((key for key in ("x", "images", "arr_0") if key in content), None)
            labels = next((key for key in ("labels", "y") if key in content), None)
            if images is None:
                raise DataError(f"{path} must hold x, images or arr_0; it holds {', '.join(content.files)}")
            return content[images], content[labels] if labels else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {error}", [(path.name, str(error))]) from None


def read_dataset(dataset: Any) -> tuple[list[Image.Image], list[Any] | None]:
    """(images, labels or None) of a map-style dataset of images or of (image, label, ...).

    An item may be a Pillow image, a tensor (C, H, W) or an array (H, W[, C]). Raises DataError.
    """
    images: list[Image.Image] = []
    labels: list[Any] = []
    for i in range(len(dataset)):
        try:
            item = dataset[i]
        except Exception as error:  # a dataset may fail in any way of its own
            reason = f"{type(error).__name__}: {error}"
            raise DataError(
                f"item {i} of the dataset cannot be read: {reason}", [(f"{i:06d}", reason)]
            ) from error
        image = item
        if isinstance(item, tuple | list):
            image = item[0]
            if len(item) > 1:
                labels.append(item[1].item() if isinstance(item[1], Tensor | np.generic) else item[1])
        if isinstance(image, Image.Image):
            images.append(image)
        elif isinstance(image, Tensor | np.ndarray):
            images += to_pictures(to_channels_last(*array_to_8bit(image[None])))
        else:
            raise DataError(f"item {i} of the dataset is a {type(image).__name__}, not an image")
    return images, labels if images and len(labels) == len(images) else None
