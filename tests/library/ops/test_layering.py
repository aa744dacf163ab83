"""Composition in blocks with a gradient of its own, against the plain one, in float64."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.models.sprites.composition import compose, fixed_occlusion
from dti_sprites.models.sprites.labelmaps import instance_shares
from dti_sprites.ops import blocks
from dti_sprites.ops.layering import compose_layers


def scene(b, layers, channels, size, occlusion, background):
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    masks = rand(b, layers, 1, *size)
    masks[masks < 0.2] = 0.0
    masks[masks > 0.8] = 1.0  # an opaque layer leaves nothing of what it hides
    if layers > 1:
        masks[:, 1] = 0.0  # an empty layer
    delta = None
    if occlusion != "fixed":
        delta = rand(b if occlusion == "predicted" else 1, layers, layers).tril(-1)
        delta = delta + (1 - delta.mT).triu(1)
    return masks, rand(b, layers, channels, *size), rand(b, channels, *size) if background else None, delta


@pytest.mark.parametrize("budget", [1, 500, 10**6])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("occlusion", ["fixed", "predicted", "one for all"])
@pytest.mark.parametrize(
    ("b", "layers", "channels", "size"),
    [(5, 3, 3, (4, 5)), (1, 1, 1, (3, 1)), (2, 6, 1, (1, 7)), (3, 2, 2, (5, 5))],
)
def test_parity(monkeypatch, budget, background, occlusion, b, layers, channels, size):
    monkeypatch.setattr(blocks, "CPU_LAYER_ELEMENTS", budget)
    masks, colours, behind, delta = scene(b, layers, channels, size, occlusion, background)
    order = fixed_occlusion(layers).double() if delta is None else delta
    inputs = [v.requires_grad_() for v in (masks, colours, behind, delta) if v is not None]
    image, areas = compose_layers(masks, colours, behind, order)
    expected = compose(masks, masks * colours, behind, delta)
    torch.testing.assert_close(image, expected)
    torch.testing.assert_close(areas, instance_shares(masks, delta)[:, 1:].flatten(2).sum(2))
    assert not areas.requires_grad
    gradient = torch.randn(image.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, wanted = (
        torch.autograd.grad(image, inputs, gradient),
        torch.autograd.grad(expected, inputs, gradient),
    )
    for a, c in zip(found, wanted):
        torch.testing.assert_close(a, c)


def test_gradients():
    masks, colours, behind, delta = scene(2, 3, 2, (2, 3), "predicted", True)
    inputs = [v.requires_grad_() for v in (masks, colours, behind, delta)]
    assert torch.autograd.gradcheck(lambda *values: compose_layers(*values)[0], inputs)


def test_pixels_need_not_be_contiguous():
    masks, colours, behind, delta = scene(2, 3, 3, (4, 6), "predicted", True)
    views = [v.transpose(-1, -2).contiguous().transpose(-1, -2) for v in (masks, colours, behind)]
    torch.testing.assert_close(
        compose_layers(*views, delta)[0], compose_layers(masks, colours, behind, delta)[0]
    )
