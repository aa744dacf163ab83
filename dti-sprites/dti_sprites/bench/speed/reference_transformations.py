"""The transformations as the papers define them, one prototype at a time. Plain on purpose: nothing is shared or saved.

images (B, C, h, w), parameters (B, p) -> (B, C, H, W). (Monnier, Groueix and Aubry, NeurIPS 2020; Monnier, Vincent,
Ponce and Aubry, ICCV 2021.)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dti_sprites.config import ModelConfig

Size = tuple[int, int]


def soft_clamp(values: Tensor) -> Tensor:
    """[0, 1], with a slope of 0.01 outside."""
    inside = values.clamp(0.0, 1.0)
    return inside + 0.01 * (values - inside)


def color(images: Tensor, beta: Tensor, channels: int, clamp: str) -> Tensor:
    """(1 + w)·v + b for each channel; what comes after the colours, a mask, is left alone."""
    pairs = beta.view(-1, channels, 2)
    weight, bias = pairs[:, :, 0, None, None], pairs[:, :, 1, None, None]
    colours = (1.0 + weight) * images[:, :channels] + bias
    if clamp == "soft":
        colours = soft_clamp(colours)
    elif clamp == "hard":
        colours = colours.clamp(0.0, 1.0)
    return torch.cat([colours, images[:, channels:]], dim=1)


def matrix_of(name: str, beta: Tensor) -> Tensor:
    """(B, 2, 3) of the affine family."""
    one, zero = torch.ones_like(beta[:, 0]), torch.zeros_like(beta[:, 0])
    b = beta.unbind(1)
    if name == "affine":
        rows = [one + b[0], b[1], b[2], b[3], one + b[4], b[5]]
    elif name == "similarity":
        rows = [one + b[0], -b[1], b[2], b[1], one + b[0], b[3]]
    elif name == "position":
        scale = b[0].exp() + one
        rows = [scale, zero, b[1], zero, scale, b[2]]
    else:
        raise ValueError(f"the reference has no transformation {name!r}")
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def affine(name: str, images: Tensor, beta: Tensor, size: Size, padding: str) -> Tensor:
    grid = F.affine_grid(matrix_of(name, beta), [len(images), 1, *size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def corner_grid(size: Size, like: Tensor) -> Tensor:
    """(H·W, 2) x, y from -1 to 1, corner to corner."""
    y = torch.linspace(-1.0, 1.0, size[0], dtype=like.dtype, device=like.device)
    x = torch.linspace(-1.0, 1.0, size[1], dtype=like.dtype, device=like.device)
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x.flatten(), grid_y.flatten()], dim=1)


def projective(images: Tensor, beta: Tensor, size: Size, padding: str) -> Tensor:
    grid = corner_grid(size, beta)
    matrices = torch.eye(3, dtype=beta.dtype, device=beta.device) + beta.view(-1, 3, 3)
    points = torch.cat([grid, torch.ones_like(grid[:, :1])], dim=1) @ matrices.transpose(1, 2)
    depth = points[..., 2:]
    depth = torch.where(depth.abs() > 1e-8, depth, torch.ones_like(depth))
    moved = (points[..., :2] / depth).view(-1, *size, 2)
    return F.grid_sample(images, moved, padding_mode=padding, align_corners=True)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    squared = (a[:, None] - b[None]).square().sum(-1)
    return 0.5 * torch.xlogy(squared, squared)


def tps(images: Tensor, beta: Tensor, size: Size, padding: str, side: int) -> Tensor:
    """Spline through control points moved by β, as a linear system solved for each image."""
    control, grid = corner_grid((side, side), beta), corner_grid(size, beta)
    n = len(control)
    ones = torch.ones_like(control[:, :1])
    polynomial = torch.cat([ones, control], dim=1)
    corner = torch.zeros(3, 3, dtype=beta.dtype, device=beta.device)
    system = torch.cat(
        [torch.cat([_kernel(control, control), polynomial], 1), torch.cat([polynomial.T, corner], 1)]
    )
    target = control + beta.view(-1, 2, n).transpose(1, 2)
    target = torch.cat([target, target.new_zeros(len(beta), 3, 2)], dim=1)
    weights = torch.linalg.solve(system, target)
    basis = torch.cat([_kernel(grid, control), torch.ones_like(grid[:, :1]), grid], dim=1)
    moved = (basis @ weights).view(-1, *size, 2)
    return F.grid_sample(images, moved, padding_mode=padding, align_corners=False)


def morpho(images: Tensor, beta: Tensor, side: int) -> Tensor:
    """Smooth maximum over the neighbourhood of each pixel, weighted by a predicted structuring element."""
    batch, channels, height, width = images.shape
    start = torch.full((side * side,), -5.0, dtype=beta.dtype, device=beta.device)
    start[side * side // 2] = 5.0
    element = torch.sigmoid(start + beta[:, 1:])[:, None, :, None]
    near = F.unfold(images, side, padding=side // 2).view(batch, channels, side * side, height * width)
    factors = element * torch.exp(beta[:, 0].view(-1, 1, 1, 1) * near)
    return ((factors * near).sum(2) / factors.sum(2)).view(images.shape)


def transform(
    name: str, images: Tensor, beta: Tensor, size: Size, padding: str, channels: int, model: ModelConfig
) -> Tensor:
    """One transformation by its name."""
    if name == "color":
        return color(images, beta, channels, model.color_clamp)
    if name == "projective":
        return projective(images, beta, size, padding)
    if name == "tps":
        return tps(images, beta, size, padding, model.tps_grid_size)
    if name == "morpho":
        return morpho(images, beta, model.morpho_kernel_size)
    return affine(name, images, beta, size, padding)
