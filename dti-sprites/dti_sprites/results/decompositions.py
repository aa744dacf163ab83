"""Files of decompositions: the layers and label maps of each image, written and read again."""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dti_sprites.results import layout
from dti_sprites.results.charts import cluster_hue
from dti_sprites.results.images import ImageWriter
from dti_sprites.results.inference import Decomposition

_PALETTE_SIZE = 256


@dataclass(frozen=True)
class Pictures:
    """The parts of one image as pictures, for a page."""

    layers: list[Image.Image]  # RGBA, in the order of the layers
    background: Image.Image | None
    instance: Image.Image
    semantic: Image.Image


def write_decomposition(writer: ImageWriter, found: Decomposition, row: int, i: int) -> None:
    """The files of image `i`, which is row `row` of a batch."""
    for number, picture in enumerate(found.layers[row], start=1):
        writer.write(layout.layer(i, number), picture)
    if found.background is not None:
        writer.write(layout.background(i), found.background[row])
    for kind, labels in (("instance", found.instance[row]), ("semantic", found.semantic[row])):
        target = layout.label_map(i, kind)
        writer.submit(target, functools.partial(write_label_map, writer.root / target, labels))


def read_decomposition(root: Path, n_layers: int, i: int) -> Pictures | None:
    """What `write_decomposition` wrote for image `i`, or None."""
    layers = [_open(root / layout.layer(i, number)) for number in range(1, n_layers + 1)]
    maps = [_open(root / layout.label_map(i, kind)) for kind in ("instance", "semantic")]
    if None in (*layers, *maps):
        return None
    background = _open(root / layout.background(i))
    return Pictures([layer for layer in layers if layer], background, *(found for found in maps if found))


def reader(root: Path, n_layers: int) -> Callable[[int], Pictures | None]:
    """`read_decomposition` of the images below `root`."""
    return functools.partial(read_decomposition, root, n_layers)


def _open(path: Path) -> Image.Image | None:
    if not path.is_file():
        return None
    with Image.open(path) as image:
        image.load()
        return image.convert("RGBA" if image.mode in ("LA", "RGBA") else "RGB")


def write_label_map(path: Path, labels: np.ndarray) -> None:
    """labels (H, W), 0 for the background -> a PNG whose pixel values are the labels.

    Up to 255 labels they are indices of a palette, black and the colours of the clusters; else 16-bit grey.
    """
    if labels.max(initial=0) >= _PALETTE_SIZE:
        Image.fromarray(labels.astype(np.uint16)).save(path, "PNG")
        return
    picture = Image.fromarray(labels.astype(np.uint8)).convert("L")
    picture.putpalette(_palette())
    picture.save(path, "PNG")


@functools.cache
def _palette() -> list[int]:
    colours = [0, 0, 0]
    for k in range(_PALETTE_SIZE - 1):
        red, green, blue = colorsys.hls_to_rgb(cluster_hue(k) / 360, 0.54, 0.42)
        colours += [round(255 * red), round(255 * green), round(255 * blue)]
    return colours
