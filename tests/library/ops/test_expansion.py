"""Errors by the expanded square against composing every candidate, in float64."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.models.sprites.composition import compose, fixed_occlusion, visibility
from dti_sprites.ops.expansion import candidate_maps, expanded_errors, n_maps, split_maps, state_maps


def random_occlusion(b, n, generator):
    delta = torch.rand(b, n, n, generator=generator, dtype=torch.float64).tril(-1)
    return delta + (1 - delta.mT).triu(1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("occlusion", ["fixed", "predicted"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_equals_recomposition(channels, occlusion, layer):
    generator = torch.Generator().manual_seed(0)
    b, n, k, p = 3, 3, 4, 11

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    x, background = rand(b, channels, p), rand(b, channels, p)
    masks, colours = rand(b, n, 1, p), rand(b, n, channels, p)
    tried, tried_colours = rand(b, k, 1, p), rand(b, k, channels, p)
    delta = None if occlusion == "fixed" else random_occlusion(b, n, generator)
    weight = rand(b, 1, p)

    others = masks.clone()
    others[:, layer] = 0
    shown, behind = visibility(others, delta)
    parts = shown * others * colours
    hides = (fixed_occlusion(n).to(x) if delta is None else delta)[:, layer, :, None, None]
    base = behind * background
    rest, hidden = parts.sum(1) + base, (hides * parts).sum(1) + base
    maps = candidate_maps(tried, tried_colours)
    assert maps.shape == (b, k, n_maps(channels), p)
    state = state_maps(torch.stack([x - rest, hidden], dim=1), shown[:, layer], weight)
    errors = expanded_errors(maps, state) + ((x - rest) ** 2 * weight).sum((1, 2))[:, None]
    for j in range(k):
        masks[:, layer], colours[:, layer] = tried[:, j], tried_colours[:, j]
        image = compose(masks, masks * colours, background, delta)
        expected = ((x - image) ** 2 * weight).sum((1, 2))
        torch.testing.assert_close(errors[:, j], expected, rtol=1e-12, atol=1e-13)


def test_masks_and_colours_are_among_the_maps():
    masks, colours = torch.rand(2, 5, 1, 7), torch.rand(2, 5, 3, 7)
    found = split_maps(candidate_maps(masks, colours), 3)
    assert found[0].equal(masks)
    assert found[1].equal(masks * colours)
