"""Isotropic scale and translation, as published for DTI-Sprites."""

from __future__ import annotations

from torch import Tensor

from dti_sprites.models.transformations.base import AffineFamily, TransformationOptions, scaled_translation


class Position(AffineFamily):
    """β = (s, tx, ty) -> [(e^s + 1)·I | t].

    Not the identity at zero: 2·I, so that a sprite is drawn at half the canvas, and it can never exceed it.
    """

    name = "position"

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(options)
        self.n_parameters = 3

    def matrix(self, parameters: Tensor) -> Tensor:
        return scaled_translation(parameters[:, 0].exp() + 1.0, parameters[:, 1:])
