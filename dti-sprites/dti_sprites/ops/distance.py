"""Squared errors between images and reconstructions."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_error(images: Tensor, reconstructions: Tensor, weight: Tensor | None = None) -> Tensor:
    """images (..., C, H, W), reconstructions likewise (broadcast) -> (...) mean over channels and pixels.

    `weight` (..., 1, H, W), from `pixel_weight`, already contains the normalisation: Σ weight·error² then.
    """
    error = (images - reconstructions).square_()
    if weight is None:
        return error.flatten(-3).mean(-1)
    return (error * weight).flatten(-3).sum(-1)


def gaussian_window(size: tuple[int, int], std: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """(H, W) Gaussian of deviation `std` pixels, centred, with peak 1."""
    axes = []
    for n in size:
        position = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
        axes.append(torch.exp(-0.5 * (position / std) ** 2))
    return torch.outer(*axes).to(dtype)


def pixel_weight(
    alpha: Tensor | None, window: Tensor | None, channels: int, size: tuple[int, int]
) -> Tensor | None:
    """alpha (N, 1, H, W) in [0, 1], window (H, W) -> weight (N or 1, 1, H, W) for `squared_error`, or None.

    With alpha the weighted error is divided by C·max(Σ alpha, 1): an image counts the same however much of
    it is transparent. Without, by C·H·W: the window is not normalised (published behaviour).
    """
    if alpha is None:
        if window is None:
            return None
        return (window / (channels * size[0] * size[1])).view(1, 1, *size)
    total = channels * alpha.flatten(1).sum(1).clamp_min(1.0)
    weight = alpha / total.view(-1, 1, 1, 1)
    return weight if window is None else weight * window
