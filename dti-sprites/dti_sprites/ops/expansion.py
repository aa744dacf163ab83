"""Errors of many compositions that differ in one layer, by expanding the square.

With all layers but one fixed, a candidate of mask m and premultiplied colours U = m·c in that layer gives the
composition S - m·T + O·U, where S is the composition without the layer, T the part of S that the layer would
hide and O how much of the layer would show. Its squared error to x, with r = x - S, is

    |r|² + Σ_p [ m 2 r·T + m² |T|² - U·(2 O r) - m U·(2 O T) + |U|² O² ]

a scalar product per candidate between maps of the candidate and maps of the fixed layers: nothing is composed.
Pixels are flattened: P stands for H·W.
"""

from __future__ import annotations

import torch
from torch import Tensor


def n_maps(channels: int) -> int:
    """Maps per candidate."""
    return 2 * channels + 3


def candidate_maps(masks: Tensor, colours: Tensor) -> Tensor:
    """masks (..., 1, P), colours (..., C, P) -> (..., 2C + 3, P): m, U = m·c, m², m·U, |U|²."""
    c = colours.shape[-2]
    maps = masks.new_empty(*masks.shape[:-2], n_maps(c), masks.shape[-1])
    premultiplied = maps[..., 1 : 1 + c, :]
    maps[..., :1, :] = masks
    torch.mul(masks, colours, out=premultiplied)
    torch.mul(masks, maps[..., : 1 + c, :], out=maps[..., 1 + c : 2 + 2 * c, :])
    torch.sum(premultiplied.square(), dim=-2, keepdim=True, out=maps[..., 2 + 2 * c :, :])
    return maps


def split_maps(maps: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Masks (..., 1, P) and premultiplied colours (..., C, P) of candidates, from their maps."""
    return maps[..., :1, :], maps[..., 1 : 1 + channels, :]


def state_maps(fixed: Tensor, clear: Tensor, weight: Tensor) -> Tensor:
    """fixed (B, 2, C, P) of r and T, O (B, 1, P), weight (B or 1, 1, P) -> maps (B, 2C + 3, P).

    `weight` is how much each pixel counts, normalisation included.
    """
    batch, _, channels, pixels = fixed.shape
    maps = fixed.new_empty(batch, n_maps(channels), pixels)
    paired = maps[:, : 2 + 2 * channels].view(batch, 2, 1 + channels, pixels)
    shows = clear * weight
    torch.mul(shows, clear, out=maps[:, 2 + 2 * channels :])
    torch.mul(fixed, (-2.0 * shows)[:, None], out=paired[:, :, 1:])
    torch.sum(fixed * (fixed[:, 1] * weight)[:, None], dim=2, keepdim=True, out=paired[:, :, :1])
    maps[:, 0].mul_(2.0)
    return maps


def expanded_errors(candidates: Tensor, state: Tensor) -> Tensor:
    """candidates (B, K, 2C + 3, P), state (B, 2C + 3, P) -> errors (B, K), without |r|²."""
    candidates, state = candidates.flatten(2), state.flatten(1)
    if candidates.device.type == "cpu":  # a batched product of matrices with vectors takes four times as long
        return torch.stack([torch.mv(each, vector) for each, vector in zip(candidates, state)])
    return torch.bmm(candidates, state.unsqueeze(2)).squeeze(2)
