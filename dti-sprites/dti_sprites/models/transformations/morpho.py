"""Smooth dilation or erosion with a predicted structuring element."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import Transformation, TransformationOptions
from dti_sprites.ops.morphology import smooth_morphology

START = 5.0  # logit of the structuring element at its centre, minus that elsewhere


class Morphology(Transformation):
    """β = (α, k² logits added to a fixed start), see `ops.morphology`.

    Not the identity at zero but a blur: the centre weighs 0.756 for k = 7, 0.949 for k = 3.
    """

    name = "morpho"

    start: Tensor

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__()
        self.side = options.morpho_kernel_size
        self.n_parameters = 1 + self.side**2
        start = torch.full((self.side**2,), -START)
        start[self.side**2 // 2] = START
        self.register_buffer("start", start, persistent=False)

    def weights(self, parameters: Tensor) -> Tensor:
        """(N, 1 + k²) -> (N, k, k) in (0, 1)."""
        return torch.sigmoid(self.start + parameters[:, 1:]).view(-1, self.side, self.side)

    def forward(self, images: Tensor, parameters: Tensor) -> Tensor:
        return smooth_morphology(images, parameters[:, 0], self.weights(parameters))

    def matrices(self, parameters: Tensor) -> dict[str, Tensor]:
        """Under "morpho": (N, k, k) structuring elements; under "morpho_alpha": (N, 1)."""
        return {self.name: self.weights(parameters), "morpho_alpha": parameters[:, :1]}
