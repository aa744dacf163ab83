"""Isotropic scale and translation, the identity at rest."""

from __future__ import annotations

from torch import Tensor

from dti_sprites.models.transformations.base import AffineFamily, TransformationOptions, scaled_translation


class Isotranslation(AffineFamily):
    """β = (s, tx, ty) -> [(1 + s)·I | t]. Identity at zero."""

    name = "isotranslation"

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(options)
        self.n_parameters = 3

    def matrix(self, parameters: Tensor) -> Tensor:
        return scaled_translation(1.0 + parameters[:, 0], parameters[:, 1:])
