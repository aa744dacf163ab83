"""The file that an image of a run was read from, at its full resolution."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from dti_service.curations.folders import inside
from dti_service.errors import InvalidRequest, NotFound
from dti_service.thumbnails import MAX_PIXELS, open_image

TABLE = "original.json"
SHOWN = {"PNG": "png", "JPEG": "jpg", "GIF": "gif", "WEBP": "webp", "BMP": "bmp"}  # what browsers draw


def original(
    directory: Path, image: int, dataset_images: Path | None, folder: str | None
) -> tuple[Path, str]:
    """File and type ("png", "jpg", ...) of image `image` of an experiment, in a form that browsers draw.

    It is looked for in `dataset_images`, the folder of a dataset of this server, or else where the run read it,
    which must be below `folder`, the folder that the run was given. Other formats are kept as PNG beside the
    thumbnails. `NotFound` when the file is not there any more, `InvalidRequest` when it is no image.
    """
    entry = _entry(directory / "results" / TABLE, image)
    name, path = str(entry.get("name") or ""), entry.get("path")
    found = inside(dataset_images, name)
    if found is None and folder and isinstance(path, str):
        root = Path(folder)
        if root.is_absolute() and Path(path).is_relative_to(root):
            found = inside(root, Path(path).relative_to(root).as_posix())
    if found is None:
        raise NotFound("The file that this image was read from is not on this server")
    with open_image(found) as picture:
        form, turned = picture.format or "", picture.getexif().get(0x0112, 1) != 1
    if form in SHOWN and not (turned and form != "JPEG"):
        return found, SHOWN[form]
    return _as_png(found, directory / "thumbnails"), "png"


def _entry(table: Path, image: int) -> dict[str, Any]:
    try:
        images = json.loads(table.read_bytes())["images"]
        return dict(images[str(image)])
    except FileNotFoundError:
        raise NotFound("This run did not note which files it read") from None
    except (KeyError, TypeError, ValueError):
        raise NotFound(f"There is no image {image} in this result") from None


def _as_png(source: Path, cache: Path) -> Path:
    status = source.stat()
    key = f"original\0{source}\0{status.st_mtime_ns}\0{status.st_size}"
    target = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.png"
    if target.is_file():
        return target
    with open_image(source) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise InvalidRequest("The image is too large to be shown")
        try:
            plain = ImageOps.exif_transpose(picture)
            shown = plain if plain.mode in ("L", "RGB", "RGBA") else _eight_bits(plain)
        except (OSError, ValueError, SyntaxError) as error:
            raise InvalidRequest("The image cannot be decoded") from error
    cache.mkdir(exist_ok=True)
    partial = cache / f".{target.name}.{os.getpid()}.{threading.get_ident()}"
    try:
        shown.save(partial, "PNG", compress_level=1)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("RGBA" if "A" in image.mode or "transparency" in image.info else "RGB")
