"""What a transformation is: a map of images, steered by a vector of parameters that a head predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dti_sprites.ops.grids import homogeneous_grid
from dti_sprites.ops.warp import affine_coords, sample


@dataclass(frozen=True)
class TransformationOptions:
    """What the transformations of one sequence share.

    size: (height, width) of what they render; channels: colour channels, the first ones of an image (what
    follows, such as a mask, is warped but keeps its values); padding: "border" or "zeros"; grid: "legacy" or
    "exact"; color_clamp: "none", "soft" or "hard".
    """

    size: tuple[int, int]
    channels: int
    padding: str = "border"
    grid: str = "legacy"
    tps_grid_size: int = 4
    morpho_kernel_size: int = 7
    color_clamp: str = "none"


class Transformation(nn.Module):
    """images (N, C, h, w), parameters (N, p) -> (N, C, H, W).

    Parameters are raw: no bound, no squashing. At zero most transformations are the identity; the
    docstring of each says what it does there.
    """

    name: ClassVar[str]
    spatial: ClassVar[bool] = False  # moves pixels (as opposed to changing their values)

    n_parameters: int

    def forward(self, images: Tensor, parameters: Tensor) -> Tensor:
        raise NotImplementedError(type(self))

    def matrices(self, parameters: Tensor) -> dict[str, Tensor]:
        """parameters (N, p) -> what they mean, for tables: named tensors (N, ...)."""
        raise NotImplementedError(type(self))


class Warp(Transformation):
    """Moves pixels: every output pixel samples the image at coordinates that the parameters say."""

    spatial = True
    corners = False  # whether ±1 are the centres of the outermost pixels of what is sampled, or their edges

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__()
        self.size = options.size
        self.padding = options.padding

    def coords(self, parameters: Tensor) -> Tensor:
        """(N, p) -> sampling coordinates (N, 2, H·W)."""
        raise NotImplementedError(type(self))

    def forward(self, images: Tensor, parameters: Tensor) -> Tensor:
        coords = self.coords(parameters)
        return sample(images, coords, self.size, padding=self.padding, align_corners=self.corners)


class AffineFamily(Warp):
    """Warps with a (2, 3) matrix on pixel-centre grids: a matrix [I | 0] is the identity exactly."""

    grid: Tensor

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__(options)
        grid = homogeneous_grid(options.size).to(torch.get_default_dtype())
        self.register_buffer("grid", grid, persistent=False)

    def matrix(self, parameters: Tensor) -> Tensor:
        """(N, p) -> (N, 2, 3) from output coordinates to sampling coordinates."""
        raise NotImplementedError(type(self))

    def coords(self, parameters: Tensor) -> Tensor:
        return affine_coords(self.matrix(parameters), self.grid)

    def matrices(self, parameters: Tensor) -> dict[str, Tensor]:
        return {self.name: self.matrix(parameters)}


def scaled_translation(scale: Tensor, translation: Tensor) -> Tensor:
    """scale (N,), translation (N, 2) -> (N, 2, 3) [scale·I | translation]."""
    zero = torch.zeros_like(scale)
    row_x = torch.stack([scale, zero, translation[:, 0]], dim=1)
    row_y = torch.stack([zero, scale, translation[:, 1]], dim=1)
    return torch.stack([row_x, row_y], dim=1)
