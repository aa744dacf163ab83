"""The spline as one matrix against the system solved for each set of offsets, in float64."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.ops.grids import pixel_grid
from dti_sprites.ops.tps import control_points, radial_kernel, tps_coords, tps_matrix


def spline_by_solving(control, offsets, points):
    """control (n, 2), offsets (n, 2), points (m, 2) -> sampling coordinates (m, 2)"""
    n = len(control)
    system = torch.zeros(n + 3, n + 3, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            r = (control[i] - control[j]).norm()
            system[i, j] = 0.5 * r**2 * torch.log(r**2) if i != j else 0.0
        system[i, n], system[n, i] = 1.0, 1.0
        system[i, n + 1 :], system[n + 1 :, i] = control[i], control[i]
    right = torch.cat([control + offsets, torch.zeros(3, 2, dtype=torch.float64)])
    weights = torch.linalg.solve(system, right)
    result = []
    for u in points:
        r2 = (u - control).square().sum(1)
        kernel = torch.where(r2 == 0, 0.0, 0.5 * r2 * torch.log(r2.clamp_min(1e-300)))
        result.append(torch.cat([kernel, torch.ones(1, dtype=torch.float64), u]) @ weights)
    return torch.stack(result)


@pytest.mark.parametrize("side", [2, 3, 4, 5])
@pytest.mark.parametrize("corners", [False, True])
def test_parity_with_the_solved_system(side, corners):
    torch.manual_seed(0)
    control, grid = control_points(side), pixel_grid((5, 7), corners)
    offsets = 0.2 * torch.randn(3, 2, side**2, dtype=torch.float64)
    coords = tps_coords(offsets, tps_matrix(control, grid.T).T, grid)
    for n in range(3):
        expected = spline_by_solving(control, offsets[n].T, grid.T)
        torch.testing.assert_close(coords[n], expected.T, rtol=0, atol=1e-12)


def test_control_points_known_values():
    points = control_points(4)
    assert points.shape == (16, 2)
    assert points[0].tolist() == [-1.0, -1.0]
    assert points[3].tolist() == [1.0, -1.0]  # x varies first
    assert points[12].tolist() == [-1.0, 1.0]


def test_kernel_known_values():
    a = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    expected = [0.0, 0.0, 0.5 * 4 * torch.tensor(4.0, dtype=torch.float64).log().item()]
    assert radial_kernel(a, b)[0].tolist() == pytest.approx(expected)


def test_rows_sum_to_one_so_that_a_common_offset_is_a_translation():
    matrix = tps_matrix(control_points(4), pixel_grid((6, 6)).T)
    torch.testing.assert_close(matrix.sum(1), torch.ones(36, dtype=torch.float64))


def test_affine_offsets_give_an_affine_map():
    control, grid = control_points(4), pixel_grid((6, 5))
    linear = torch.tensor([[0.1, 0.3], [-0.2, 0.05]], dtype=torch.float64)
    coords = tps_coords((control @ linear.T).T[None], tps_matrix(control, grid.T).T, grid)
    torch.testing.assert_close(coords[0], grid + linear @ grid)
