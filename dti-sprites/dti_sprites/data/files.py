"""Which files of a folder are images, and in which order."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from PIL import Image

from dti_sprites.errors import DataError

# Formats with a decoder inside Pillow. Left out: those that start another program (EPS), need another
# library, or only stand for a file that Pillow cannot decode.
_FORMATS = (
    *("PNG", "JPEG", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "DIB", "PPM", "JPEG2000", "TGA"),
    *("PCX", "DCX", "ICO", "CUR", "ICNS", "SGI", "SUN", "IM", "MSP", "PSD", "DDS", "QOI", "XBM", "XPM"),
)


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, as far as this build of Pillow knows them."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@cache
def image_extensions() -> frozenset[str]:
    """Extensions, lower case with the dot, of the formats that are read."""
    known = Image.registered_extensions()  # loads all of Pillow's plugins
    return frozenset(
        extension for extension, name in known.items() if name in _FORMATS and name in Image.OPEN
    )


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Sort key in which "p2/x" comes before "p10/x": folder by folder, numbers by value."""
    return tuple(
        tuple(
            (0, int(part), part) if part.isascii() and part.isdigit() else (1, 0, part.casefold())
            for part in re.split(r"([0-9]+)", folder)
            if part
        )
        for folder in name.split("/")
    )


def is_hidden(name: str) -> bool:
    """Whether a file or folder name is not the user's own: dot files, macOS archive leftovers."""
    return name.startswith(".") or name == "__MACOSX" or name in ("Thumbs.db", "desktop.ini")


def list_images(folder: Path) -> list[tuple[str, Path]]:
    """(name, path) of all images below `folder` in natural order; the name is the path relative to it.

    Hidden files, `__MACOSX` and files that are no images by their extension are passed over; links to
    folders are not followed. Raises DataError when there is none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of images")
    extensions = image_extensions()
    found: list[tuple[str, Path]] = []
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in files:
            if is_hidden(name) or os.path.splitext(name)[1].lower() not in extensions:
                continue
            path = Path(root, name)
            found.append((path.relative_to(folder).as_posix(), path))
    if not found:
        raise DataError(f"no images in {folder}; formats that are read: {', '.join(sorted(extensions))}")
    # The name itself decides between names that differ only in case or in leading zeros.
    return sorted(found, key=lambda item: (natural_key(item[0]), item[0]))


def name_paths(paths: Sequence[str | os.PathLike[str]]) -> list[tuple[str, Path]]:
    """(name, path) of given files, in the given order; names are relative to their common folder."""
    found = [Path(path) for path in paths]
    if not found:
        raise DataError("no images: the list of files is empty")
    absolute = [Path(os.path.abspath(path)) for path in found]
    root = os.path.commonpath([path.parent for path in absolute])
    names = [PurePosixPath(path.relative_to(root).as_posix()).as_posix() for path in absolute]
    repeated = (
        sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    )
    if repeated:
        raise DataError(f"files given more than once: {', '.join(repeated[:10])}")
    return list(zip(names, found, strict=True))
