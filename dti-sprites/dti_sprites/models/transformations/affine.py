"""Affine map: [I | 0] + β."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import AffineFamily, TransformationOptions


class Affine(AffineFamily):
    """Six parameters added to the identity matrix, row by row. Identity at zero."""

    name = "affine"

    identity: Tensor

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(options)
        self.n_parameters = 6
        self.register_buffer("identity", torch.eye(2, 3), persistent=False)

    def matrix(self, parameters: Tensor) -> Tensor:
        return self.identity + parameters.view(-1, 2, 3)
