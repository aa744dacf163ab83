"""Ways of keeping pixel values in [0, 1]."""

from __future__ import annotations

from torch import Tensor

SLOPE = 0.01  # of the soft clamp outside [0, 1]


def soft_clamp(values: Tensor) -> Tensor:
    """clamp(v, 0, 1) + 0.01·(v - clamp(v, 0, 1)): values outside keep a small gradient. Any shape."""
    return values.clamp(0.0, 1.0) + SLOPE * (values.clamp_max(0.0) + (values - 1.0).clamp_min(0.0))


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
