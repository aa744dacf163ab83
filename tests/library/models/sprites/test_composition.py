"""Composition and label maps against the written formula and the painter's algorithm."""

from __future__ import annotations

import itertools

import pytest
import torch

from dti_sprites.models.sprites.composition import compose, fixed_occlusion, visibility
from dti_sprites.models.sprites.labelmaps import instance_shares, label_maps, semantic_shares
from dti_sprites.models.sprites.occlusion import Occlusion

N, C, SIZE = 3, 2, (4, 5)


def scene(b=2, seed=0, binary=False):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(b, N, 1, *SIZE, generator=generator, dtype=torch.float64)
    colours = torch.rand(b, N, C, *SIZE, generator=generator, dtype=torch.float64)
    background = torch.rand(b, C, *SIZE, generator=generator, dtype=torch.float64)
    delta = torch.rand(b, N, N, generator=generator, dtype=torch.float64).tril(-1)
    delta = delta + (1 - delta.mT).triu(1)
    return (masks.round() if binary else masks), colours, background, delta


def test_compose_is_the_formula(scenes):
    masks, colours, background, delta = scene()
    for behind in (background, None):
        image = compose(masks, masks * colours, behind, delta)
        for i in range(2):
            layers = list(zip(masks[i], colours[i]))
            expected = scenes.compose(None if behind is None else behind[i], layers, delta[i])
            torch.testing.assert_close(image[i], expected)


def test_fixed_order_is_the_occlusion_of_later_layers():
    masks, colours, background, _ = scene()
    explicit = compose(masks, masks * colours, background, fixed_occlusion(N).to(masks))
    torch.testing.assert_close(compose(masks, masks * colours, background, None), explicit)
    layers, behind = visibility(masks, None)
    torch.testing.assert_close(layers[:, 0], (1 - masks[:, 1]) * (1 - masks[:, 2]))
    torch.testing.assert_close(behind, (1 - masks).prod(1))


@pytest.mark.parametrize("order", list(itertools.permutations(range(N))))
def test_certain_occlusion_is_the_painters_algorithm(order):
    """Layers laid on one another in any order, with soft masks: each paints over what is there."""
    masks, colours, background, _ = scene()
    rank = torch.tensor([order.index(layer) for layer in range(N)])
    delta = (rank[:, None] > rank[None]).double()[None]
    canvas = background.clone()
    for layer in order:
        canvas = canvas * (1 - masks[:, layer]) + masks[:, layer] * colours[:, layer]
    torch.testing.assert_close(compose(masks, masks * colours, background, delta), canvas)


def test_gradients():
    masks, colours, background, delta = scene(1)
    inputs = [values.requires_grad_() for values in (masks, colours, background, delta)]
    assert torch.autograd.gradcheck(lambda m, c, b, d: compose(m, m * c, b, d), inputs)
    assert torch.autograd.gradcheck(lambda m, c, b: compose(m, m * c, b, None), inputs[:3])


def test_predicted_occlusion_starts_undecided_and_is_complementary():
    head = Occlusion("predicted", N, 6, 8, 2)
    features = torch.rand(4, 6)
    start = head(features)
    assert start.equal(0.5 * (1 - torch.eye(N)).expand(4, -1, -1))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    delta = head(features)
    torch.testing.assert_close(delta + delta.mT, (1 - torch.eye(N)).expand(4, -1, -1))
    pairs = torch.sigmoid(head.head(features)[0])
    torch.testing.assert_close(delta[:, [1, 2, 2], [0, 0, 1]], pairs)
    assert head.matrix(delta, 4) is not None


def test_other_occlusions_need_nothing():
    assert Occlusion("fixed", N, 6, 8, 2)(None) is None
    assert not Occlusion("none", N, 6, 8, 2)(None).any()
    assert Occlusion("predicted", 1, 6, 8, 2)(None) is None
    assert Occlusion("fixed", N, 6, 8, 2).matrix(None, 5).equal(fixed_occlusion(N).expand(5, -1, -1))


def test_hard_labels_are_those_of_the_painters_algorithm():
    masks, _, _, _ = scene(binary=True)
    sprites = torch.tensor([[4, 0, 4], [1, 2, 0]])
    instance, semantic = label_maps(masks, None, sprites)
    for i in range(2):
        canvas, named = torch.zeros(SIZE, dtype=torch.long), torch.zeros(SIZE, dtype=torch.long)
        for layer in range(N):
            covered = masks[i, layer, 0] > 0
            canvas[covered], named[covered] = layer + 1, sprites[i, layer] + 1
        assert instance[i].equal(canvas)
        assert semantic[i].equal(named)


def test_hard_labels_are_the_most_visible_of_layers_in_a_circle():
    """Rock, paper, scissors: each layer is hidden by another; the least hidden one has the pixel."""
    masks = torch.ones(1, 3, 1, 1, 2)
    masks[0, 2, 0, 0, 1] = 0.1  # at the second pixel only the first two are there
    delta = torch.tensor([[[0, 0.9, 0.3], [0.1, 0, 0.8], [0.7, 0.2, 0]]])
    instance, _ = label_maps(masks, delta, torch.tensor([[0, 1, 2]]))
    shares = instance_shares(masks, delta)[0, 1:, 0, 0]
    assert instance[0, 0].tolist() == [int(shares.argmax()) + 1, 1]


def test_soft_labels_sum_over_sprites():
    masks, _, _, _ = scene()
    sprites = torch.tensor([[1, 1, 3], [3, 0, 2]])  # 3: nothing there
    masks = masks * (sprites < 3)[:, :, None, None, None]
    shares = instance_shares(masks, None)
    torch.testing.assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))
    semantic = semantic_shares(shares, sprites, 3)
    assert semantic.shape == (2, 4, *SIZE)
    torch.testing.assert_close(semantic[0, 2], shares[0, 1] + shares[0, 2])
    torch.testing.assert_close(semantic[1, 1], shares[1, 2])
    torch.testing.assert_close(semantic.sum(1), shares.sum(1))
