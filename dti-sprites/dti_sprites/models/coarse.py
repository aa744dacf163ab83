"""A model at half the resolution of another one, which learns in its place.

Its networks are those of the other and its prototypes are the other's, two by two pixels averaged: whatever it learns
the other has learnt. A step costs about a quarter, and the rough shapes are found before the details.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dti_sprites.config import RunConfig
from dti_sprites.config.checks import as_pair
from dti_sprites.errors import ConfigError
from dti_sprites.models.base import DTIModel
from dti_sprites.models.build import build_model
from dti_sprites.models.encoder import Encoder
from dti_sprites.models.heads import StackedHeads
from dti_sprites.models.prototypes.pixels import PixelPrototypes
from dti_sprites.models.selection import Selection
from dti_sprites.models.sprites.occlusion import Occlusion

LEAST_ENCODER_SIZE = 8  # as in the settings
SHARED = (StackedHeads, Selection, Occlusion)


class HalvedPrototypes(nn.Module):
    """K images (K, C, h, w) of other prototypes as (K, C, h/2, w/2); their gradient is that of the others."""

    def __init__(self, prototypes: PixelPrototypes) -> None:
        super().__init__()
        self.prototypes = prototypes

    def forward(self) -> Tensor:
        return F.avg_pool2d(self.prototypes(), 2)


def halve(x: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """x (B, C, H, W), weight (B, 1, H, W) in [0, 1] or None -> the same of half the height and width.

    A pixel is the mean of four, each as much as it counts; where none of them counts, their plain mean.
    """
    plain = F.avg_pool2d(x, 2)
    if weight is None:
        return plain, None
    share = F.avg_pool2d(weight, 2)
    weighted = F.avg_pool2d(x * weight, 2) / share.clamp_min(torch.finfo(x.dtype).tiny)
    return torch.where(share > 0, weighted, plain), share


def coarse_model(model: DTIModel) -> DTIModel:
    """`model` at half its resolution, without a parameter of its own; see the module.

    Raises ConfigError for sizes that cannot be halved and encoders whose features depend on the images' size.
    """
    height, width = model.image_size
    config = _halved(model.config, model.image_size)
    coarse = build_model(config, model.channels, (height // 2, width // 2))
    coarse.to(next(model.parameters()).device)
    encoders = [each.encoder.n_features for each in (model, coarse) if isinstance(each.encoder, Encoder)]
    if len(set(encoders)) > 1:
        reason = "needs as many features of small images: set model.encoder_pool or model.encoder_size"
        raise ConfigError([("training.coarse_epochs", reason)])
    for path, module in model.named_modules():
        if isinstance(module, PixelPrototypes):
            coarse.set_submodule(path, HalvedPrototypes(module))
        elif isinstance(module, Encoder):
            coarse.set_submodule(f"{path}.layers", module.layers)
        elif isinstance(module, SHARED):
            coarse.set_submodule(path, module)
    return coarse


def _halved(config: RunConfig, image_size: tuple[int, int]) -> RunConfig:
    """The settings that are lengths in pixels, halved."""
    sprite_size = as_pair(config.model.sprites.sprite_size)
    for field, size in (("data.image_size", image_size), ("model.sprites.sprite_size", sprite_size)):
        if size is not None and any(side % 2 for side in size):
            raise ConfigError([(field, f"must be even with training.coarse_epochs, not {list(size)}")])
    sprites, std = config.model.sprites, config.model.gaussian_window_std
    seen = config.model.encoder_size
    if sprite_size is not None:
        sprites = replace(sprites, sprite_size=(sprite_size[0] // 2, sprite_size[1] // 2))
    model = replace(
        config.model,
        sprites=sprites,
        gaussian_window_std=None if std is None else std / 2,
        encoder_size=None if seen is None else max(seen // 2, LEAST_ENCODER_SIZE),
    )
    data = replace(config.data, image_size=(image_size[0] // 2, image_size[1] // 2))
    return replace(config, model=model, data=data)
