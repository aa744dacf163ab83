"""Rotation about the centre."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import AffineFamily, TransformationOptions


class Rotation(AffineFamily):
    """β = (b) -> [[1, -b, 0], [b, 1, 0]]: rotation by atan b *with* a scale √(1 + b²). Identity at zero."""

    name = "rotation"

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(options)
        self.n_parameters = 1

    def matrix(self, parameters: Tensor) -> Tensor:
        b = parameters[:, 0]
        one, zero = torch.ones_like(b), torch.zeros_like(b)
        row_x = torch.stack([one, -b, zero], dim=1)
        row_y = torch.stack([b, one, zero], dim=1)
        return torch.stack([row_x, row_y], dim=1)
