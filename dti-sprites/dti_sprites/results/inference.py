"""One pass of a trained model over all images, batch by batch, as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dti_sprites.results.images import to_uint8


@dataclass(frozen=True)
class Decomposition:
    """B images as layers over a background; sprites count from 0, K stands for a layer that shows nothing."""

    choices: np.ndarray  # (B, L) int64, the sprite of each layer
    main: np.ndarray  # (B,) int64, the most visible layer of each image, whose sprite is its label
    layers: np.ndarray  # (B, L, H, W, C + 1) uint8, each layer as placed, its mask as last channel
    background: np.ndarray | None  # (B, H, W, C) uint8
    instance: np.ndarray  # (B, H, W) int64: 0 background, l for layer l (from 1)
    semantic: np.ndarray  # (B, H, W) int64: 0 background, k + 1 for sprite k

    @classmethod
    def joined(cls, parts: Sequence[Decomposition]) -> Decomposition:
        """Those of several batches as one."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            arrays = [getattr(part, field.name) for part in parts]
            values[field.name] = None if arrays[0] is None else np.concatenate(arrays)
        return cls(**values)


@dataclass(frozen=True)
class Batch:
    """What the model says about images `start ... start + B - 1`."""

    start: int
    labels: np.ndarray  # (B,) int64
    distances: np.ndarray  # (B, K) float32
    matrices: dict[str, np.ndarray]  # transformation -> (B, ...), of the chosen prototype
    images: (
        np.ndarray
    )  # (B, H, W, C) uint8 as the model saw them; with alpha as a last channel if there is one
    reconstructions: np.ndarray  # (B, H, W, C) uint8
    decomposition: Decomposition | None = None  # of models with layers


def infer_batches(model: Any, images: Any, batch_size: int) -> Iterator[Batch]:
    """Run `model.infer` over `images` (an ImageSet) once, in order. The model is left in eval mode.

    The memory in use is that of one batch, whatever the number of images.
    """
    device = next(model.parameters()).device
    model.eval()
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        pixels, alpha = images.images[part], None
        x = pixels.to(device, non_blocking=True).float() / 255.0
        weight = None
        if images.alpha is not None:
            alpha = images.alpha[part]
            weight = alpha.to(device, non_blocking=True).float() / 255.0
        with torch.no_grad():
            pins = {} if images.pins is None else {"pins": images.pins[part].to(device)}
            result = model.infer(x, weight, **pins)
            matrices = model.matrices(result.parameters)
        shown = pixels if alpha is None else torch.cat([pixels, alpha], dim=1)
        yield Batch(
            start=start,
            labels=result.labels.cpu().numpy().astype(np.int64),
            distances=result.distances.float().cpu().numpy(),
            matrices={name: values.float().cpu().numpy() for name, values in matrices.items()},
            images=to_uint8(shown.cpu().numpy()),
            reconstructions=_pictures(result.reconstruction),
            decomposition=_decomposition(result.labels, result.extras),
        )


def _decomposition(labels: Tensor, extras: Mapping[str, Tensor]) -> Decomposition | None:
    if "layers" not in extras:
        return None
    choices = extras["choices"]
    # Of layers that show the sprite of the label, the one of which most is seen.
    area = extras["instance_shares"][:, 1:].flatten(2).sum(2)
    main = area.masked_fill(choices != labels[:, None], -1.0).argmax(1)
    background = extras.get("background")
    return Decomposition(
        choices=choices.cpu().numpy().astype(np.int64),
        main=main.cpu().numpy().astype(np.int64),
        layers=_pictures(extras["layers"]),
        background=None if background is None else _pictures(background),
        instance=extras["instance"].cpu().numpy().astype(np.int64),
        semantic=extras["semantic"].cpu().numpy().astype(np.int64),
    )


def _pictures(values: Tensor) -> np.ndarray:
    return to_uint8(values.float().cpu().numpy())
