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


def candidate_maps(masks: Tensor, premultiplied: Tensor) -> Tensor:
    """masks (..., 1, P), premultiplied (..., C, P) -> (..., 2C + 3, P): m, U, m², m·U, |U|²."""
    c = premultiplied.shape[-2]
    maps = masks.new_empty(*masks.shape[:-2], n_maps(c), masks.shape[-1])
    maps[..., :1, :] = masks
    maps[..., 1 : 1 + c, :] = premultiplied
    torch.mul(masks, maps[..., : 1 + c, :], out=maps[..., 1 + c : 2 + 2 * c, :])
    torch.sum(premultiplied.square(), dim=-2, keepdim=True, out=maps[..., 2 + 2 * c :, :])
    return maps


def split_maps(maps: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Masks (..., 1, P) and premultiplied colours (..., C, P) of candidates, from their maps."""
    return maps[..., :1, :], maps[..., 1 : 1 + channels, :]


def state_maps(residual: Tensor, hidden: Tensor, clear: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """r (B, C, P), T (B, C, P), O (B, 1, P), weight (B or 1, 1, P) -> maps (B, 2C + 3, P), |r|² (B,).

    `weight` is how much each pixel counts, normalisation included.
    """
    maps = torch.cat(
        [
            2.0 * (residual * hidden).sum(1, keepdim=True),
            -2.0 * clear * residual,
            hidden.square().sum(1, keepdim=True),
            -2.0 * clear * hidden,
            clear.square(),
        ],
        dim=1,
    )
    return maps * weight, (residual.square() * weight).flatten(1).sum(1)


def expanded_errors(candidates: Tensor, state: Tensor, constant: Tensor) -> Tensor:
    """candidates (B, K, 2C + 3, P), state (B, 2C + 3, P), constant (B,) -> errors (B, K)."""
    products = torch.bmm(candidates.flatten(2), state.flatten(1).unsqueeze(2))
    return constant[:, None] + products.squeeze(2)
