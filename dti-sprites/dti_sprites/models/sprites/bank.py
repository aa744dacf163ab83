"""The sprites themselves: colours and masks, and the backgrounds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dti_sprites.config import SpritesConfig
from dti_sprites.models.prototypes.initialisation import initial_prototypes
from dti_sprites.models.prototypes.pixels import PixelPrototypes
from dti_sprites.models.prototypes.rows import copy_rows
from dti_sprites.ops.clamp import clamp_values


def initial_images(
    kind: str,
    images: Tensor,
    k: int,
    size: tuple[int, int],
    generator: torch.Generator,
    value: float,
    std: float,
) -> Tensor:
    """Colours, masks or backgrounds (k, C, h, w) to start from: `initial_prototypes`, or a random colour each."""
    if kind == "random_color":
        colours = torch.rand(k, images.shape[1], 1, 1, generator=generator)
        return colours.expand(-1, -1, *size).clone()
    return initial_prototypes(kind, images, k, size, generator, value=value, std=std)


class SpriteBank(nn.Module):
    """K sprites (C + 1, h, w): colours and mask, in pixel space. Without gradient where frozen."""

    def __init__(self, config: SpritesConfig, k: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.k, self.size = config, k, size
        self.colours = PixelPrototypes(k, channels, size)
        self.masks = PixelPrototypes(k, 1, size)
        self.frozen_colours = self.frozen_masks = False

    def initialise(self, images: Tensor, generator: torch.Generator) -> None:
        """images uint8 (N, C, H, W)."""
        config = self.config
        std = config.gaussian_std or min(self.size) / 5
        shared = (self.k, self.size, generator)
        self.colours.initialise(
            initial_images(config.init_foreground, images, *shared, config.value_foreground, std)
        )
        self.masks.initialise(
            initial_images(config.init_mask, images[:, :1], *shared, config.value_mask, std)
        )

    def shown(self) -> tuple[Tensor, Tensor]:
        """Colours (K, C, h, w) and masks (K, 1, h, w), both clamped."""
        clamp = self.config.clamp
        return clamp_values(self.colours(), clamp), clamp_values(self.masks(), clamp)

    def stack(self, noise: bool) -> Tensor:
        """(K, C + 1, h, w): what is transformed. With `noise` (K, C + 2, h, w).

        The mask is raw then, to be clamped once it is warped and noisy, and the last channel is a canvas of
        ones, of which the warp tells where a sprite can be at all.
        """
        colours, masks = self.colours(), self.masks()
        if self.frozen_colours:
            colours = colours.detach()
        if self.frozen_masks:
            masks = masks.detach()
        colours = clamp_values(colours, self.config.clamp)
        if noise:
            return torch.cat([colours, masks, torch.ones_like(masks)], dim=1)
        return torch.cat([colours, clamp_values(masks, self.config.clamp)], dim=1)

    def restart(
        self,
        source: int,
        targets: Sequence[int],
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        """Sprites `targets` become sprite `source`; its colours, too, take a little noise, its mask does not."""
        self.colours.restart(source, [*targets, source], optimizer, generator)
        copy_rows(self.masks.pixels, optimizer, source, targets)


class Backgrounds(nn.Module):
    """M backgrounds (M, C, H, W), clamped. Without gradient where frozen."""

    def __init__(self, config: SpritesConfig, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.size = config, size
        self.images = PixelPrototypes(config.n_backgrounds, channels, size)
        self.frozen = False

    def initialise(self, images: Tensor, generator: torch.Generator) -> None:
        """images uint8 (N, C, H, W)."""
        config = self.config
        std = config.gaussian_std or min(self.size) / 5
        self.images.initialise(
            initial_images(
                *(config.init_background, images, config.n_backgrounds, self.size),
                *(generator, config.value_background, std),
            )
        )

    def forward(self) -> Tensor:
        images = self.images()
        return clamp_values(images.detach() if self.frozen else images, self.config.clamp)
