"""Scale of each colour channel, without offset."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import TransformationOptions
from dti_sprites.models.transformations.color import Color


class LinearColor(Color):
    """β (C,) = w per channel: (1 + w)·v. Identity at zero (inside [0, 1])."""

    name = "linearcolor"

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(options)
        self.n_parameters = self.channels

    def scale_offset(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return 1.0 + parameters, torch.zeros_like(parameters)
