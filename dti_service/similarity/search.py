"""The distance between images, and the nearest ones.

A model of K prototypes gives each image K distances, one to every prototype as fitted to this image. Each is the same
for all images that the model's transformations make of one another, and so is what is computed from them: the
*signature* of an image is the vector of its K distances (their roots, to be in units of pixel values), and two images
are as far from each other as their signatures, by the root mean square of the differences.

With few prototypes the signature says little: take a model with some tens of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dti_service.errors import BadRequest, NotFound

FILE = "similarity.npz"
TABLE = "neighbours.csv"
BLOCK = 512  # rows of the distance matrix in memory at once


@dataclass(frozen=True)
class Gallery:
    """N images that can be compared.

    names: (N,) texts; pictures: (N,) paths in the experiment directory; signatures: (N, K) float32.
    """

    names: list[str]
    pictures: list[str]
    signatures: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def nearest(self, image: int, limit: int) -> list[dict[str, Any]]:
        """The `limit` images most like image number `image`, nearest first, without itself. Raises NotFound."""
        if not 0 <= image < len(self):
            raise NotFound(f"There is no image {image}; this run has 0 to {len(self) - 1}")
        [order], [distances] = neighbours(self.signatures, [image], limit)
        return [
            {"image": int(i), "name": self.names[i], "picture": self.pictures[i], "distance": float(distance)}
            for i, distance in zip(order, distances)
        ]


def signatures(distances: np.ndarray) -> np.ndarray:
    """(N, K) distances of a run -> (N, K) float32 signatures. Log-densities below 0 are counted from the least."""
    values = distances.astype(np.float64)
    return np.sqrt(np.maximum(values - min(0.0, float(values.min(initial=0.0))), 0.0)).astype(np.float32)


def neighbours(rows: np.ndarray, images: Sequence[int], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """rows (N, K) -> the `limit` nearest rows of each of `images`, and how far they are: (n, l) int64 and float32,
    nearest first, equal distances in the order of the rows; l is `limit`, or N - 1 if that is less.
    """
    count = min(limit, len(rows) - 1)
    found = np.empty((len(images), count), np.int64), np.empty((len(images), count), np.float32)
    for start in range(0, len(images), BLOCK):
        some = np.asarray(images[start : start + BLOCK])
        squares = np.stack([np.square(rows - rows[i]).mean(axis=1) for i in some])
        squares[np.arange(len(some)), some] = np.inf  # an image is not its own neighbour
        order = np.argsort(squares, axis=1, kind="stable")[:, :count]
        found[0][start : start + len(some)] = order
        found[1][start : start + len(some)] = np.sqrt(np.take_along_axis(squares, order, axis=1))
    return found


def save(results: Path, gallery: Gallery, limit: int) -> None:
    """Write the signatures, and the table of the `limit` nearest images of every image, into `results`."""
    texts = json.dumps({"names": gallery.names, "pictures": gallery.pictures}, ensure_ascii=False)
    with (results / FILE).open("wb") as file:
        np.savez(file, signatures=gallery.signatures, texts=np.frombuffer(texts.encode(), np.uint8))
    order, distances = neighbours(gallery.signatures, range(len(gallery)), limit)
    with (results / TABLE).open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(("path", "rank", "neighbour", "distance"))
        for image, (others, far) in enumerate(zip(order, distances)):
            for rank, (other, distance) in enumerate(zip(others, far), start=1):
                writer.writerow((gallery.names[image], rank, gallery.names[other], f"{distance:.6g}"))


def load(results: Path) -> Gallery:
    """What `save` wrote. Raises NotFound."""
    try:
        with np.load(results / FILE, allow_pickle=False) as file:
            texts = json.loads(file["texts"].tobytes())
            return Gallery(texts["names"], texts["pictures"], file["signatures"])
    except (OSError, ValueError, KeyError) as error:
        raise NotFound("This run left no images that can be compared") from error


def number(text: str | None, name: str, default: int, most: int) -> int:
    """A whole number from 0 to `most` in a query. Raises BadRequest."""
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or int(text[:12]) > most:
        raise BadRequest("The query cannot be used", [{"field": name, "reason": f"must be from 0 to {most}"}])
    return int(text)
