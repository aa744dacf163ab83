"""Smooth morphology against an unfold of every neighbourhood, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dti_sprites.ops.morphology import smooth_morphology


def morphology_by_unfold(images, alpha, weights):
    n, _c, h, w = images.shape
    k = weights.shape[-1]
    out = []
    for i in range(n):
        rows = []
        for channel in images[i]:
            near = F.unfold(channel[None, None], k, padding=k // 2)[0]  # k², H·W, zeros outside
            factor = weights[i].reshape(-1, 1) * torch.exp(alpha[i] * near)
            rows.append(((factor * near).sum(0) / factor.sum(0)).view(h, w))
        out.append(torch.stack(rows))
    return torch.stack(out)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "k"), [((7, 5), 3), ((8, 8), 7), ((3, 3), 1), ((2, 9), 5)])
def test_parity_values_and_gradients(channels, size, k):
    torch.manual_seed(0)
    images = torch.rand(3, channels, *size, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([0.0, 3.0, -4.0], dtype=torch.float64, requires_grad=True)
    weights = torch.rand(3, k, k, dtype=torch.float64, requires_grad=True)
    seed = torch.randn(3, channels, *size, dtype=torch.float64)
    results = []
    for function in (smooth_morphology, morphology_by_unfold):
        value = function(images, alpha, weights)
        results.append((value, *torch.autograd.grad((value * seed).sum(), (images, alpha, weights))))
    for fast, plain in zip(*results):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-11)


def test_gradcheck():
    torch.manual_seed(0)
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(smooth_morphology, (images, alpha, weights))


@pytest.mark.parametrize(("alpha", "pool"), [(60.0, "dilation"), (-60.0, "erosion")])
def test_large_alpha_is_the_hard_filter(alpha, pool):
    torch.manual_seed(0)
    images = torch.rand(1, 1, 8, 8).round()
    smooth = smooth_morphology(images, torch.tensor([alpha]), torch.ones(1, 3, 3))
    padded = F.pad(images, (1, 1, 1, 1))
    hard = F.max_pool2d(padded, 3, 1) if pool == "dilation" else -F.max_pool2d(-padded, 3, 1)
    torch.testing.assert_close(smooth, hard, atol=1e-5, rtol=0)


@pytest.mark.parametrize("alpha", [-5000.0, 5000.0])
def test_extreme_alpha_stays_finite(alpha):
    images = torch.rand(1, 2, 6, 6, requires_grad=True)
    strength = torch.tensor([alpha], requires_grad=True)
    out = smooth_morphology(images, strength, torch.ones(1, 3, 3))
    out.sum().backward()
    assert out.isfinite().all()
    assert images.grad.isfinite().all()
    assert strength.grad.isfinite().all()
