"""Rules between settings."""

from __future__ import annotations

import pytest

from dti_sprites.config import ConfigError, RunConfig


def problems(**sections) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        RunConfig().replace(**sections)
    return dict(caught.value.errors)


@pytest.mark.parametrize(
    ("training", "field", "words"),
    [
        ({"curriculum": [5]}, "training.curriculum", "2 entries"),
        ({"curriculum": [9, 5]}, "training.curriculum", "must not decrease"),
        ({"curriculum": [5, 100]}, "training.curriculum", "never be reached"),
        ({"milestones": [5, 5]}, "training.milestones", "must increase"),
        ({"milestones": [100]}, "training.milestones", "never be reached"),
        ({"empty_cluster_threshold": 0.1}, "training.empty_cluster_threshold", "below 1 / n_prototypes"),
    ],
)
def test_schedules_that_cannot_work(training, field, words):
    assert words in problems(training=training)[field]


def test_images_are_moved_only_beside_transformations_that_move():
    model = {"transformation_sequence": "identity_color_morpho"}
    training = {"curriculum": None, "augmentation": 0.1}
    assert "such as affine" in problems(model=model, training=training)["training.augmentation"]


def test_curriculum_may_repeat_and_start_at_zero():
    assert RunConfig().replace(training={"curriculum": [0, 0]}).training.curriculum == (0, 0)


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ({"kind": "gmm", "source": "mlp"}, "model.source"),
        ({"kind": "gmm", "selection": {"method": "linear"}}, "model.selection.method"),
        ({"selection": {"freq_weight": 0.1}}, "model.selection.freq_weight"),
    ],
)
def test_model_combinations(model, field):
    assert field in problems(model=model)


@pytest.mark.parametrize(
    ("sprites", "field"),
    [
        ({"sprite_size": 20}, "model.sprites.sprite_size"),
        ({"layer_curriculum": [3]}, "model.sprites.layer_curriculum"),
        (
            {"layer_transformation_sequence": "color_position", "layer_curriculum": [3, 4]},
            "model.sprites.layer_curriculum",
        ),
        ({"background_curriculum": [3]}, "model.sprites.background_curriculum"),
        ({"freeze_sprite": 100}, "model.sprites.freeze_sprite"),
        ({"n_layers": 5, "estimate_minimum": False}, "model.sprites.estimate_minimum"),
        ({"n_backgrounds": 2}, "model.sprites.init_background"),
        ({"sprite_size": 8, "layer_transformation_sequence": "color"}, "model.sprites.sprite_size"),
        (
            {
                "sprite_size": 8,
                "layer_transformation_sequence": "color_position",
                "layer_curriculum": [3],
            },
            "model.sprites.layer_curriculum",
        ),
        ({"freeze_foreground": True, "freeze_mask": True, "n_backgrounds": 0}, "model.sprites.freeze_mask"),
    ],
)
def test_sprites_combinations(sprites, field):
    assert field in problems(model={"kind": "sprites", "sprites": sprites})


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ({"selection": {"method": "linear", "weighting": "01"}}, "model.selection.weighting"),
        ({"selection": {"method": "linear"}, "sprites": {"n_backgrounds": 2}}, "model.sprites.n_backgrounds"),
        ({"source": "mlp", "sprites": {"init_foreground": "kmeans"}}, "model.sprites.init_foreground"),
    ],
)
def test_sprites_chosen_or_generated(model, field):
    assert field in problems(model={"kind": "sprites", **model})


def test_sprites_placed_from_the_start():
    sprites = {"sprite_size": 8, "layer_transformation_sequence": "position_tps", "layer_curriculum": [3]}
    assert RunConfig.from_dict({"model": {"kind": "sprites", "sprites": sprites}})


def test_sprites_settings_do_not_matter_to_kmeans():
    assert RunConfig().replace(model={"kind": "kmeans", "sprites": {"freeze_sprite": 100}})


def test_sprites_larger_than_the_image():
    sprites = {"sprite_size": 40, "layer_transformation_sequence": "color_position"}
    found = problems(data={"image_size": 32}, model={"kind": "sprites", "sprites": sprites})
    assert "must not exceed" in found["model.sprites.sprite_size"]


def test_unet_needs_sides_that_halve_four_times():
    assert "data.image_size" in problems(data={"image_size": 28}, model={"source": "unet"})
    assert RunConfig().replace(data={"image_size": 32}, model={"source": "unet"})


def test_background_takes_the_sequence_and_curriculum_of_the_sprites():
    config = RunConfig().replace(model={"kind": "sprites"}, training={"curriculum": [3, 9]})
    assert config.background_transformations == ["identity", "affine", "tps"]
    assert config.background_curriculum == (3, 9)
    own = config.replace(model={"sprites": {"background_transformation_sequence": "color"}})
    assert own.background_transformations == ["color"]
    assert own.background_curriculum is None


def test_with_epochs_scales_the_whole_schedule():
    sprites = {"freeze_sprite": 40, "freeze_mask": True}
    training = {"curriculum": [5, 50], "milestones": [80, 90]}
    config = RunConfig().replace(training=training, model={"kind": "sprites", "sprites": sprites})
    half = config.with_epochs(50)
    assert half.training.curriculum == (2, 25)
    assert half.training.milestones == (40, 45)
    assert half.model.sprites.freeze_sprite == 20
    assert half.model.sprites.freeze_mask is True


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 1000])
def test_with_epochs_always_gives_a_schedule_that_works(epochs):
    training = {"curriculum": [5, 99], "milestones": [80, 99]}
    assert RunConfig().replace(training=training).with_epochs(epochs).training.epochs == epochs


@pytest.mark.parametrize("epochs", [0, -1, 2.5, True])
def test_with_epochs_refuses_other_than_positive_whole_numbers(epochs):
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        RunConfig().with_epochs(epochs)
