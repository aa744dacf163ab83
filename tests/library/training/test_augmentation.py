"""Training images that are moved a little."""

from __future__ import annotations

import sys

import pytest
import torch

from dti_sprites.config import RunConfig
from dti_sprites.models.coarse import halve
from dti_sprites.training import fit
from dti_sprites.training.augmentation import Augmentation
from dti_sprites.training.rivalry import Rivalry

loop = sys.modules["dti_sprites.training.fit"]  # the package gives its function under the same name


def augmentation(strength: float = 0.1, **training) -> Augmentation:
    settings = {"epochs": 20, "curriculum": [5, 10], "augmentation": strength, **training}
    model = {"transformation_sequence": "identity_affine_tps"}
    return Augmentation(RunConfig.from_dict({"model": model, "training": settings}))


@pytest.mark.parametrize(
    ("training", "epochs"),
    [
        ({"milestones": [15, 18]}, range(5, 15)),
        ({}, range(5, 17)),
        ({"curriculum": None}, range(17)),
        ({"augmentation": 0.0}, range(0)),
    ],
)
def test_from_the_first_warp_until_the_model_settles(training, epochs):
    moved = augmentation(**training)
    assert [epoch for epoch in range(20) if moved.active(epoch)] == list(epochs)


def test_layers_that_move_count():
    model = {
        "kind": "sprites",
        "transformation_sequence": "identity_color",
        "sprites": {"layer_transformation_sequence": "identity_position", "layer_curriculum": [3]},
    }
    training = {"epochs": 10, "curriculum": [1], "augmentation": 0.1}
    assert Augmentation(RunConfig.from_dict({"model": model, "training": training})).first == 3


def test_each_image_goes_through_an_affine_map_of_its_own():
    """A plane of values stays a plane under an affine map: its slopes tell the map's entries, far from the rim."""
    side, n = 65, 400
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    planes = torch.stack([line.expand(side, side), line[:, None].expand(side, side)])  # x, and y
    moved, none = augmentation(0.05)(planes.expand(n, 2, side, side), None, 7)
    assert none is None
    middle, step = side // 2, 2 / side
    offset = moved[:, :, middle, middle]
    slopes = torch.stack([
        (moved[:, :, middle, middle + 1] - offset) / step, (moved[:, :, middle + 1, middle] - offset) / step
    ], dim=2)  # fmt: skip
    beta = torch.cat([slopes - torch.eye(2), offset[:, :, None]], dim=2).flatten(1)
    torch.testing.assert_close(beta.std(0), torch.full((6,), 0.05), rtol=0.15, atol=0)
    assert beta.mean(0).abs().max() < 4 * 0.05 / n**0.5
    correlation = torch.corrcoef(beta.T) - torch.eye(6)
    assert correlation.abs().max() < 0.25


def test_weights_go_along_and_rims_are_continued():
    x, weight = torch.rand(5, 3, 12, 10), torch.rand(5, 1, 12, 10)
    moved, moved_weight = augmentation()(torch.cat([x[:, :2], weight], 1), weight, 3)
    torch.testing.assert_close(moved[:, 2:], moved_weight)
    constant, full = augmentation(0.5)(torch.full_like(x, 0.25), torch.ones_like(weight), 3)
    torch.testing.assert_close(constant, torch.full_like(x, 0.25))
    torch.testing.assert_close(full, torch.ones_like(weight))


def test_maps_depend_on_seed_and_iteration_alone():
    x = torch.rand(4, 1, 8, 8)
    first, _ = augmentation(seed=2**32 - 1)(x, None, 5)
    torch.manual_seed(99)
    again, _ = augmentation(seed=2**32 - 1)(x, None, 5)
    assert first.equal(again)
    for other in (augmentation(seed=2**32 - 1)(x, None, 6), augmentation(seed=1)(x, None, 5)):
        assert not first.allclose(other[0])


def test_training_moves_images_in_these_epochs_only(small, monkeypatch):
    """Three iterations an epoch; affine from the second epoch on, and the rate drops after the third."""
    images, config = small.image_set(alpha=True), small.configuration(augmentation=0.1)
    iterations, original = [], Augmentation.__call__

    def moved(self, x, weight, iteration):
        iterations.append(iteration)
        return original(self, x, weight, iteration)

    monkeypatch.setattr(Augmentation, "__call__", moved)
    model = small.model_for(config, images)
    result = fit(model, images, config)
    assert iterations == list(range(3, 9))
    without = fit(small.model_for(config, images), images, config.replace(training={"augmentation": 0.0}))
    losses = [run.history["epoch_loss"] for run in (result, without)]
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_a_challenger_and_the_coarse_view_see_the_moved_images(small, monkeypatch):
    """What the model is trained on is what Augmentation gave: to the challenger as it is, at half the size before."""
    images = small.image_set(alpha=True)
    moved, original = [], Augmentation.__call__
    seen: list[torch.Tensor] = []

    def move(self, x, weight, iteration):
        moved.append(original(self, x, weight, iteration))
        return moved[-1]

    monkeypatch.setattr(Augmentation, "__call__", move)
    monkeypatch.setattr(Rivalry, "iterate", lambda self, x, weight: seen.append(x))
    config = small.configuration(augmentation=0.1, split_merge_interval=2)
    fit(small.model_for(config, images), images, config)
    assert len(moved) == 6
    assert all(any(x is given for given in seen) for x, _ in moved)

    halved = []
    monkeypatch.setattr(loop, "halve", lambda x, weight: halved.append(x) or halve(x, weight))
    moved.clear()
    config = small.configuration(augmentation=0.1, coarse_epochs=2)
    fit(small.model_for(config, images), images, config)
    assert [x is moved[i][0] for i, x in enumerate(halved[3:])] == [True] * 3
