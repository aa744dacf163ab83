"""No transformation: the prototype itself."""

from __future__ import annotations

from torch import Tensor

from dti_sprites.models.transformations.base import Transformation, TransformationOptions


class Identity(Transformation):
    """Returns its input, whatever its size. Has no parameters."""

    name = "identity"

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__()
        self.n_parameters = 0

    def forward(self, images: Tensor, parameters: Tensor) -> Tensor:
        return images

    def matrices(self, parameters: Tensor) -> dict[str, Tensor]:
        return {}
