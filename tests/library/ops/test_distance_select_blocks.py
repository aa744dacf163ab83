"""Distances, weights, row selection and the cutting into blocks."""

from __future__ import annotations

import math

import pytest
import torch

from dti_sprites.ops.blocks import blocks
from dti_sprites.ops.clamp import clamp_in_place, clamp_values
from dti_sprites.ops.distance import gaussian_window, pixel_weight, squared_error
from dti_sprites.ops.select import select_parameters, select_rows


def test_squared_error_known_value():
    a = torch.zeros(2, 3, 2, 2)
    b = torch.stack([torch.full((3, 2, 2), 0.5), torch.full((3, 2, 2), 2.0)])
    assert squared_error(a, b).tolist() == [0.25, 4.0]


def test_window_known_values():
    window = gaussian_window((5, 3), 2.0, torch.float64)
    assert window[2, 1] == 1.0
    assert window[0, 1] == pytest.approx(math.exp(-0.5 * (2 / 2.0) ** 2))
    assert window[0, 0] == pytest.approx(math.exp(-0.5) * math.exp(-0.5 * 0.25))
    assert gaussian_window((4, 4), 1.0)[0, 0] == gaussian_window((4, 4), 1.0)[3, 3]


def test_weighted_error_by_the_definition():
    """Without alpha: plain mean of windowed errors; with it: divided by C times the sum of alpha, at least 1."""
    torch.manual_seed(0)
    x, y = torch.rand(3, 2, 4, 5, dtype=torch.float64), torch.rand(3, 2, 4, 5, dtype=torch.float64)
    alpha = torch.rand(3, 1, 4, 5, dtype=torch.float64)
    alpha[2] = 0.0
    window = gaussian_window((4, 5), 2.0, torch.float64)
    squared = (x - y).square()
    windowed = squared_error(x, y, pixel_weight(None, window, 2, (4, 5)))
    torch.testing.assert_close(windowed, (squared * window).mean((1, 2, 3)))
    both = squared_error(x, y, pixel_weight(alpha, window, 2, (4, 5)))
    expected = (squared * window * alpha).sum((1, 2, 3)) / (2 * alpha.sum((1, 2, 3)).clamp_min(1.0))
    torch.testing.assert_close(both, expected)
    assert both[2] == 0.0
    assert pixel_weight(None, None, 2, (4, 5)) is None


def test_opaque_alpha_is_the_plain_mean():
    x, y = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    weight = pixel_weight(torch.ones(2, 1, 4, 4), None, 3, (4, 4))
    torch.testing.assert_close(squared_error(x, y, weight), squared_error(x, y))


def test_select_rows_parity_and_zero_gradient_for_the_others():
    table = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([3, 0, 3, 3])
    seed = torch.randn(4, 2, 3, dtype=torch.float64)
    rows = select_rows(table, index)
    torch.testing.assert_close(rows, table[index])
    (gradient,) = torch.autograd.grad((rows * seed).sum(), table)
    (expected,) = torch.autograd.grad((table[index] * seed).sum(), table)
    torch.testing.assert_close(gradient, expected)
    assert not gradient[[1, 2, 4]].any()


@pytest.mark.parametrize("k", [1, 3])
def test_select_parameters(k):
    parameters = torch.randn(k, 4, 2, requires_grad=True)
    heads = torch.tensor([2, 0, 1, 2])
    chosen = select_parameters(parameters, heads, torch.arange(4))
    for i in range(4):
        expected = parameters[heads[i] if k > 1 else 0, i]
        torch.testing.assert_close(chosen[i], expected)
    chosen.sum().backward()
    assert parameters.grad.sum() == chosen.numel()


@pytest.mark.parametrize(
    ("rows", "columns", "elements"), [(1, 1, 1), (10, 128, 784), (20, 16, 49152), (3, 5, 2**20)]
)
def test_blocks_cover_every_cell_once(rows, columns, elements):
    seen = torch.zeros(rows, columns, dtype=torch.int64)
    for r, c in blocks(rows, columns, elements, torch.device("cpu")):
        seen[r, c] += 1
        cells = (r.stop - r.start) * (c.stop - c.start)
        assert cells == 1 or cells * elements <= 2**18
    assert (seen == 1).all()


def test_clamps_known_values():
    values = torch.tensor([-1.0, 0.5, 3.0])
    assert clamp_values(values, "none").tolist() == [-1.0, 0.5, 3.0]
    assert clamp_values(values, "hard").tolist() == [0.0, 0.5, 1.0]
    torch.testing.assert_close(clamp_values(values, "soft"), torch.tensor([-0.01, 0.5, 1.02]))
    with pytest.raises(ValueError, match="possible: none, soft"):
        clamp_values(values, "unknown")
    with pytest.raises(ValueError, match="unknown clamp"):
        clamp_in_place(values, "unknown")


@pytest.mark.parametrize("mode", ["none", "soft", "hard", "straight"])
@pytest.mark.parametrize("part", [slice(None), slice(1, 3)])
def test_clamps_in_place_are_the_same(mode, part):
    values = torch.linspace(-1.5, 2.5, 60, dtype=torch.float64).view(3, 4, 5)
    expected = clamp_values(values[:, part].clone(), mode)
    untouched = values.clone()
    clamp_in_place(values[:, part], mode)
    torch.testing.assert_close(values[:, part], expected, rtol=1e-14, atol=1e-15)
    untouched[:, part] = values[:, part]
    assert untouched.equal(values)
    clamp_in_place(values[:0], mode)  # empty


@pytest.mark.parametrize(
    ("mode", "slopes"), [("soft", [0.01, 1.0, 0.01]), ("hard", [0, 1, 0]), ("straight", [1, 1, 1])]
)
def test_clamps_gradient(mode, slopes):
    values = torch.tensor([-1.0, 0.5, 3.0], requires_grad=True)
    clamp_values(values, mode).sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor(slopes, dtype=torch.float32))
