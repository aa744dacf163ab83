"""Sampling and coordinates against loops over pixels, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from dti_sprites.ops.grids import homogeneous_grid, pixel_grid
from dti_sprites.ops.warp import TINY_DEPTH, affine_coords, projective_coords, sample, supports


def bilinear_by_loops(image, coords, size, padding, align_corners):
    """image (C, h, w), coords (2, H·W) -> (C, H, W)"""
    c, h, w = image.shape
    out = torch.zeros(c, size[0] * size[1], dtype=image.dtype)
    for i in range(coords.shape[1]):
        x, y = float(coords[0, i]), float(coords[1, i])
        if align_corners:
            x, y = (x + 1) / 2 * (w - 1), (y + 1) / 2 * (h - 1)
        else:
            x, y = ((x + 1) * w - 1) / 2, ((y + 1) * h - 1) / 2
        if padding == "border":
            x, y = min(max(x, 0), w - 1), min(max(y, 0), h - 1)
        x0, y0 = math.floor(x), math.floor(y)
        for px, py in ((x0, y0), (x0 + 1, y0), (x0, y0 + 1), (x0 + 1, y0 + 1)):
            if 0 <= px < w and 0 <= py < h:
                out[:, i] += (1 - abs(x - px)) * (1 - abs(y - py)) * image[:, py, px]
    return out.view(c, *size)


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("source", "size"), [((5, 7), (5, 7)), ((4, 3), (6, 5)), ((1, 1), (3, 2))])
def test_parity_with_loops(padding, align_corners, source, size):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, *source, generator=generator, dtype=torch.float64)
    coords = 3 * torch.rand(2, 2, size[0] * size[1], generator=generator, dtype=torch.float64) - 1.5
    warped = sample(images, coords, size, padding=padding, align_corners=align_corners)
    for n in range(2):
        expected = bilinear_by_loops(images[n], coords[n], size, padding, align_corners)
        torch.testing.assert_close(warped[n], expected)


def test_expanded_images_give_the_same_as_copies():
    image = torch.rand(1, 2, 5, 5)
    coords = torch.rand(4, 2, 25) * 2 - 1
    expanded = sample(image.expand(4, 2, 5, 5), coords, (5, 5), padding="border")
    copied = sample(image.repeat(4, 1, 1, 1), coords, (5, 5), padding="border")
    torch.testing.assert_close(expanded, copied, rtol=0, atol=0)


@pytest.mark.parametrize(("corners", "first"), [(False, -1 + 1 / 4), (True, -1.0)])
def test_grid_known_values(corners, first):
    grid = pixel_grid((3, 4), corners)
    assert grid.shape == (2, 12)
    assert grid[0, 0] == first
    assert grid[0, 3] == -first  # end of the first row
    assert grid[0, 0] == grid[0, 4]
    assert grid[1, 4] == 0.0  # middle row


def test_grid_of_one_pixel_is_its_centre():
    assert pixel_grid((1, 1), corners=True).tolist() == [[0.0], [0.0]]
    assert pixel_grid((1, 1), corners=False).tolist() == [[0.0], [0.0]]


def test_affine_coords_parity():
    matrices = torch.randn(3, 2, 3, dtype=torch.float64)
    grid = homogeneous_grid((4, 5))
    coords = affine_coords(matrices, grid)
    for n in range(3):
        torch.testing.assert_close(coords[n], matrices[n] @ grid)


def test_projective_coords_divide_and_survive_a_zero_depth():
    grid = homogeneous_grid((2, 2), corners=True)  # corners of the square
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[2] = torch.tensor([1.0, 0.0, 1.0])  # depth x + 1: 0 on the left, 2 on the right
    x, y = projective_coords(matrix[None], grid)[0]
    assert x.tolist() == [-1.0, 0.5, -1.0, 0.5]
    assert y.tolist() == [-1.0, -0.5, 1.0, 0.5]


@pytest.mark.parametrize("coords_of", [affine_coords, projective_coords])
def test_gradcheck(coords_of):
    torch.manual_seed(0)
    rows = 2 if coords_of is affine_coords else 3
    grid = homogeneous_grid((4, 3))
    base = torch.eye(rows, 3, dtype=torch.float64)
    matrices = (base + 0.1 * torch.randn(2, rows, 3, dtype=torch.float64)).requires_grad_()
    images = torch.rand(2, 1, 4, 3, dtype=torch.float64, requires_grad=True)

    def warp(images, matrices):
        return sample(images, coords_of(matrices, grid), (4, 3), padding="border")

    assert torch.autograd.gradcheck(warp, (images, matrices))


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_coordinates_that_are_not_numbers_give_nan_and_no_crash(padding):
    images = torch.rand(2, 1, 28, 28, requires_grad=True)
    coords = torch.full((2, 2, 784), float("nan"), requires_grad=True)
    out = sample(images, coords, (28, 28), padding=padding)
    out.sum().backward()
    assert out.isnan().all()


@pytest.mark.parametrize(
    "last", [[0.0, 0.0, 1.0], [0.4, -0.5, 1.0], [1.0, 0.0, 0.0], [0.5, 0.5, -1.0], [0, 0, 0]]
)
def test_depths_of_zero_are_replaced_by_one_wherever_they_may_be(last):
    """Matrices whose depths cannot vanish take a shorter way."""
    grid = homogeneous_grid((5, 5), corners=True)
    matrices = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    matrices[1, 2] = torch.tensor(last, dtype=torch.float64)
    found = projective_coords(matrices, grid)
    for matrix, coords in zip(matrices, found):
        x, y, z = matrix @ grid
        z = torch.where(z.abs() <= TINY_DEPTH, 1.0, z)
        torch.testing.assert_close(coords, torch.stack([x / z, y / z]), rtol=1e-14, atol=1e-14)
        assert coords.isfinite().all()


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize(
    ("source", "size"), [((5, 4), (11, 9)), ((1, 3), (6, 7)), ((8, 8), (8, 8)), ((2, 1), (1, 5))]
)
def test_supports_are_where_a_sample_is_not_zero(corners, source, size):
    """All that is not zero is within, and a window is no more than a pixel larger than that on each side."""
    generator = torch.Generator().manual_seed(0)
    layers, n = 7, 2
    matrices = torch.zeros(layers, n, 2, 3, dtype=torch.float64)
    matrices[..., :2] = 2.5 * torch.eye(2) + 0.3 * torch.randn(layers, n, 2, 2, generator=generator)
    matrices[..., 2] = torch.randn(layers, n, 2, generator=generator)
    coords = affine_coords(matrices.flatten(0, 1), homogeneous_grid(size, corners))
    images = torch.ones(layers * n, 1, *source, dtype=torch.float64)
    drawn = sample(images, coords, size, padding="zeros", align_corners=corners).view(layers, n, *size)
    windows = supports(coords.view(layers, n, 2, *size), source, corners)
    assert len(windows) == layers
    for layer, window in zip(drawn, windows):
        outside = layer.clone()
        outside[(..., *window)] = 0.0
        assert not outside.any()
        for axis, part in zip((1, 0), window):
            there = (layer > 0).any(0).any(axis).nonzero()[:, 0]
            if len(there) and 1 not in source:
                assert there[0] - part.start <= 1
                assert part.stop - 1 - there[-1] <= 1


def test_supports_of_what_is_nowhere_and_of_what_is_not_a_number():
    size = (4, 6)
    coords = pixel_grid(size).view(1, 1, 2, *size)
    assert supports(coords + 5.0, (3, 3), False) == [(slice(0, 1), slice(0, 1))]
    assert supports(coords * torch.nan, (3, 3), False) == [(slice(0, 4), slice(0, 6))]
