"""Thin plate spline as one constant matrix.

A spline through control points P with sources P + β samples at u + M·β, where M depends on the output grid
only: the spline reproduces affine maps, so β = 0 gives back u, and the system is linear in β. With
phi(r) = ½ r² log r² and Phi the kernel between control points:

        | Phi  1  P |
    A = | 1ᵀ   0  0 |      R = [ phi(|u - P_j|) ... , 1, u ]      M = R · (first g² columns of A⁻¹)
        | Pᵀ   0  0 |

(Bookstein, "Principal warps", 1989; Monnier et al., "Deep Transformation-Invariant Clustering", 2020.)
"""

from __future__ import annotations

import torch
from torch import Tensor


def radial_kernel(a: Tensor, b: Tensor) -> Tensor:
    """(M, 2), (N, 2) -> (M, N) phi(r) = ½ r² log r² of the distances, 0 at r = 0."""
    squared = (a[:, None, 0] - b[None, :, 0]).square() + (a[:, None, 1] - b[None, :, 1]).square()
    return 0.5 * torch.xlogy(squared, squared)


def control_points(side: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """(side², 2) regular grid over [-1, 1]², (x, y) order, row by row."""
    axis = torch.linspace(-1.0, 1.0, side, dtype=dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.reshape(-1), y.reshape(-1)], dim=1)


def tps_weights(control: Tensor) -> Tensor:
    """control (n, 2) -> (n + 3, n): the first n columns of A⁻¹, in float64."""
    control = control.double()
    n = len(control)
    system = control.new_zeros(n + 3, n + 3)
    system[:n, :n] = radial_kernel(control, control)
    system[:n, n] = 1.0
    system[:n, n + 1 :] = control
    system[n:, :n] = system[:n, n:].T
    return torch.linalg.solve(system, torch.eye(n + 3, n, dtype=torch.float64))


def tps_rows(control: Tensor, points: Tensor) -> Tensor:
    """control (n, 2), points (m, 2) -> R (m, n + 3) in float64."""
    control, points = control.double(), points.double()
    return torch.cat([radial_kernel(points, control), torch.ones_like(points[:, :1]), points], dim=1)


def tps_matrix(control: Tensor, points: Tensor) -> Tensor:
    """control (n, 2), points (m, 2) -> M (m, n) in float64: a spline moves `points` by M·β. Rows sum to 1."""
    return tps_rows(control, points) @ tps_weights(control)


def tps_coords(offsets: Tensor, matrix_t: Tensor, grid: Tensor) -> Tensor:
    """offsets (N, 2, n), M transposed (n, P), grid (2, P) -> sampling coordinates (N, 2, P)."""
    moved = offsets.reshape(-1, matrix_t.shape[0]) @ matrix_t
    return moved.view(-1, 2, matrix_t.shape[1]) + grid
