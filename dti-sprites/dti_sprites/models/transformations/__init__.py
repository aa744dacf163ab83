"""The transformations that map a prototype onto an image, by their canonical names."""

from __future__ import annotations

from collections.abc import Callable

from dti_sprites.models.transformations.affine import Affine
from dti_sprites.models.transformations.base import (
    AffineFamily,
    Transformation,
    TransformationOptions,
    Warp,
)
from dti_sprites.models.transformations.color import Color
from dti_sprites.models.transformations.identity import Identity
from dti_sprites.models.transformations.isotranslation import Isotranslation
from dti_sprites.models.transformations.linearcolor import LinearColor
from dti_sprites.models.transformations.morpho import Morphology
from dti_sprites.models.transformations.position import Position
from dti_sprites.models.transformations.projective import Projective
from dti_sprites.models.transformations.rotation import Rotation
from dti_sprites.models.transformations.similarity import Similarity
from dti_sprites.models.transformations.tps import ThinPlateSpline
from dti_sprites.models.transformations.translation import Translation

__all__ = ["AffineFamily", "Transformation", "TransformationOptions", "Warp", "build_transformation"]

_CLASSES: dict[str, Callable[[TransformationOptions], Transformation]] = {
    cls.name: cls
    for cls in (
        Identity, Color, LinearColor, Affine, Position, Similarity, Rotation, Translation, Isotranslation,
        Projective, ThinPlateSpline, Morphology,
    )
}  # fmt: skip


def build_transformation(name: str, options: TransformationOptions) -> Transformation:
    """A transformation by its canonical name (see `dti_sprites.config.TRANSFORMATIONS`)."""
    return _CLASSES[name](options)
