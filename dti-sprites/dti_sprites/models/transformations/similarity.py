"""Rotation, isotropic scale and translation."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import AffineFamily, TransformationOptions


class Similarity(AffineFamily):
    """β = (a, b, tx, ty) -> [[1 + a, -b, tx], [b, 1 + a, ty]]. Identity at zero."""

    name = "similarity"

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(options)
        self.n_parameters = 4

    def matrix(self, parameters: Tensor) -> Tensor:
        a, b, tx, ty = parameters.unbind(1)
        row_x = torch.stack([1.0 + a, -b, tx], dim=1)
        row_y = torch.stack([b, 1.0 + a, ty], dim=1)
        return torch.stack([row_x, row_y], dim=1)
