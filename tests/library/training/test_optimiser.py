"""Adam in groups: rates, L2, and several updates of the encoder."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.training.optimiser import GroupedAdam


def optimiser(small, **training):
    images, config = small.image_set(), small.configuration(**training)
    model = small.model_for(config, images)
    return model, GroupedAdam(model, config.training), images.images[:4].float() / 255


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.1, [(0.02, 1e-3), (0.02, 1e-3), (0.002, 1e-4), (2e-4, 1e-5)]),
        ([1, 0.5], [(0.02, 1e-3), (0.02, 1e-3), (0.02, 5e-4), (0.02, 2.5e-4)]),
    ],
)
def test_rates_drop_at_milestones_by_group(small, gamma, expected):
    _, adam, _ = optimiser(small, gamma=gamma, milestones=[2, 3], sprite_lr=0.02)
    for epoch, (prototypes, networks) in enumerate(expected):
        assert adam.set_epoch(epoch) == pytest.approx([prototypes, networks, networks])
    assert adam.set_epoch(0) == pytest.approx([0.02, 1e-3, 1e-3])  # the rate depends on the epoch alone


def plain_adam(parameter, gradients, lr, decay):
    """Adam with L2 in the gradient, by its formulas."""
    m = v = 0
    for t, gradient in enumerate(gradients, 1):
        g = gradient + decay * parameter
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        parameter = parameter - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return parameter


@pytest.mark.parametrize("updates", [1, 3])
def test_encoder_updates_are_that_many_plain_ones(small, updates):
    model, adam, x = optimiser(small, encoder_updates=updates, weight_decay=0.01)
    watched = {
        "encoder": model.encoder.layers.conv.weight,
        "heads": model.sequence.heads["affine"].weights[-1],
        "prototypes": model.prototypes.pixels,
    }
    before = {name: p.detach().clone().double() for name, p in watched.items()}
    gradients = {name: [] for name in watched}
    for _ in range(2):
        adam.zero_grad()
        model.step(x).loss.backward()
        for name, parameter in watched.items():
            gradients[name] += [parameter.grad.double().clone()] * (updates if name == "encoder" else 1)
        adam.step()
    for name, parameter in watched.items():
        decay = 0.0 if name == "prototypes" else 0.01
        expected = plain_adam(before[name], gradients[name], 1e-3, decay)
        torch.testing.assert_close(parameter.double(), expected, rtol=1e-4, atol=2e-6)


def test_l2_moves_a_parameter_without_data_gradient_by_nearly_the_rate(small):
    """The penalty goes through Adam's scaling: 0.05 becomes about 0.042 in ten steps at 1e-3."""
    model, adam, _ = optimiser(small, weight_decay=1e-6)
    parameter = model.sequence.heads["affine"].weights[0]
    parameter.data.fill_(0.05)
    for _ in range(10):
        parameter.grad = torch.zeros_like(parameter)
        adam.step()
    assert parameter.flatten()[0].item() == pytest.approx(0.0418, abs=2e-3)
