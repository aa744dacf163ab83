"""DTI K-means: prototypes, transformed to fit each image, compete for it.

Loss of a batch: mean over images of the smallest (over prototypes) mean squared error between the image and
the transformed prototype (Monnier, Groueix and Aubry, "Deep Transformation-Invariant Clustering", NeurIPS
2020). Only the winning prototype of an image has a gradient, so all candidates are compared without one and
the winner is rendered again with it: same loss and gradients, K times less memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.base import Inference, StepOutput
from dti_sprites.models.clustering import ClusteringModel, pinned_labels, shares
from dti_sprites.ops.blocks import blocks
from dti_sprites.ops.distance import pixel_weight, squared_error
from dti_sprites.ops.late import LateTable


class DTIKMeans(ClusteringModel):
    """K prototypes of the images' size; see the module."""

    @torch.no_grad()
    def errors(
        self, x: Tensor, weight: Tensor | None, prototypes: Tensor, parameters: dict[str, Tensor]
    ) -> Tensor:
        """Distances (B, K) of all prototypes, block by block so that a block stays in cache (or memory)."""
        pixels = pixel_weight(weight, self.window, self.channels, self.image_size)
        result = x.new_empty(self.n_prototypes, len(x))
        for ks, bs in blocks(self.n_prototypes, len(x), x[0].numel(), x.device):
            candidates = self.transform_block(prototypes, parameters, ks, bs)
            part = pixels if pixels is None or len(pixels) == 1 else pixels[bs]
            result[ks, bs] = squared_error(x[bs], candidates, part)
        return result.T

    def step(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> StepOutput:
        """`pins` (B,): the prototype that an image must belong to; -1: the nearest."""
        prototypes = LateTable(self.prototypes())
        parameters = self.parameters_for(x)
        distances = self.errors(x, weight, prototypes.values, parameters)
        labels = pinned_labels(distances.argmin(1), pins)
        reconstruction, _ = self.render(prototypes, labels, parameters)
        pixels = pixel_weight(weight, self.window, self.channels, self.image_size)
        loss = squared_error(x, reconstruction, pixels).mean()
        return StepOutput(loss, {}, distances, labels, shares(labels, self.n_prototypes))

    @torch.no_grad()
    def infer(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> Inference:
        training = self.training
        self.eval()
        prototypes, parameters = self.prototypes(), self.parameters_for(x)
        distances = self.errors(x, weight, prototypes, parameters)
        labels = pinned_labels(distances.argmin(1), pins)
        reconstruction, chosen = self.render(prototypes, labels, parameters)
        self.train(training)
        return Inference(distances, labels, reconstruction, chosen)
