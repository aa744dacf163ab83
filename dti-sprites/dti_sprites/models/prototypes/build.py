"""The prototypes that a configuration describes."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor

from dti_sprites.config import ModelConfig
from dti_sprites.errors import ConfigError
from dti_sprites.models.prototypes.generators import MLPPrototypes, UNetPrototypes
from dti_sprites.models.prototypes.pixels import PixelPrototypes

Prototypes: TypeAlias = PixelPrototypes | MLPPrototypes | UNetPrototypes

# One bias is shared by all generated prototypes, so they start from one image, or at random.
GENERATED_STARTS = ("random", "constant", "mean", "sample", "gaussian")


def build_prototypes(model: ModelConfig, channels: int, size: tuple[int, int]) -> Prototypes:
    """K prototypes (K, C, h, w) from `model.source`. Raises ConfigError for a size or start that it cannot have."""
    if model.source != "pixels" and model.init not in GENERATED_STARTS:
        reason = f"must be one of {', '.join(GENERATED_STARTS)} when model.source is {model.source}"
        raise ConfigError([("model.init", reason)])
    return make_prototypes(model, model.n_prototypes, channels, size)


def make_prototypes(
    model: ModelConfig, k: int, channels: int, size: tuple[int, int], field: str = "data.image_size"
) -> Prototypes:
    """k images (k, C, h, w) from `model.source`. Raises ConfigError that names `field` for an impossible size."""
    if model.source == "pixels":
        return PixelPrototypes(k, channels, size)
    if model.source == "mlp":
        return MLPPrototypes(k, channels, size, model.latent_size)
    if size[0] % 16 or size[1] % 16:
        raise ConfigError([(field, f"must be a multiple of 16 when model.source is unet, not {list(size)}")])
    return UNetPrototypes(k, channels, size)


def start_prototypes(prototypes: Prototypes, kind: str, images: Tensor) -> None:
    """Start from images (k, C, h, w) of the initialisation `kind`; generated ones all start from the first.

    For generators "random" means their own start.
    """
    if isinstance(prototypes, PixelPrototypes):
        prototypes.initialise(images)
    elif kind != "random":
        prototypes.start_from(images[0], constant=kind == "constant")
