"""One pass of a trained model over all images, batch by batch, as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dti_sprites.results.images import to_uint8


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
            reconstructions=to_uint8(result.reconstruction.float().cpu().numpy()),
        )
