"""Pictures to files: conversion to 8 bits, PNG encoding in threads, small copies for pages."""

from __future__ import annotations

import base64
import functools
import io
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image, features

from dti_sprites.pictures import is_light

PNG_COMPRESS_LEVEL = 1  # level 6 takes a third longer for a tenth less space


def to_uint8(images: np.ndarray) -> np.ndarray:
    """(..., C, H, W) floats in [0, 1], or uint8 -> (..., H, W, C) uint8, rounded and clipped."""
    images = np.moveaxis(np.asarray(images), -3, -1)
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    finite = np.nan_to_num(images.astype(np.float32, copy=False), nan=0.0, posinf=1.0, neginf=0.0)
    return np.ascontiguousarray((finite.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))


def to_pil(image: np.ndarray) -> Image.Image:
    """(H, W) or (H, W, C) uint8 with C in 1 (grey), 2 (grey + alpha), 3 (RGB), 4 (RGBA) -> PIL image."""
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[-1] not in (2, 3, 4):
        raise ValueError(f"an image of {image.shape[-1]} channels cannot be written; expected 1 to 4")
    return Image.fromarray(np.ascontiguousarray(image))


def write_image(path: Path, image: np.ndarray, jpeg_quality: int = 85) -> None:
    """Write (H, W[, C]) uint8 to `path`, as JPEG for .jpg and as PNG otherwise."""
    picture = to_pil(image)
    if path.suffix == ".jpg":
        flat = picture.convert("L" if image.shape[-1] <= 2 or image.ndim == 2 else "RGB")
        flat.save(path, "JPEG", quality=jpeg_quality)
    else:
        picture.save(path, "PNG", compress_level=PNG_COMPRESS_LEVEL)


class ImageWriter:
    """Writes pictures in threads below `root`; zlib releases the interpreter lock, so cores are used.

    The number of waiting pictures is bounded, so a model that is faster than the disk does not fill
    the memory. The first error of a thread is raised by the next `write` or at the end of the block.
    """

    def __init__(self, root: Path, threads: int | None = None, max_waiting: int = 512) -> None:
        self.root = root
        self._pool = ThreadPoolExecutor(threads or min(8, (os.cpu_count() or 1) + 1), "image-writer")
        self._waiting: set[Future[None]] = set()
        self._max_waiting = max_waiting
        self._folders: set[str] = set()

    def write(self, name: str, image: np.ndarray, jpeg_quality: int = 85) -> None:
        """Write (H, W[, C]) uint8 as `name`, relative to the root ("prototypes/prototype0.png").

        The suffix decides on the format; a JPEG keeps no transparency.
        """
        self.submit(name, functools.partial(write_image, self.root / name, image, jpeg_quality))

    def submit(self, name: str, job: Callable[[], None]) -> None:
        """Run `job`, which writes the file `name`, in a thread; the folder of `name` exists by then."""
        folder = name.rpartition("/")[0]
        if folder not in self._folders:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)
        if len(self._waiting) >= self._max_waiting:
            done, self._waiting = wait(self._waiting, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
        self._waiting.add(self._pool.submit(job))

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            for future in self._waiting:
                future.result()


def look(image: Image.Image) -> str:
    """Style classes of a picture on a page: small ones keep their pixels, transparent ones get a ground."""
    names = ["pixel"] if max(image.size) <= 48 else []
    if image.mode in ("LA", "RGBA"):
        names += ["clear", "night"] if is_light(np.asarray(image)) else ["clear"]
    return " ".join(names)


@functools.cache
def _page_format() -> tuple[str, str, dict[str, int]]:
    """(PIL format, media type, options) for small copies; WebP is a third of PNG's size and keeps alpha."""
    if features.check("webp"):
        return "WEBP", "image/webp", {"quality": 78, "method": 2}
    return "PNG", "image/png", {"compress_level": 9}


def data_uri(image: Image.Image, max_side: int) -> str:
    """A `data:` address holding `image`, reduced so that neither side exceeds `max_side`, never enlarged."""
    if max(image.size) > max_side:
        image = image.copy()
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    kind, media_type, options = _page_format()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:{media_type};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
