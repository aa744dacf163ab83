"""One image file to pixels: any mode to 8-bit grey or RGB and an alpha plane, turned upright."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageOps

from dti_sprites.config import DataConfig
from dti_sprites.data.files import formats

_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class Decoded:
    """An image of its final size: `pixels` uint8 (H, W) grey or (H, W, 3), `alpha` uint8 (H, W) or None."""

    pixels: np.ndarray
    alpha: np.ndarray | None
    original_size: tuple[int, int]  # (height, width), upright


def open_image(path: Path, max_pixels: int) -> Image.Image:
    """The opened file, not yet decoded. Raises OSError or ValueError; the first frame of an animation."""
    return open_stream(path, max_pixels)


def open_stream(file: Path | IO[bytes], max_pixels: int) -> Image.Image:
    """As `open_image`, of a path or of an open file."""
    image = Image.open(file, formats=formats())
    try:
        check_pixels(image, max_pixels)
    except ValueError:
        image.close()
        raise
    return image


def check_pixels(image: Image.Image, max_pixels: int) -> None:
    """Raise ValueError for an image that would take too much memory once decoded."""
    if image.width * image.height > max_pixels:
        raise ValueError(
            f"{image.width} x {image.height} pixels are more than data.max_pixels ({max_pixels})"
        )


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) after the rotation that the EXIF orientation asks for; reads the header only."""
    try:
        sideways = image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
    except Exception:  # damaged EXIF: the pixels are still good
        sideways = False
    return (image.width, image.height) if sideways else (image.height, image.width)


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation asks for; itself, not a copy, when there is nothing to turn."""
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF: the pixels are still good
        image.load()
    return image


def read_image(path: Path, size: tuple[int, int] | None, config: DataConfig) -> Decoded:
    """Decode `path` to `size` (height, width); None keeps its own size."""
    with open_image(path, config.max_pixels) as image:
        original = upright_size(image)
        if config.jpeg_draft and size is not None:
            image.draft(None, size[::-1])  # halves only while both sides stay at least this large
        return replace(convert_image(image, size, config), original_size=original)


def convert_image(image: Image.Image, size: tuple[int, int] | None, config: DataConfig) -> Decoded:
    """Any Pillow image to `size` (height, width) under the policies of `config`."""
    original = upright_size(image)
    image = to_plain_mode(upright(image))
    fill = config.background
    if image.mode in ("LA", "RGBA") and config.alpha != "weight":
        base = image.mode[:-1]
        if config.alpha == "composite":
            canvas = Image.new("RGBA", image.size, (fill, fill, fill, 255))
            image = Image.alpha_composite(canvas, image.convert("RGBA"))
        image = image.convert(base)
    if size is not None and image.size != (size[1], size[0]):
        image = fit(image, size, config)
    return split(image, original, fill)


def to_plain_mode(image: Image.Image) -> Image.Image:
    """The image in mode L, LA, RGB or RGBA."""
    mode = image.mode
    if mode in _DEEP_MODES:
        return Image.fromarray(deep_to_8bit(np.asarray(image)))
    transparent = "transparency" in image.info or mode in ("PA", "RGBa", "La")
    if mode in ("L", "RGB") and not transparent:
        return image
    if mode in ("1", "L"):
        return image.convert("LA" if transparent else "L")
    if mode in ("LA", "La"):
        return image.convert("LA")
    if mode == "P" and not transparent:
        return image.convert("RGB")
    if mode == "RGBA" or transparent:
        return image.convert("RGBA")
    return image.convert("RGB")  # RGB, RGBX, CMYK, YCbCr, LAB, HSV


def deep_to_8bit(values: np.ndarray) -> np.ndarray:
    """8-bit grey levels of 16-bit, 32-bit or float ones of shape (H, W).

    The range is the smallest usual one that holds the values: 0 to 1 (floats only), 0 to 255, 0 to 65535 (the
    only one for 16-bit integers); otherwise it is that of the image itself. NaN becomes 0.
    """
    sixteen_bit = values.dtype.itemsize == 2
    fractional = values.dtype.kind == "f"
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low < 0 or high > 65535:
        low, span = low, high - low
    elif sixteen_bit or high > 255:
        low, span = 0.0, 65535.0
    else:
        low, span = 0.0, 1.0 if fractional and high <= 1 else 255.0
    return np.rint((values - low) * (255.0 / (span or 1.0))).clip(0, 255).astype(np.uint8)


def fit(
    image: Image.Image,
    size: tuple[int, int],
    config: DataConfig,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """Resize to `size` (height, width) by the policy `config.resize`, bilinear with antialiasing by default."""
    height, width = size
    if config.resize == "stretch":
        return image.resize((width, height), resample)
    ratios = (width / image.width, height / image.height)
    if config.resize == "crop":
        scale = max(ratios)
        left = (image.width - width / scale) / 2
        top = (image.height - height / scale) / 2
        # Rounding must not push the box a hair beyond the image.
        box = (
            max(left, 0.0),
            max(top, 0.0),
            min(image.width - left, image.width),
            min(image.height - top, image.height),
        )
        return image.resize((width, height), resample, box=box)
    scale = min(ratios)
    inner = (
        min(max(math.floor(image.width * scale + 0.5), 1), width),
        min(max(math.floor(image.height * scale + 0.5), 1), height),
    )
    resized = image.resize(inner, resample)
    offset = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    if config.alpha == "weight" and inner != (width, height):
        resized = resized.convert("LA" if resized.mode in ("L", "LA") else "RGBA")  # margins do not count
    bands = len(resized.getbands())
    fill = (config.background,) * bands
    if resized.mode in ("LA", "RGBA"):
        fill = (*fill[:-1], 0)
    canvas = Image.new(resized.mode, (width, height), fill if bands > 1 else config.background)
    canvas.paste(resized, offset)
    return canvas


def _is_grey(values: np.ndarray) -> bool:
    """Whether the channels of (H, W, 3) are equal; most colour images show in a few rows that they are not."""
    return all(bool((rows[..., :1] == rows[..., 1:]).all()) for rows in (values[::16], values))


def split(image: Image.Image, original_size: tuple[int, int], background: int) -> Decoded:
    """Pixels and alpha of an image in a plain mode.

    An opaque image has no alpha plane, RGB with equal channels becomes grey. Pixels that are wholly transparent
    take the grey level `background`: what lies under them is arbitrary, yet the encoder sees it.
    """
    values = np.asarray(image)
    alpha = None
    if image.mode in ("LA", "RGBA"):
        plane = values[..., -1]
        values = values[..., 0] if image.mode == "LA" else values[..., :3]
        if plane.min(initial=255) < 255:
            alpha = np.ascontiguousarray(plane)
            values = values.copy()
            values[plane == 0] = background
    if values.ndim == 3 and _is_grey(values):
        values = values[..., 0]
    return Decoded(np.ascontiguousarray(values), alpha, original_size)
