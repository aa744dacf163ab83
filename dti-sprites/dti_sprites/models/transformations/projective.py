"""Homography: I₃ + β, with a homogeneous division."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import TransformationOptions, Warp
from dti_sprites.ops.grids import homogeneous_grid
from dti_sprites.ops.warp import projective_coords


class Projective(Warp):
    """Nine parameters added to the identity matrix, row by row. Identity at zero with both grids.

    `legacy`: corner grid sampled with align_corners=True, as the published runs did; `exact`: pixel centres,
    like the affine family.
    """

    name = "projective"

    grid: Tensor
    identity: Tensor

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(options)
        self.n_parameters = 9
        self.corners = options.grid == "legacy"
        grid = homogeneous_grid(options.size, self.corners).to(torch.get_default_dtype())
        self.register_buffer("grid", grid, persistent=False)
        self.register_buffer("identity", torch.eye(3), persistent=False)

    def matrix(self, parameters: Tensor) -> Tensor:
        """(N, 9) -> (N, 3, 3) from output coordinates to sampling coordinates."""
        return self.identity + parameters.view(-1, 3, 3)

    def coords(self, parameters: Tensor) -> Tensor:
        return projective_coords(self.matrix(parameters), self.grid)

    def matrices(self, parameters: Tensor) -> dict[str, Tensor]:
        return {self.name: self.matrix(parameters)}
