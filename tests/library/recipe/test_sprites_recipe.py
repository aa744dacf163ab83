"""From the flat parameters of the sprites notebook to a configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dti_sprites import ConfigError, RunConfig
from dti_sprites.recipe import prepare
from dti_sprites.sprites_recipe import ALIASES, OPTIONS, configure_sprites


def test_nothing_given_means_the_preset_that_suits() -> None:
    assert configure_sprites({}, sample=True).preset_name == "sprites-digits"
    assert configure_sprites({}).preset_name == "sprites-crops"
    assert configure_sprites({"n_layers": 3}, sample=True).preset_name == "sprites-scenes"
    assert (
        configure_sprites({"preset": "sprites-gtsrb8"}).training
        == RunConfig.preset("sprites-gtsrb8").training
    )


@pytest.mark.parametrize("option", [*OPTIONS, *ALIASES])
@pytest.mark.parametrize("sample", [True, False])
def test_background_options(option: str, sample: bool) -> None:
    config = configure_sprites({"background_option": option}, sample=sample)
    plain = ALIASES.get(option, option)
    assert config == configure_sprites({"background_option": plain}, sample=sample)
    assert config.model.kind == ("kmeans" if plain == "none" else "sprites")
    if plain == "none":
        return
    sprites = config.model.sprites
    assert (sprites.n_layers, sprites.n_backgrounds) == (1, 1)
    assert sprites.freeze_background is (plain in ("constant", "ink"))
    assert sprites.freeze_foreground is (plain == "ink")
    assert sprites.freeze_mask is False


@pytest.mark.parametrize(("page", "ink"), [(230, 0.1), (20, 0.9)])
def test_constant_colours_follow_the_images(tmp_path: Path, page: int, ink: float) -> None:
    for i in range(6):
        pixels = np.full((16, 16), page, np.uint8)
        pixels[4:12, 4:12] = 255 - page
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    parameters = {"n_prototypes": 2, "background_option": "ink", "image_size": 16}
    images, config = prepare(tmp_path, parameters, sprites=True)
    sprites = config.model.sprites
    assert (sprites.value_foreground, sprites.value_background) == (ink, round(1 - ink, 1))
    assert len(images) == 6
    assert config.training.epochs > 100  # few images: more passes
    _, config = prepare(tmp_path, parameters | {"background_option": "none"}, sprites=True)
    assert config.model.kind == "kmeans"


def test_pixels_of_a_preset_follow_the_image_size() -> None:
    half = configure_sprites({"n_layers": 2, "image_size": 32}).model.sprites
    whole = configure_sprites({"n_layers": 2}).model.sprites
    assert half.sprite_size == (16, 16)
    assert half.gaussian_std == pytest.approx((whole.gaussian_std or 0) / 2)


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({"background_option": "learnt"}, {"background_option"}),
        ({"background_option": "none", "n_layers": 2, "occlusion": "fixed"}, {"n_layers", "occlusion"}),
        ({"preset": "mnist"}, {"preset"}),
        ({"preset": "sprites-crops", "background_option": "0_dti"}, {"preset"}),
        ({"n_layers": 0, "occlusion": "perhaps", "lr": -1.0}, {"n_layers", "occlusion", "lr"}),
        ({"n_layers": 2, "sprite_size": 400}, {"sprite_size"}),
        ({"sprite_size": 10}, {"sprite_size"}),
        ({"n_layers": 2, "layer_transformation_sequence": "wobble"}, {"layer_transformation_sequence"}),
        ({"colour": 1}, {"colour"}),
    ],
)
def test_problems_are_told_by_the_flat_names(parameters: dict[str, object], fields: set[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        configure_sprites(parameters)
    assert {name for name, _ in caught.value.errors} == fields


def test_checking_a_request_does_not_load_pytorch() -> None:
    code = (
        "import sys; from dti_service.demo_checks import check_sprites\n"
        "print(check_sprites({'n_layers': 99}), 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[('n_layers', 'must be at most 20, not 99')] False"
