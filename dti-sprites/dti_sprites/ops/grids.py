"""Sampling grids.

Convention: normalised coordinates in [-1, 1], x to the right, y down, (x, y) order. A transformation maps
*output* coordinates to *sampling* coordinates in the source (inverse warp). Coordinates are planar,
(N, 2, H·W): one GEMM makes them, and both CPU and CUDA samplers read them without a copy.

Two families of grids exist:
* centres: the first pixel centre lies at -1 + 1/W (goes with `align_corners=False`);
* corners: the first pixel centre lies at -1 (goes with `align_corners=True`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_axis(n: int, corners: bool, dtype: torch.dtype = torch.float64) -> Tensor:
    """(n,) normalised coordinates of n pixel centres."""
    if corners:
        return torch.linspace(-1.0, 1.0, n, dtype=dtype) if n > 1 else torch.zeros(1, dtype=dtype)
    return (2.0 * torch.arange(n, dtype=dtype) + 1.0) / n - 1.0


def pixel_grid(size: tuple[int, int], corners: bool = False, dtype: torch.dtype = torch.float64) -> Tensor:
    """(2, H·W) rows x, y of every output pixel, row by row."""
    height, width = size
    y, x = torch.meshgrid(
        pixel_axis(height, corners, dtype), pixel_axis(width, corners, dtype), indexing="ij"
    )
    return torch.stack([x.reshape(-1), y.reshape(-1)])


def homogeneous_grid(
    size: tuple[int, int], corners: bool = False, dtype: torch.dtype = torch.float64
) -> Tensor:
    """(3, H·W) rows x, y, 1: a (2, 3) matrix times this gives sampling coordinates."""
    grid = pixel_grid(size, corners, dtype)
    return torch.cat([grid, torch.ones_like(grid[:1])])
