"""Ways of keeping pixel values in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

SLOPE = 0.01  # of the soft clamp outside [0, 1]


def soft_clamp(values: Tensor) -> Tensor:
    """clamp(v, 0, 1) + 0.01·(v - clamp(v, 0, 1)): values outside keep a small gradient. Any shape."""
    return torch.lerp(values.clamp(0.0, 1.0), values, SLOPE)


def straight_clamp(values: Tensor) -> Tensor:
    """Hard values with the gradient of the identity. Any shape."""
    return values + (values.clamp(0.0, 1.0) - values).detach()


def clamp_values(values: Tensor, mode: str) -> Tensor:
    """`mode`: "none", "soft", "hard" or "straight". Any shape."""
    if mode == "none":
        return values
    if mode == "soft":
        return soft_clamp(values)
    if mode == "hard":
        return values.clamp(0.0, 1.0)
    if mode == "straight":
        return straight_clamp(values)
    raise ValueError(f"unknown clamp {mode!r}; possible: none, soft, hard, straight")


@torch.no_grad()
def clamp_in_place(values: Tensor, mode: str) -> None:
    """What `clamp_values` does, without gradient and in a few passes over the memory of `values`."""
    if mode == "soft":
        torch.lerp(values.clamp(0.0, 1.0), values, SLOPE, out=values)
    elif mode in ("hard", "straight"):
        values.clamp_(0.0, 1.0)
    elif mode != "none":
        clamp_values(values, mode)  # says what is wrong
