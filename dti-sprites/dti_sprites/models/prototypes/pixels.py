"""Prototypes learnt as pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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

    @torch.no_grad()
    def begin(self, k: int, image: Tensor) -> None:
        """Start row `k` from an image (C, h, w)."""
        self.pixels[k] = image.to(self.pixels)

    def fix(self, rows: Iterable[int]) -> None:
        """From now on these rows take part in training, but do not change."""
        still = sorted(rows)

        def hold(gradient: Tensor) -> Tensor:
            gradient = gradient.clone()
            gradient[still] = 0.0
            return gradient

        if still:
            self.pixels.register_hook(hold)

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
