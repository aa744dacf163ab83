"""DTI K-means as the paper writes it: every prototype is transformed for every image, with gradient through all."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dti_sprites.bench.speed.reference_transformations import transform
from dti_sprites.models.heads import StackedHeads
from dti_sprites.models.kmeans import DTIKMeans


def one_head(heads: nn.Module, k: int, features: Tensor) -> Tensor:
    """features (B, F) -> (B, p) of head k."""
    assert isinstance(heads, StackedHeads)
    x = features
    for i, (weight, bias) in enumerate(zip(heads.weights, heads.biases)):
        x = F.linear(x if i == 0 else torch.relu(x), weight[k], bias[k])
    return x


class ReferenceKMeans:
    """The parameters of a library model, used plainly."""

    def __init__(self, model: DTIKMeans) -> None:
        self.model = model

    def loss(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> mean over images of the smallest mean squared error."""
        model, settings = self.model, self.model.config.model
        features = model.encoder(x)
        errors = []
        for k in range(model.n_prototypes):
            images = model.prototypes()[k].expand(len(x), -1, -1, -1)
            for name in model.sequence.active_names:
                if name == "identity":
                    continue
                beta = one_head(model.sequence.heads[name], k, features)
                images = transform(
                    name, images, beta, model.image_size, settings.padding, model.channels, settings
                )
            errors.append((x - images).square().mean((1, 2, 3)))
        return torch.stack(errors, dim=1).min(1).values.mean()
