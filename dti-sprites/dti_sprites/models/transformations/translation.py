"""Translation at a fixed scale."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import AffineFamily, TransformationOptions, scaled_translation


class Translation(AffineFamily):
    """β = (tx, ty) -> [2·I | t], always with zero padding.

    Not the identity at zero: as with `position`, a sprite is drawn at half the canvas.
    """

    name = "translation"

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(replace(options, padding="zeros"))
        self.n_parameters = 2

    def matrix(self, parameters: Tensor) -> Tensor:
        return scaled_translation(torch.full_like(parameters[:, 0], 2.0), parameters)
