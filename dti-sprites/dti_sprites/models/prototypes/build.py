"""The prototypes that a configuration describes."""

from __future__ import annotations

from dti_sprites.config import ModelConfig
from dti_sprites.errors import ConfigError
from dti_sprites.models.prototypes.generators import MLPPrototypes, UNetPrototypes
from dti_sprites.models.prototypes.pixels import PixelPrototypes

# One bias is shared by all generated prototypes, so they start from one image, or at random.
GENERATED_STARTS = ("random", "constant", "mean", "sample", "gaussian")


def build_prototypes(
    model: ModelConfig, channels: int, size: tuple[int, int]
) -> PixelPrototypes | MLPPrototypes | UNetPrototypes:
    """K prototypes (K, C, h, w) from `model.source`. Raises ConfigError for a size or start that it cannot have."""
    if model.source == "pixels":
        return PixelPrototypes(model.n_prototypes, channels, size)
    if model.init not in GENERATED_STARTS:
        reason = f"must be one of {', '.join(GENERATED_STARTS)} when model.source is {model.source}"
        raise ConfigError([("model.init", reason)])
    if model.source == "mlp":
        return MLPPrototypes(model.n_prototypes, channels, size, model.latent_size)
    if size[0] % 16 or size[1] % 16:
        reason = f"must be a multiple of 16 when model.source is unet, not {list(size)}"
        raise ConfigError([("data.image_size", reason)])
    return UNetPrototypes(model.n_prototypes, channels, size)
