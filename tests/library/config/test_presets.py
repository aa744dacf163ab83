"""The preset files."""

from __future__ import annotations

import pytest
import yaml

from dti_sprites.config import ConfigError, RunConfig
from dti_sprites.presets import list_presets, preset_info

PRESETS = {preset.name: preset for preset in list_presets()}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid_described_and_round_trips(name):
    info = PRESETS[name]
    assert info.description
    assert info.source
    config = RunConfig.preset(name)
    assert config == info.config
    assert config.preset_name == name
    assert RunConfig.from_yaml(config.to_yaml()) == config


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("epochs", [1, 3, 10])
def test_every_preset_can_be_shortened(name, epochs):
    assert RunConfig.preset(name).with_epochs(epochs).training.epochs == epochs


def test_the_expected_presets_are_there():
    clustering = {
        "mnist",
        "mnist-test",
        "mnist-1k",
        "mnist-color",
        "fashion-mnist",
        "affnist-test",
        "usps",
        "frgc",
    }
    clustering |= {"svhn", "gtsrb8", "instagram", "megadepth"}
    sprites = {"tetrominoes", "multi-dsprites", "clevr6", "gtsrb8", "svhn", "horse", "instagram"}
    learned = clustering - {"mnist-test", "mnist-1k", "instagram", "megadepth"}
    learned |= {"tetrominoes", "multi-dsprites", "clevr6", "clevr"}
    platform = {"kmeans", "learn-bg", "const-bg", "learn-fg", "newer"}
    expected = clustering | {f"sprites-{name}" for name in sprites} | {f"learned-{name}" for name in learned}
    own = {"digits", "crops", "sprites-digits", "sprites-crops", "sprites-scenes"}
    own |= {
        "digits-published",
        "mnist-1k-split",
        "mnist-1k-augmented",
        "mnist-test-split",
        "gtsrb8-split",
        "characters",
        "drop-capitals",
        "text-lines",
        "kuzushiji",
        "fast",
        "fast-sprites",
    }
    assert set(PRESETS) == expected | {f"platform-{name}" for name in platform} | own


def test_published_values_by_hand():
    usps = RunConfig.preset("usps")
    assert (usps.model.padding, usps.training.curriculum, usps.training.milestones) == (
        "zeros",
        (60, 120, 200),
        (250,),
    )
    dsprites = RunConfig.preset("sprites-multi-dsprites")
    assert dsprites.model.sprites.occlusion == "predicted"
    assert dsprites.model.sprites.freeze_sprite == 10
    assert dsprites.training.gamma == (1.0, 0.1)
    assert dsprites.training.encoder_updates == 7
    learned = RunConfig.preset("learned-mnist")
    assert learned.model.selection.freq_weight == 0.01
    assert not learned.training.reassign


def test_unknown_preset_names_those_like_it():
    with pytest.raises(ConfigError, match="mnist-test"):
        RunConfig.preset("mnist-tset")
    with pytest.raises(ConfigError, match="possible: affnist-test, characters"):
        preset_info("../config/sections")


def test_a_file_may_start_from_a_preset():
    config = RunConfig.from_yaml(yaml.safe_dump({"preset": "mnist", "model": {"n_prototypes": 12}}))
    assert config == RunConfig.preset("mnist").replace(model={"n_prototypes": 12})
    assert config.preset_name == "mnist"
    with pytest.raises(ConfigError, match="preset"):
        RunConfig.from_dict({"preset": ["mnist"]})
