"""How values from YAML, JSON and the command line become typed settings."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dti_sprites.config import ConfigError, ModelConfig, RunConfig, TrainingConfig, parse_sequence

# Shared machines are slow at times: that is no failure.
PATIENT = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

# One valid value or more for settings of every kind of type.
VALID = st.fixed_dictionaries(
    {},
    optional={
        "data": st.fixed_dictionaries(
            {},
            optional={
                "image_size": st.none()
                | st.integers(4, 1024)
                | st.tuples(st.integers(4, 1024), st.integers(4, 1024)),
                "resize": st.sampled_from(["crop", "pad", "stretch"]),
                "jpeg_draft": st.booleans(),
            },
        ),
        "model": st.fixed_dictionaries(
            {},
            optional={
                "n_prototypes": st.integers(1, 1000),
                "init_value": st.floats(0, 1),
                "gaussian_window_std": st.none() | st.floats(0.1, 100),
            },
        ),
        "training": st.fixed_dictionaries(
            {},
            optional={
                "lr": st.floats(1e-9, 1),
                "gamma": st.floats(0.01, 1) | st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
                "seed": st.integers(0, 2**32 - 1),
            },
        ),
    },
)


@PATIENT
@given(VALID)
def test_round_trip_through_dict_json_and_yaml(values):
    config = RunConfig.from_dict(values)
    assert RunConfig.from_dict(config.to_dict()) == config
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert RunConfig.from_yaml(config.to_yaml()) == config


@PATIENT
@given(VALID)
def test_schema_accepts_what_the_parser_accepts(values):
    jsonschema.validate(RunConfig.from_dict(values).to_dict(), RunConfig.json_schema())


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KNOWN = st.sampled_from(["data", "model", "training", "results", "preset_name", "epochs", "sprites", "gamma"])


@PATIENT
@given(st.dictionaries(KNOWN, st.dictionaries(KNOWN, JUNK) | JUNK))
def test_anything_gives_a_configuration_or_a_config_error(values):
    errors = None
    try:
        config = RunConfig.from_dict(values)
    except ConfigError as error:
        errors = error.errors
    if errors is None:
        jsonschema.validate(config.to_dict(), RunConfig.json_schema())
    else:
        assert errors
        assert all(isinstance(field, str) and reason for field, reason in errors)


@PATIENT
@given(st.text(max_size=30))
def test_any_override_gives_a_configuration_or_a_config_error(text):
    for override in (text, f"model.n_prototypes={text}", f"{text}=3"):
        errors = [("none", "none")]
        try:
            RunConfig().with_overrides([override])
        except ConfigError as error:
            errors = error.errors
        assert errors


def test_all_problems_are_reported_at_once():
    values = {
        "model": {"n_prototypes": 0, "encoder": "resnet19", "colour": 1, "morpho_kernel_size": 4},
        "training": {"lr": "fast", "epochs": True, "gamma": [0.1, 0.2, 0.3]},
        "modle": {},
    }
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict(values)
    fields = [field for field, _ in caught.value.errors]
    assert fields == [
        "model.colour",
        "model.encoder",
        "model.morpho_kernel_size",
        "model.n_prototypes",
        "modle",
        "training.epochs",
        "training.gamma",
        "training.lr",
    ]
    reasons = dict(caught.value.errors)
    assert reasons["model.n_prototypes"] == "must be at least 1, not 0"
    assert "resnet20" in reasons["model.encoder"]
    assert "n_prototypes" in reasons["model.colour"]


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("training.lr=1e-4", 1e-4),  # text in YAML 1.1
        ("training.lr=0.5", 0.5),
        ("training.epochs=20.0", 20),
        ("training.curriculum=[5, 18]", (5, 18)),
        ("training.curriculum=null", None),
        ("training.gamma=[1, 0.1]", (1.0, 0.1)),
        ("training.device=cuda:1", "cuda:1"),
    ],
)
def test_overrides_are_read_as_yaml(override, value):
    config = RunConfig().with_overrides([override])
    field = override.partition("=")[0].removeprefix("training.")
    assert getattr(config.training, field) == value
    assert type(getattr(config.training, field)) is type(value)


def test_overrides_reach_nested_sections_and_keep_the_rest():
    config = RunConfig().with_overrides(["model.sprites.freeze_mask=3", "model.selection.method=linear"])
    assert config.model.sprites.freeze_mask == 3
    assert config.model.selection.method == "linear"
    assert config.model.n_prototypes == RunConfig().model.n_prototypes


@pytest.mark.parametrize("override", ["model.n_prototypes", "n_prototypes=3", "=3", "model.=3", "model.x=[1"])
def test_malformed_override(override):
    with pytest.raises(ConfigError):
        RunConfig().with_overrides([override])


def test_sections_built_directly_are_checked_too():
    with pytest.raises(ConfigError, match=r"model\.n_prototypes"):
        RunConfig(model=ModelConfig(n_prototypes=-1))
    config = RunConfig(training=TrainingConfig(milestones=[3, 5]))  # type: ignore[arg-type]
    assert config.training.milestones == (3, 5)


def test_booleans_are_no_numbers_and_infinities_no_values():
    for value in (True, float("nan"), float("inf"), "nan"):
        with pytest.raises(ConfigError, match=r"training\.lr"):
            RunConfig.from_dict({"training": {"lr": value}})


def test_freeze_keeps_true_apart_from_one_epoch():
    frozen = RunConfig().replace(model={"sprites": {"freeze_mask": True}}).model.sprites.freeze_mask
    one = RunConfig().replace(model={"sprites": {"freeze_mask": 1}}).model.sprites.freeze_mask
    assert frozen is True
    assert one == 1
    assert one is not True


@pytest.mark.parametrize(
    ("sequence", "names"),
    [
        ("identity_affine_tps", ["identity", "affine", "tps"]),
        ("id_col_aff_morphological_thinplatespline", ["identity", "color", "affine", "morpho", "tps"]),
        ("proj", ["projective"]),
        (" Homography ", ["projective"]),
    ],
)
def test_sequences_and_aliases(sequence, names):
    assert parse_sequence(sequence) == names


@pytest.mark.parametrize("sequence", ["", "_", "affine_", "affine__tps", "warp", "affine_aff"])
def test_wrong_sequences(sequence):
    with pytest.raises(ValueError, match=r"unknown transformation|given twice"):
        parse_sequence(sequence)


def test_not_yaml_and_not_a_mapping():
    for text in ("a: [", "- 1\n- 2", "just text"):
        with pytest.raises(ConfigError):
            RunConfig.from_yaml(text)
    assert RunConfig.from_yaml("") == RunConfig()


def test_yaml_file(tmp_path):
    config = RunConfig().replace(model={"n_prototypes": 7})
    config.to_yaml(tmp_path / "config.yaml")
    assert RunConfig.from_yaml(tmp_path / "config.yaml") == config
