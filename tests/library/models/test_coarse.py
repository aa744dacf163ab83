"""Epochs at half the resolution: the coarse model is a view of the full one, and the schedule around it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dti_sprites.config import RunConfig
from dti_sprites.errors import ConfigError
from dti_sprites.models import DTIModel, build_model
from dti_sprites.models.coarse import coarse_model, halve

LAYERS = [
    "model.kind=sprites",
    "model.sprites.n_layers=2",
    "model.sprites.sprite_size=8",
    "model.sprites.layer_transformation_sequence=color_position",
    "model.sprites.occlusion=predicted",
    "model.sprites.inject_noise=0",
]
KINDS = {
    "kmeans": [],
    "kmeans, smaller copies": ["model.encoder_size=16"],
    "kmeans, window": ["model.gaussian_window_std=3"],
    "kmeans, predicted": ["model.selection.method=linear", "model.selection.activation=softmax"],
    "sprites": ["model.kind=sprites", "model.sprites.inject_noise=0"],
    "sprites in layers": LAYERS,
    "sprites, predicted": [
        *LAYERS[:1],
        *LAYERS[5:],
        "model.selection.method=marionette",
        "model.selection.activation=softmax",
    ],
}
HALVED = {
    "model.sprites.sprite_size=8": "model.sprites.sprite_size=4",
    "model.encoder_size=16": "model.encoder_size=8",
    "model.gaussian_window_std=3": "model.gaussian_window_std=1.5",
}
IMAGES = torch.randint(0, 256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def configured(*overrides: str) -> RunConfig:
    return RunConfig().with_overrides(
        ["model.n_prototypes=3", "training.epochs=10", "training.coarse_epochs=5", *overrides]
    )


def initialised(config: RunConfig) -> DTIModel:
    model = build_model(config, 3, (16, 16))
    model.initialise(IMAGES, torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize("overrides", KINDS.values(), ids=KINDS)
def test_a_step_is_that_of_a_small_model_with_averaged_prototypes(overrides):
    """Same loss, same gradients: those of networks as they are, those of prototypes spread over two by two pixels."""
    config = configured(*overrides)
    model = initialised(config)
    coarse = coarse_model(model)
    small = build_model(configured(*(HALVED.get(each, each) for each in overrides)), 3, (8, 8))
    state = {
        name: F.avg_pool2d(value, 2) if name.endswith("pixels") else value
        for name, value in model.state_dict().items()
    }
    small.load_state_dict(state)
    x, weight = IMAGES.float() / 255, torch.rand(12, 1, 16, 16)
    x, weight = halve(x, weight)
    losses = []
    for each in (coarse, small):
        each.train()
        out = each.step(x, weight)
        out.loss.backward()
        losses.append(out)
    assert torch.equal(losses[0].labels, losses[1].labels)
    torch.testing.assert_close(losses[0].loss, losses[1].loss)
    learnt = dict(model.named_parameters())
    for name, parameter in small.named_parameters():
        expected = parameter.grad
        if expected is not None and name.endswith("pixels"):
            expected = expected.repeat_interleave(2, -1).repeat_interleave(2, -2) / 4
        torch.testing.assert_close(learnt[name].grad, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("overrides", KINDS.values(), ids=KINDS)
def test_nothing_of_its_own_is_learnt(overrides):
    model = initialised(configured(*overrides))
    known = {id(parameter) for parameter in model.parameters()}
    coarse = coarse_model(model)
    assert [name for name, parameter in coarse.named_parameters() if id(parameter) not in known] == []


def test_halving_counts_pixels_as_much_as_they_weigh():
    x = torch.tensor([[1.0, 2.0, 0.3, 0.1], [5.0, 8.0, 0.7, 0.5]]).expand(1, 2, 2, 4)
    weight = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0]]).expand(1, 1, 2, 4)
    halved, share = halve(x, weight)
    assert halved.shape == (1, 2, 1, 2)
    torch.testing.assert_close(halved[0, 0, 0], torch.tensor([3.5 / 1.5, 0.4]))
    torch.testing.assert_close(share, torch.tensor([[[[1.5 / 4, 0.0]]]]))
    plain, nothing = halve(x)
    torch.testing.assert_close(plain[0, 0, 0], torch.tensor([4.0, 0.4]))
    assert nothing is None


@pytest.mark.parametrize(
    ("overrides", "field", "reason"),
    [
        (["training.coarse_epochs=10"], "training.coarse_epochs", "must stay below training.epochs (10), not 10"),
        (["model.kind=gmm"], "training.coarse_epochs", "kmeans or sprites"),
        (["model.source=mlp", "model.init=mean"], "training.coarse_epochs", "model.source pixels"),
        (["training.split_merge_interval=20"], "training.coarse_epochs", "split_merge_interval"),
        (["model.transformation_sequence=identity_morpho"], "training.coarse_epochs", "before morpho"),
        (
            ["model.transformation_sequence=identity_morpho", "training.curriculum=[4]"],
            "training.coarse_epochs",
            "before morpho",
        ),
        ([*LAYERS, "model.sprites.background_transformation_sequence=morpho"], "training.coarse_epochs", "morpho"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_with_the_settings(overrides, field, reason):
    with pytest.raises(ConfigError) as caught:
        configured(*overrides)
    assert [(name, reason in why) for name, why in caught.value.errors] == [(field, True)]


def test_morphology_may_follow():
    configured("model.transformation_sequence=identity_morpho", "training.curriculum=[5]")


@pytest.mark.parametrize(
    ("overrides", "size", "field"),
    [
        ([], (15, 16), "data.image_size"),
        ([*LAYERS[:2], *LAYERS[3:], "model.sprites.sprite_size=7"], (16, 16), "model.sprites.sprite_size"),
        (["model.encoder_pool=null"], (16, 16), "training.coarse_epochs"),
    ],
)
def test_what_cannot_be_halved_is_named(overrides, size, field):
    model = build_model(configured(*overrides), 3, size)
    with pytest.raises(ConfigError) as caught:
        coarse_model(model)
    assert [name for name, _ in caught.value.errors] == [field]


def test_a_shorter_schedule_has_fewer_coarse_epochs():
    config = configured()
    assert config.with_epochs(4).training.coarse_epochs == 2
    assert config.with_epochs(1).training.coarse_epochs is None
