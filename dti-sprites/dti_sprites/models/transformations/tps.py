"""Thin plate spline deformation."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import TransformationOptions, Warp
from dti_sprites.ops.grids import pixel_grid
from dti_sprites.ops.tps import control_points, tps_coords, tps_matrix


class ThinPlateSpline(Warp):
    """β (2, g²): x then y offsets of the control points of a regular g×g grid over [-1, 1]².

    `legacy`: corner grid sampled with align_corners=False, as published. At zero this is *not* the identity:
    pixel i samples position i·W/(W-1) - ½, a zoom by one pixel. `exact`: pixel centres, identity at zero.
    """

    name = "tps"

    grid: Tensor
    control: Tensor
    matrix_t: Tensor

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(options)
        self.n_parameters = 2 * options.tps_grid_size**2
        control = control_points(options.tps_grid_size)
        grid = pixel_grid(options.size, corners=options.grid == "legacy")
        dtype = torch.get_default_dtype()
        matrix_t = tps_matrix(control, grid.T).T.contiguous()  # g², H·W
        self.register_buffer("grid", grid.to(dtype), persistent=False)
        self.register_buffer("control", control.T.contiguous().to(dtype), persistent=False)
        self.register_buffer("matrix_t", matrix_t.to(dtype), persistent=False)

    def coords(self, parameters: Tensor) -> Tensor:
        offsets = parameters.view(parameters.shape[0], 2, -1)
        return tps_coords(offsets, self.matrix_t, self.grid)

    def matrices(self, parameters: Tensor) -> dict[str, Tensor]:
        """Under "tps": (N, g², 2), where each control point samples."""
        moved = self.control + parameters.view(parameters.shape[0], 2, -1)
        return {self.name: moved.transpose(1, 2)}
