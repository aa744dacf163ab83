"""Handwritten alphabets and printed books: the images nearest to what the library is used for."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from dti_sprites.data.benchmarks.registry import Benchmark, Place, benchmark, find, root_of
from dti_sprites.data.decode import open_stream
from dti_sprites.data.files import natural_key
from dti_sprites.data.imageset import ImageSet
from dti_sprites.data.load import load_images
from dti_sprites.errors import DataError

_OMNIGLOT = (
    "omniglot_small/images_background*.zip",
    "omniglot/images_background*.zip",
    "images_background*.zip",
)
_BNF = "Source gallica.bnf.fr / BnF, CC0"
LINE_HEIGHT, LINE_WINDOW = 64, 128  # pixels


def _read(archive: zipfile.ZipFile, name: str, place: Place) -> Image.Image:
    try:
        return open_stream(io.BytesIO(archive.read(name)), place.config.max_pixels)
    except Exception as error:  # decoders raise anything on damaged data
        raise DataError(f"{name} cannot be read: {error}", [(name, str(error))]) from None


def _finish(
    pictures: list[Image.Image],
    names: list[str],
    labels: list[str] | None,
    place: Place,
    size: tuple[int, int],
) -> ImageSet:
    """ImageSet of pictures, at `size` unless another one is asked for."""
    config = place.config
    if config.image_size is None:
        config = dataclasses.replace(config, image_size=size)
    images = load_images(_Pictures(pictures), config, labels=labels)
    return dataclasses.replace(images, names=names)


class _Pictures:
    """Pillow images as a map-style dataset."""

    def __init__(self, pictures: list[Image.Image]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> Image.Image:
        return self.pictures[i]


def alphabet_slug(alphabet: str) -> str:
    """ "japanese-katakana" of "Japanese_(katakana)"."""
    return re.sub(r"[^a-z0-9]+", "-", alphabet.lower()).strip("-")


def omniglot_alphabets(place: Place) -> dict[str, tuple[Path, str]]:
    """Alphabet by slug: (archive, folder in it). An alphabet in several archives is taken from the first."""
    root = root_of(place)
    found: dict[str, tuple[Path, str]] = {}
    for pattern in _OMNIGLOT:
        for path in sorted(root.glob(pattern)):
            with zipfile.ZipFile(path) as archive:
                folders = {
                    "/".join(PurePosixPath(name).parts[:2])
                    for name in archive.namelist()
                    if name.count("/") > 2
                }
            for folder in sorted(folders):
                found.setdefault(alphabet_slug(folder.split("/")[1]), (path, folder))
    return found


def omniglot(slug: str) -> Benchmark:
    """The set "omniglot-<slug>": one alphabet, a class per character, 20 images each, 105 x 105, dark on white."""

    def load(place: Place) -> ImageSet:
        alphabets = omniglot_alphabets(place)
        if slug not in alphabets:
            known = f"; alphabets there: {', '.join(sorted(alphabets))}" if alphabets else ""
            expected = " or ".join(_OMNIGLOT)
            raise DataError(
                f"the Omniglot alphabet {slug!r} is not in {root_of(place)}: expected {expected}{known}"
            )
        path, folder = alphabets[slug]
        with zipfile.ZipFile(path) as archive:
            members = [
                name for name in archive.namelist() if name.startswith(folder + "/") and name.endswith(".png")
            ]
            members.sort(key=natural_key)
            pictures = [_read(archive, name, place) for name in members]
        names = [name.removeprefix(folder + "/") for name in members]
        return _finish(pictures, names, [PurePosixPath(name).parts[0] for name in names], place, (105, 105))

    credit = "B. Lake, R. Salakhutdinov and J. Tenenbaum, Omniglot, MIT"
    return Benchmark(f"omniglot-{slug}", f"Omniglot, {slug}", False, credit, load)


def _dropcaps(column: str) -> Callable[[Place], ImageSet]:
    def load(place: Place) -> ImageSet:
        path = find(place, ("incunables15c/dropcaps.zip", "dropcaps.zip"), "the drop capitals of incunables")
        with zipfile.ZipFile(path) as archive:
            rows = list(_table(archive, "labels.csv"))
            pictures = [_read(archive, row["file"], place) for row in rows]
        return _finish(
            pictures, [row["file"] for row in rows], [row[column] for row in rows], place, (128, 128)
        )

    return load


@benchmark("incunables-graphics", "Printed graphics of incunables", published=False, credit=_BNF)
def incunables_graphics(place: Place) -> ImageSet:
    """Woodcuts, borders and devices of many sizes, without labels."""
    path = find(place, ("incunables15c/graphics.zip", "graphics.zip"), "the graphics of incunables")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".png")))
        pictures = [_read(archive, name, place) for name in names]
    return _finish(pictures, names, None, place, (128, 128))


def _table(archive: zipfile.ZipFile, name: str) -> Iterator[dict[str, str]]:
    with archive.open(name) as file:
        yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))


# The same images with two labels: painted, penned and printed initials differ more by book than by letter.
benchmark("incunables-dropcaps", "Drop capitals of incunables, by letter", published=False, credit=_BNF)(
    _dropcaps("letter")
)
benchmark("incunables-dropcaps-book", "Drop capitals of incunables, by book", published=False, credit=_BNF)(
    _dropcaps("book")
)


@benchmark("incunables-lines", "Text lines of incunables, cut into windows", published=False, credit=_BNF)
def incunables_lines(place: Place) -> ImageSet:
    """Windows of 64 x 128 pixels (or of the size asked for) along straightened lines; labels: the book.

    Each line is scaled to the height of a window and cut from left to right; what remains at its end is left out.
    `sources` holds {"book", "line", "left" (pixels in the scaled line), "text" (of the whole line)}.
    """
    archives = sorted(
        [*root_of(place).glob("incunables15c/lines_*.zip"), *root_of(place).glob("lines_*.zip")],
        key=lambda path: path.name,
    )
    if not archives:
        find(place, ("incunables15c/lines_*.zip", "lines_*.zip"), "the text lines of incunables")
    size = place.config.image_size or (LINE_HEIGHT, LINE_WINDOW)
    height, width = (size, size) if isinstance(size, int) else size
    pictures, names, books, sources = [], [], [], []
    for path in archives:
        book = path.stem.removeprefix("lines_")
        with zipfile.ZipFile(path) as archive:
            for row in _table(archive, "transcriptions.csv"):
                line = _read(archive, row["file"], place).convert("L")
                scaled = line.resize((max(round(line.width * height / line.height), 1), height))
                for left in range(0, scaled.width - width + 1, width):
                    pictures.append(scaled.crop((left, 0, left + width, height)))
                    names.append(f"{book}/{PurePosixPath(row['file']).stem}_{left:05d}")
                    books.append(book)
                    sources.append({"book": book, "line": row["file"], "left": left, "text": row["text"]})
    if not pictures:
        raise DataError(f"no line is {width} pixels wide at a height of {height}: ask for another image_size")
    values = np.stack([np.asarray(picture) for picture in pictures])
    images = load_images(values, place.config, labels=books)
    return dataclasses.replace(images, names=names, sources=sources)
