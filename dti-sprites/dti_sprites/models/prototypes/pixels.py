"""Prototypes learnt as pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dti_sprites.models.prototypes.rows import copy_rows

RESTART_NOISE = 1e-4  # standard deviation of the noise on prototypes that restart


class PixelPrototypes(nn.Module):
    """K images (K, C, h, w), raw and unconstrained: `forward()` is the parameter itself."""

    def __init__(self, k: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.pixels = nn.Parameter(torch.full((k, channels, *size), 0.5))

    def forward(self) -> Tensor:
        return self.pixels

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Start from `images` (K, C, h, w)."""
        self.pixels.copy_(images)

    def restart(
        self,
        source: int,
        targets: Sequence[int],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        """Rows `targets` become row `source` with a little noise."""
        noise = RESTART_NOISE * torch.randn(len(targets), *self.pixels.shape[1:], generator=generator)
        copy_rows(self.pixels, optimizer, source, targets, noise)
