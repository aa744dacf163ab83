"""The platform's flat and nested parameters."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dti_sprites.config import ConfigError, RunConfig
from dti_sprites.platform import BACKGROUND_OPTIONS, config_from_parameters

PATIENT = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


def problems(parameters) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        config_from_parameters(parameters)
    return dict(caught.value.errors)


def test_flat_kmeans_is_the_preset():
    flat = {"n_prototypes": 10, "background_option": "0_dti", "transformation_sequence": "identity_color"}
    assert config_from_parameters(flat) == RunConfig.preset("platform-kmeans")


@pytest.mark.parametrize(
    ("option", "preset"),
    [
        ("1_learn_bg", "platform-learn-bg"),
        ("2_const_bg", "platform-const-bg"),
        ("3_learn_fg", "platform-learn-fg"),
    ],
)
def test_flat_sprites_are_the_presets(option, preset):
    assert config_from_parameters({"background_option": option, "n_prototypes": 10}) == RunConfig.preset(
        preset
    )


def test_missing_keys():
    config = config_from_parameters({})
    assert (config.model.kind, config.model.n_prototypes) == ("kmeans", 20)
    assert config.model.transformations == ["identity", "color"]
    config = config_from_parameters({"use_sprites": True})
    assert (config.model.kind, config.model.n_prototypes) == ("sprites", 40)
    assert config.model.transformations == ["color", "projective"]


def test_the_background_shares_the_sequence():
    parameters = {
        "background_option": "1_learn_bg",
        "transformation_sequence": "identity_color_affine_projective_tps",
    }
    config = config_from_parameters(parameters)
    assert config.background_transformations == ["identity", "color", "affine", "projective", "tps"]


def test_values_may_be_text():
    flat = {"n_prototypes": "7", "lr": "1e-4", "epochs": "100", "curriculum": "10, 20", "milestones": "80"}
    config = config_from_parameters(flat | {"transformation_sequence": "id_aff_tps", "use_sprites": ""})
    assert config.model.n_prototypes == 7
    assert config.training.lr == 1e-4
    assert config.training.curriculum == (10, 20)
    assert config.training.milestones == (80,)


def test_fewer_epochs_keep_the_drop_in_proportion():
    assert config_from_parameters({"epochs": 40}).training.milestones == (35,)
    assert config_from_parameters({"epochs": 1}).training.milestones == ()


NESTED = {
    "n_prototypes": 10,
    "empty_cluster_threshold": 0.025,
    "lr": 0.0005,
    "source": "data",
    "transformation_sequence": {
        "transforms": "identity_linearcolor_affine_morpho_tps",
        "iterations": 5000,
        "milestones": [1000, 2000, 3000, 4000],
        "grid_size": 5,
    },
    "background_option": {"use_sprites": False, "freeze": [False, False, False], "init": ["gaussian"]},
}


def test_nested_iterations_become_epochs():
    config = config_from_parameters(NESTED, n_images=300)  # 19 batches of 16
    assert config.model.transformations == ["identity", "linearcolor", "affine", "morpho", "tps"]
    assert config.training.epochs == 5000 // 19
    assert config.training.curriculum == (1000 // 19 + 1, 2000 // 19 + 1, 3000 // 19 + 1, 4000 // 19 + 1)
    assert config.training.milestones == (round(0.85 * 263),)
    assert (config.training.lr, config.training.batch_size) == (0.0005, 16)
    assert config.training.empty_cluster_threshold == 0.025
    assert config.model.tps_grid_size == 5
    assert config.model.init == "gaussian"
    assert config.data.resize == "stretch"


def test_nested_values_may_be_json_text():
    text = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in NESTED.items()}
    assert config_from_parameters(text, 300) == config_from_parameters(NESTED, 300)


def test_nested_without_milestones_spreads_them():
    config = config_from_parameters({"transformation_sequence": {}}, n_images=300)
    assert config.model.transformations == ["identity", "affine", "morpho"]
    assert config.training.epochs == 3000 // 19
    assert config.training.curriculum == (16, 47)
    assert config.training.lr == 1e-4


def test_one_transformation_has_no_curriculum():
    nested = {"transforms": "identity", "iterations": 1000, "milestones": []}
    training = config_from_parameters({"transformation_sequence": nested}, 300).training
    assert not training.curriculum


def test_nested_sprites():
    background = {
        "use_sprites": True,
        "freeze": [True, False, False],
        "init": ["gaussian", "sample", "random"],
    }
    sprites = config_from_parameters({"background_option": background}).model.sprites
    assert (sprites.freeze_foreground, sprites.init_foreground, sprites.value_foreground) == (
        True,
        "constant",
        0.1,
    )
    assert (sprites.freeze_background, sprites.init_background) == (False, "mean")
    assert sprites.init_mask == "random"


def test_nested_form_of_learn_foreground():
    background = {"use_sprites": True, "freeze": [True, True, False], "value": [0.1, 0.9, 0.0]}
    background["init"] = ["constant", "constant", "gaussian"]
    nested = config_from_parameters({"background_option": background, "n_prototypes": 10})
    assert (
        nested.model == config_from_parameters({"background_option": "3_learn_fg", "n_prototypes": 10}).model
    )


def test_a_threshold_that_no_cluster_could_reach_is_the_default():
    assert config_from_parameters({"n_prototypes": 50, "empty_cluster_threshold": 0.025}).training == (
        config_from_parameters({"n_prototypes": 50}).training
    )


def test_all_problems_under_the_names_of_the_form():
    found = problems(
        {
            "n_prototypes": 0,
            "clusters": 3,
            "source": "vae",
            "lr": 5,
            "background_option": "4_all",
            "transformation_sequence": "identity_warp",
        }
    )
    assert set(found) == {
        "n_prototypes",
        "clusters",
        "source",
        "lr",
        "background_option",
        "transformation_sequence",
    }
    assert "3_learn_fg" in found["background_option"]
    assert "isotranslation" in found["transformation_sequence"]
    assert "empty_cluster_threshold" in found["clusters"]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"transformation_sequence": {"transforms": "identity_foo"}}, "transformation_sequence"),
        ({"transformation_sequence": {"rows": 1}}, "transformation_sequence.rows"),
        ({"transformation_sequence": {"milestones": [1]}}, "transformation_sequence.milestones"),
        ({"transformation_sequence": {"milestones": [9, 3]}}, "transformation_sequence.milestones"),
        ({"transformation_sequence": {"milestones": [9, 3000]}}, "transformation_sequence.milestones"),
        ({"transformation_sequence": {"iterations": 0}}, "transformation_sequence.iterations"),
        (
            {"transformation_sequence": {"transforms": "id_tps", "grid_size": 1}},
            "transformation_sequence.grid_size",
        ),
        ({"transformation_sequence": 3}, "transformation_sequence"),
        ({"background_option": {"init": ["gaussian"] * 3}}, "background_option.init"),
        ({"background_option": {"freeze": "all"}}, "background_option.freeze"),
        ({"background_option": {"use_sprites": True, "init": ["blob"]}}, "model.sprites.init_foreground"),
        ({"use_sprites": True, "background_option": "0_dti"}, "use_sprites"),
        ({"empty_cluster_threshold": 2}, "empty_cluster_threshold"),
    ],
)
def test_what_is_refused(parameters, field):
    assert field in problems(parameters)


def test_no_object():
    with pytest.raises(ConfigError, match="parameters"):
        config_from_parameters([1])  # type: ignore[arg-type]


SEQUENCES = st.lists(
    st.sampled_from(
        ["color", "linearcolor", "affine", "translation", "projective", "isotranslation", "morpho", "tps"]
    ),
    unique=True,
    max_size=5,
)


@PATIENT
@given(SEQUENCES, st.lists(st.integers(1, 10000), min_size=6, max_size=6), st.integers(1, 10**6))
def test_every_budget_of_the_form_gives_a_schedule_that_works(names, budgets, n_images):
    rows = budgets[: len(names) + 1]
    sums = [sum(rows[: i + 1]) for i in range(len(rows))]
    nested = {"transforms": "_".join(["identity", *names]), "iterations": sums[-1], "milestones": sums[:-1]}
    for n in (n_images, None):
        config = config_from_parameters({"transformation_sequence": nested}, n)
        assert len(config.training.curriculum or ()) == len(names)


JUNK = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "[1", "{}", "1e400"])
)


@PATIENT
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "n_prototypes": JUNK,
            "lr": JUNK,
            "milestones": JUNK | st.lists(JUNK, max_size=3),
            "background_option": JUNK
            | st.sampled_from(BACKGROUND_OPTIONS)
            | st.dictionaries(
                st.sampled_from(["use_sprites", "freeze", "init", "value"]), JUNK | st.lists(JUNK, max_size=4)
            ),
            "transformation_sequence": JUNK
            | st.dictionaries(
                st.sampled_from(["transforms", "iterations", "milestones", "grid_size"]),
                JUNK | st.lists(JUNK, max_size=4),
            ),
        },
    ),
    st.none() | st.integers(1, 1000),
)
def test_anything_gives_a_configuration_or_a_config_error(parameters, n_images):
    errors = [("none", "none")]
    try:
        config_from_parameters(parameters, n_images)
    except ConfigError as error:
        errors = error.errors
    assert errors


def test_a_request_is_checked_without_pytorch():
    """A server imports this in its own process."""
    code = "import sys, dti_sprites.platform as p; p.config_from_parameters({}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
