"""Small pictures of pictures, made once and kept beside the experiment."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from dti_service.errors import InvalidRequest

SIZES = (32, 512)
BYTES_AT_128 = 5 * 1024
MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
_QUALITIES = (80, 60, 40, 25, 12, 5, 1)


def thumbnail(source: Path, cache: Path, size: int, form: str = "webp") -> Path:
    """The file of a thumbnail of `source`: at most `size` x `size` pixels, `form` "webp" or "jpeg".

    At most 5 KiB up to 128 pixels, and in proportion to the area above. Kept in `cache` under a name that
    changes with the source, so a picture that was written anew gets a new thumbnail. `InvalidRequest` when the
    source is no image that can be read.
    """
    status = source.stat()
    key = f"{source}\0{status.st_mtime_ns}\0{status.st_size}\0{size}"
    target = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.{form}"
    if target.is_file():
        return target
    data = small_picture(source, size, form)
    cache.mkdir(exist_ok=True)  # not its parents: a deleted experiment must not come back
    partial = cache / f".{target.name}.{os.getpid()}.{threading.get_ident()}"
    try:
        partial.write_bytes(data)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def small_picture(source: Path | BinaryIO, size: int, form: str = "webp") -> bytes:
    """The content of such a thumbnail, kept nowhere. `InvalidRequest` as `thumbnail`, OSError."""
    return _encode(_load(source, size), size, form)


@contextmanager
def open_image(source: Path | BinaryIO) -> Iterator[Image.Image]:
    """An image that is not decoded yet; `InvalidRequest` when it is none of the formats that are shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(source, formats=FORMATS)
        except (
            UnidentifiedImageError,
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            raise InvalidRequest("This is no image that can be shown") from error
        with image:
            yield image


def _load(source: Path | BinaryIO, size: int) -> Image.Image:
    with open_image(source) as image:
        if image.width * image.height > MAX_PIXELS:
            raise InvalidRequest("The image is too large for a thumbnail")
        try:
            image.draft("RGB", (2 * size, 2 * size))
            image.load()
            small = image.convert("RGBA" if _has_alpha(image) else "RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InvalidRequest("Only images have thumbnails") from error
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    return small


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _encode(image: Image.Image, size: int, form: str) -> bytes:
    """The best quality that fits; a picture of pure noise is made smaller rather than larger than promised."""
    budget = int(BYTES_AT_128 * max(1.0, (size / 128) ** 2))
    if form == "jpeg" and image.mode == "RGBA":
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A"))
        image = flat
    while True:
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            # WebP's method 2 takes half the time of the usual 4, for a twentieth more bytes.
            image.save(buffer, form.upper(), quality=quality, alpha_quality=quality, method=2)
            if buffer.tell() <= budget:
                return buffer.getvalue()
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)))
