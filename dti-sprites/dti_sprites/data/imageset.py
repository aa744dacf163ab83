"""ImageSet: images of one size as uint8 tensors, with their names and, when known, labels."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dti_sprites.config import RunConfig
from dti_sprites.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N images of C channels (1 or 3) and H x W pixels, on the CPU.

    Raises DataError when the parts do not belong together.
    """

    images: Tensor  # uint8 (N, C, H, W)
    names: list[str]  # unique; the path relative to the folder, or the number as "000012"
    alpha: Tensor | None = None  # uint8 (N, 1, H, W): 0 pixels that do not count, 255 those that do
    paths: list[Path | None] = field(default_factory=list)
    labels: np.ndarray | None = None  # int64 (N,), an index into label_names; -1: not known
    label_names: list[str] = field(default_factory=list)
    sources: list[dict[str, Any]] | None = None  # where each image was cut from
    original_sizes: list[tuple[int, int]] = field(default_factory=list)  # (height, width)
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (name, reason) of unreadable files
    masks: dict[str, Tensor] = field(default_factory=dict)  # uint8 (N, H, W) ground truth: instance, semantic
    pins: Tensor | None = None  # int64 (N,): the prototype that an image must belong to; -1: free

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise DataError(
                f"images must be uint8 (N, 1 or 3, H, W), not {self.images.dtype} {tuple(self.images.shape)}"
            )
        n, _, height, width = self.images.shape
        if not self.paths:
            object.__setattr__(self, "paths", [None] * n)
        if not self.original_sizes:
            object.__setattr__(self, "original_sizes", [(height, width)] * n)
        if self.alpha is not None and self.alpha.shape != (n, 1, height, width):
            raise DataError(
                f"alpha must have the shape {(n, 1, height, width)}, not {tuple(self.alpha.shape)}"
            )
        parts: list[tuple[str, Sized | None]] = [
            ("names", self.names),
            ("paths", self.paths),
            ("labels", self.labels),
            ("sources", self.sources),
            ("original_sizes", self.original_sizes),
            ("pins", self.pins),
            *self.masks.items(),
        ]
        for name, part in parts:
            if part is not None and len(part) != n:
                raise DataError(f"{name}: {len(part)} given for {n} images")

    def __len__(self) -> int:
        return self.images.shape[0]

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every image."""
        return self.images.shape[2], self.images.shape[3]

    def subset(self, indices: Sequence[int] | np.ndarray | Tensor) -> ImageSet:
        """The images of these indices, in this order."""
        index = torch.as_tensor(indices, dtype=torch.long).reshape(-1)
        chosen = index.tolist()
        return dataclasses.replace(
            self,
            images=self.images[index],
            alpha=None if self.alpha is None else self.alpha[index],
            names=[self.names[i] for i in chosen],
            paths=[self.paths[i] for i in chosen],
            labels=None if self.labels is None else self.labels[index.numpy()],
            sources=None if self.sources is None else [self.sources[i] for i in chosen],
            original_sizes=[self.original_sizes[i] for i in chosen],
            masks={name: mask[index] for name, mask in self.masks.items()},
            pins=None if self.pins is None else self.pins[index],
        )

    def with_labels(self, labels: np.ndarray | Sequence[Any]) -> ImageSet:
        """A copy with these labels, one per image: whole numbers or texts."""
        encoded, names = encode_labels(labels)
        return dataclasses.replace(self, labels=encoded, label_names=names)

    def fingerprint(self) -> str:
        """SHA-256 of the pixels, alpha and pins: equal for equal content whatever the files were called."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for plane in (self.images, self.alpha):
            if plane is None:
                digest.update(b"opaque")
            else:
                digest.update(plane.contiguous().numpy().data)
        if self.pins is not None:
            digest.update(self.pins.contiguous().numpy().data)
        return digest.hexdigest()


_KEPT_LABELS = 256


def encode_labels(labels: np.ndarray | Sequence[Any]) -> tuple[np.ndarray, list[str]]:
    """(int64 labels (N,), names) of numbers or texts. None, "" and negative numbers mean: not known (-1).

    Numbers below 256 keep their value; with larger ones, all are renumbered in order.
    """
    from dti_sprites.data.files import natural_key

    values = labels.tolist() if isinstance(labels, np.ndarray | Tensor) else list(labels)
    if any(isinstance(value, list | tuple | dict) for value in values):
        raise DataError("labels must be one number or text per image")
    if all(isinstance(v, int) or (isinstance(v, float) and v.is_integer()) for v in values):
        numbers = np.asarray(values, dtype=np.int64).reshape(-1)
        numbers = np.where(numbers < 0, -1, numbers)
        top = int(numbers.max(initial=-1))
        if top < _KEPT_LABELS:
            return numbers, [str(i) for i in range(top + 1)]
    texts = ["" if v is None or (isinstance(v, int) and v < 0) else str(v).strip() for v in values]
    names = sorted({text for text in texts if text}, key=lambda text: (natural_key(text), text))
    index = {name: i for i, name in enumerate(names)}
    return np.array([index.get(text, -1) for text in texts], dtype=np.int64), names


def check_enough(images: ImageSet, config: RunConfig) -> None:
    """Raise DataError unless there are enough images for what `config` asks."""
    n, k = len(images), config.model.n_prototypes
    if n < 2:
        raise DataError(f"{n} image cannot be compared with others: at least 2 are needed")
    objects = n * config.model.sprites.n_layers if config.model.kind == "sprites" else n
    if objects < k:
        raise DataError(
            f"{n} images are too few for {k} prototypes: set model.n_prototypes to at most {objects}, or add images"
        )
