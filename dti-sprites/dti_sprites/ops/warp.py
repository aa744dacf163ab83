"""Bilinear warps: coordinates from parameters, and sampling at them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MARGIN = 1e-3  # what may reach an image is judged so much too generously, because of rounding
TINY_DEPTH = 1e-8  # a homogeneous coordinate below this is divided by 1 instead


def sample(
    images: Tensor, coords: Tensor, size: tuple[int, int], *, padding: str, align_corners: bool = False
) -> Tensor:
    """images (N, C, h, w), coords (N, 2, H·W) -> (N, C, H, W), bilinear.

    `padding`: "border" repeats the edge, "zeros" is black outside. `images` may be expanded along N (stride
    0): nothing is copied. Coordinates that are not finite give NaN.
    """
    if coords.device.type == "cpu" and torch.is_grad_enabled():
        # PyTorch's backward pass on the CPU reads outside the image at NaN coordinates and may crash.
        total = coords.detach().sum()
        if not total.isfinite():
            safe = coords.detach().nan_to_num(0.0, 0.0, 0.0)
            return sample(images, safe, size, padding=padding, align_corners=align_corners) + (total - total)
    grid = coords.unflatten(2, size).permute(0, 2, 3, 1)  # N, H, W, 2 as a view of the planar coordinates
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=align_corners)


def supports(coords: Tensor, source: tuple[int, int], align_corners: bool) -> list[tuple[slice, slice]]:
    """coords (L, N, 2, H, W) on an image of size `source` -> for each l the rows and columns of the output that any
    of its N images can reach; what is outside is zero with zero padding. Waits for the device.

    At least one pixel each. Coordinates that are not finite count as reaching it.
    """
    reach = [1.0 + MARGIN + (2.0 / max(n - 1, 1e-6) if align_corners else 1.0 / n) for n in reversed(source)]
    outside = (coords.abs() > coords.new_tensor(reach).view(2, 1, 1)).any(2).all(1)
    bounds = []
    for axis in (2, 1):
        there = (~outside.all(axis)).int()
        bounds += [there.argmax(1), there.shape[1] - there.flip(1).argmax(1), there.any(1)]
    found = []
    for top, bottom, some, left, right, _ in torch.stack(bounds, dim=1).tolist():
        found.append((slice(top, bottom), slice(left, right)) if some else (slice(0, 1), slice(0, 1)))
    return found


def affine_coords(matrices: Tensor, grid: Tensor) -> Tensor:
    """matrices (N, 2, 3), homogeneous grid (3, P) -> (N, 2, P)."""
    return (matrices.reshape(-1, 3) @ grid).view(-1, 2, grid.shape[1])


def projective_coords(matrices: Tensor, grid: Tensor) -> Tensor:
    """matrices (N, 3, 3), homogeneous grid (3, P) within [-1, 1] -> (N, 2, P), after the homogeneous division.

    Where |z| <= 1e-8 the division is by 1, so that no coordinate is infinite.
    """
    x = (matrices.reshape(-1, 3) @ grid).view(-1, 3, grid.shape[1])
    depth = x[:, 2:]
    if not _far_from_zero(matrices):
        depth = depth.masked_fill(depth.abs() <= TINY_DEPTH, 1.0)
    return x[:, :2] / depth


def _far_from_zero(matrices: Tensor) -> bool:
    """Whether no depth can be tiny, seen from the matrices alone; where looking means waiting, False."""
    if matrices.device.type != "cpu":
        return False
    last = matrices.detach()[:, 2].abs()
    return bool((last[:, 2] - last[:, 0] - last[:, 1] > 1.5 * TINY_DEPTH).all())
