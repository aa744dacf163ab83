"""Writes what a model makes of each image: as seen, as fitted, in layers, and aligned with its prototype."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dti_sprites.config import RunConfig
from dti_sprites.results import layout
from dti_sprites.results.alignment import Alignment, alignment_of
from dti_sprites.results.decompositions import write_decomposition
from dti_sprites.results.images import ImageWriter, write_image
from dti_sprites.results.inference import Batch, infer_batches
from dti_sprites.results.tables import Assignments

LARGE = 128  # pixels: from here on an aligned image is a JPEG, a tenth of the PNG


def suffix_of(config: RunConfig) -> str:
    """Of the pictures of clusters."""
    return "jpg" if config.results.image_format == "jpeg" else "png"


def write_members(
    writer: ImageWriter,
    model: Any,
    images: Any,
    config: RunConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Assignments:
    """Run `model` over `images` (an ImageSet) once and write the pictures of each; returns what it says."""
    alignment = alignment_of(config, images.size)
    labels, distances, choices = [], [], []
    matrices: dict[str, list[np.ndarray]] = {}
    for batch in infer_batches(model, images, config.training.batch_size):
        for row in range(len(batch.labels)):
            _write_pictures(writer, batch, row, config)
        if alignment is not None:
            _write_aligned(writer, alignment, images, batch, config)
        labels.append(batch.labels)
        distances.append(batch.distances)
        for name, values in batch.matrices.items():
            matrices.setdefault(name, []).append(values)
        if batch.decomposition is not None:
            choices.append(batch.decomposition.choices)
        if progress is not None:
            progress(min(batch.start + len(batch.labels), len(images)), len(images))
    return Assignments(
        names=list(images.names),
        labels=np.concatenate(labels),
        distances=np.concatenate(distances),
        matrices={name: np.concatenate(values) for name, values in matrices.items()},
        sources=images.sources,
        known_labels=known_labels(images),
        layers=layers_of(choices, model.n_prototypes),
    )


def layers_of(choices: list[np.ndarray], n_prototypes: int) -> np.ndarray | None:
    """Choices (B, L) of batches as one (N, L) with -1 where nothing is shown; None unless there are several layers."""
    if not choices or choices[0].shape[1] < 2:
        return None
    joined = np.concatenate(choices)
    return np.where(joined < n_prototypes, joined, -1)


def known_labels(images: Any) -> list[str | None] | None:
    """Name of the known class of each image of an ImageSet, None for those without."""
    if images.labels is None:
        return None
    return [images.label_names[label] if label >= 0 else None for label in images.labels]


def _write_pictures(writer: ImageWriter, batch: Batch, row: int, config: RunConfig) -> None:
    k, i, results, suffix = int(batch.labels[row]), batch.start + row, config.results, suffix_of(config)
    writer.write(layout.raw(k, i, suffix), batch.images[row], results.jpeg_quality)
    if results.transformed:
        writer.write(layout.transformed(k, i, suffix), batch.reconstructions[row], results.jpeg_quality)
    if batch.decomposition is not None and results.decompositions:
        write_decomposition(writer, batch.decomposition, row, i)


def _write_aligned(
    writer: ImageWriter, alignment: Alignment, images: Any, batch: Batch, config: RunConfig
) -> None:
    count = len(batch.labels)
    layers = [1] * count if batch.decomposition is None else (batch.decomposition.main + 1).tolist()
    fields = alignment.fields(batch.matrices, layers)
    for row, k in enumerate(map(int, batch.labels)):
        i = batch.start + row
        suffix = "jpg" if max(images.original_sizes[i]) > LARGE else suffix_of(config)
        name, quality = layout.aligned(k, i, suffix), config.results.jpeg_quality
        writer.submit(
            name, functools.partial(_align, writer.root / name, alignment, images, i, fields[row], quality)
        )


def _align(path: Path, alignment: Alignment, images: Any, i: int, field: Tensor, quality: int) -> None:
    write_image(path, alignment.align(alignment.original(images, i), field), quality)
