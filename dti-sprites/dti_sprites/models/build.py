"""The model that a configuration describes."""

from __future__ import annotations

import torch

from dti_sprites.config import RunConfig
from dti_sprites.models.base import DTIModel
from dti_sprites.models.gmm import DTIGMM
from dti_sprites.models.kmeans import DTIKMeans
from dti_sprites.models.predicted import PredictedKMeans
from dti_sprites.models.sprites import DTISprites, PredictedSprites


def build_model(config: RunConfig, channels: int, image_size: tuple[int, int]) -> DTIModel:
    """A model for images of `channels` channels and `image_size` (H, W), with weights drawn from the seed.

    Prototypes come from the images later (`initialise`), or from saved weights. The state of PyTorch's
    random generator is left as it was. Raises ConfigError when the settings do not fit the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return _model_class(config)(config, channels, (image_size[0], image_size[1]))


def _model_class(config: RunConfig) -> type[DTIModel]:
    kind = config.model.kind
    if kind == "kmeans":
        return DTIKMeans if config.model.selection.method == "min" else PredictedKMeans
    if kind == "gmm":
        return DTIGMM
    return DTISprites if config.model.selection.method == "min" else PredictedSprites
