"""Label maps of composed images: which layer, and which sprite, a pixel belongs to.

0 is the background; layer l has label l, sprite k label k + 1 (both counted from 1 in the maps).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.sprites.composition import visibility

THRESHOLD = 0.5  # masks and occlusions above it count as 1, others as 0


def instance_shares(masks: Tensor, occlusion: Tensor | None) -> Tensor:
    """masks (B, L, 1, H, W) -> (B, 1 + L, H, W): how much of the background and of each layer a pixel shows."""
    layers, background = visibility(masks, occlusion)
    return torch.cat([background, (layers * masks)[:, :, 0]], dim=1)


def semantic_shares(shares: Tensor, sprites: Tensor, k: int) -> Tensor:
    """shares (B, 1 + L, H, W), sprites (B, L) -> (B, 1 + k, H, W): shares summed by sprite."""
    result = shares.new_zeros(len(shares), k + 2, *shares.shape[2:])
    result[:, 0] = shares[:, 0]
    index = (sprites + 1)[..., None, None].expand(-1, -1, *shares.shape[2:])
    return result.scatter_add_(1, index, shares[:, 1:])[:, : k + 1]  # layers without a sprite show nothing


def label_maps(masks: Tensor, occlusion: Tensor | None, sprites: Tensor) -> tuple[Tensor, Tensor]:
    """masks (B, L, 1, H, W), sprites (B, L) -> labels by layer and by sprite, int64 (B, H, W) both.

    Masks and occlusion are made binary first. Where layers then hide each other in a circle, the pixel belongs
    to the one that shows most of itself before that.
    """
    binary = (masks > THRESHOLD).to(masks)
    decided = None if occlusion is None else (occlusion > THRESHOLD).to(masks)
    visible = instance_shares(binary, decided)[:, 1:]
    soft = instance_shares(masks, occlusion)[:, 1:]
    covered = binary[:, :, 0]
    # Visible layers first; among equals, or in a circle, what shows most.
    order = (2.0 * visible + soft.clamp(0.0, 1.0)) * covered
    layer = order.argmax(1)
    labels = torch.where(covered.any(1), layer + 1, 0)
    named = torch.cat([torch.zeros_like(sprites[:, :1]), sprites + 1], dim=1)
    semantic = named.gather(1, labels.flatten(1)).view_as(labels)
    return labels, semantic
