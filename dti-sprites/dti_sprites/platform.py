"""The parameters of the DISCOVER platform's forms, flat and nested, as a checked configuration.

Flat (`0_dti` and its kin): a number of epochs, no curriculum, images cropped. Nested: a budget of iterations per
transformation, whose running sums unlock the next transformation, images stretched. Both kinds of value may be mixed;
`transformation_sequence` decides about schedule and images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dti_sprites.config import RunConfig, parse_sequence
from dti_sprites.config.fields import Mismatch, parse_value
from dti_sprites.errors import ConfigError
from dti_sprites.recipe import with_curriculum

KMEANS, LEARN_BACKGROUND, CONSTANT_BACKGROUND, LEARN_FOREGROUND = BACKGROUND_OPTIONS = (
    *("0_dti", "1_learn_bg", "2_const_bg", "3_learn_fg"),
)
PRESETS = {
    KMEANS: "platform-kmeans",
    LEARN_BACKGROUND: "platform-learn-bg",
    CONSTANT_BACKGROUND: "platform-const-bg",
    LEARN_FOREGROUND: "platform-learn-fg",
}
SOURCES = {"data": "pixels", "pixels": "pixels", "mlp": "mlp", "unet": "unet"}
PARAMETERS = (
    *("n_prototypes", "background_option", "use_sprites", "transformation_sequence"),
    *("empty_cluster_threshold", "lr", "source", "epochs", "batch_size", "milestones", "curriculum", "seed"),
)
ITERATIONS_PER_TRANSFORMATION = 1000
NESTED_LR, LR_DROP = 1e-4, 0.85
# Without a number of prototypes, the platform's tasks take these.
DEFAULT_KMEANS, DEFAULT_SPRITES = 20, 40
# What the flat name of a setting of RunConfig is, in messages.
_FLAT = {
    "model.n_prototypes": "n_prototypes",
    "model.transformation_sequence": "transformation_sequence",
    "model.tps_grid_size": "transformation_sequence.grid_size",
    "model.source": "source",
    "training.lr": "lr",
    "training.epochs": "epochs",
    "training.batch_size": "batch_size",
    "training.seed": "seed",
    "training.curriculum": "curriculum",
    "training.milestones": "milestones",
    "training.empty_cluster_threshold": "empty_cluster_threshold",
}


@dataclass
class _Reader:
    """Values by name, with what is wrong with them."""

    values: Mapping[str, Any]
    problems: list[tuple[str, str]] = field(default_factory=list)
    prefix: str = ""

    def get(self, name: str, kind: Any, default: Any = None) -> Any:
        """The value as `kind`; text that spells it (form data, JSON in JSON) counts too."""
        value = self.values.get(name)
        if value is None or value == "":
            return default
        for candidate in (value, _spelled(value)):
            try:
                return parse_value(kind, candidate)
            except Mismatch as mismatch:
                reason = f"must be {mismatch}, not {value!r}"
        self.problems.append((self.prefix + name, reason))
        return default

    def section(self, name: str, possible: tuple[str, ...]) -> _Reader | None:
        """The nested options under `name`, or None when its value is no mapping."""
        value = _spelled(self.values.get(name))
        if not isinstance(value, Mapping):
            return None
        nested = _Reader(value, self.problems, f"{name}.")
        nested.refuse_unknown(possible)
        return nested

    def refuse_unknown(self, possible: tuple[str, ...]) -> None:
        for name in self.values:
            if name not in possible:
                self.problems.append((f"{self.prefix}{name}", f"unknown; possible: {', '.join(possible)}"))


def _spelled(value: Any) -> Any:
    """What a text spells as JSON (or a list of numbers with commas), otherwise the value itself."""
    if not isinstance(value, str):
        return value
    for text in (value.strip(), f"[{value.strip()}]"):
        try:
            return json.loads(text)
        except ValueError:
            continue
    return value


def config_from_parameters(parameters: Mapping[str, Any], n_images: int | None = None) -> RunConfig:
    """The configuration that the platform's `parameters` describe.

    `n_images` turns budgets of iterations into epochs. When it is not known yet (a request is checked before its
    images have come), one epoch is taken to be one iteration: the checks are the same.
    Raises ConfigError with every problem, under the names of the parameters.
    """
    if not isinstance(parameters, Mapping):
        raise ConfigError([("parameters", "must be an object")])
    reader = _Reader(parameters)
    reader.refuse_unknown(PARAMETERS)
    option, sections = _background(reader)
    base = RunConfig.preset(PRESETS[option])
    kmeans = option == KMEANS
    model: dict[str, Any] = sections
    training: dict[str, Any] = {}
    model["n_prototypes"] = reader.get("n_prototypes", int, DEFAULT_KMEANS if kmeans else DEFAULT_SPRITES)
    if (source := reader.get("source", str)) is not None:
        if source in SOURCES:
            model["source"] = SOURCES[source]
        else:
            reader.problems.append(("source", f"must be one of {', '.join(SOURCES)}, not {source!r}"))
    for name, kind in (("lr", float), ("epochs", int), ("batch_size", int), ("seed", int)):
        if (value := reader.get(name, kind)) is not None:
            training[name] = value
    _threshold(reader, model["n_prototypes"], training)

    nested = reader.section(
        "transformation_sequence", ("transforms", "iterations", "milestones", "grid_size")
    )
    data: dict[str, Any] = {}
    if nested is not None:
        data["resize"] = "stretch"
        training.setdefault("lr", NESTED_LR)
        training.setdefault("batch_size", 16)
        _nested_schedule(nested, model, training, n_images)
    else:
        _flat_schedule(reader, base, model, training)
    try:
        config = base.replace(data=data, model=model, training=training)
        if nested is not None and not reader.problems and config.training.curriculum is None:
            config = with_curriculum(config)
    except ConfigError as error:
        reader.problems += [(_FLAT.get(name, name), reason) for name, reason in error.errors]
    if reader.problems:
        raise ConfigError(dict.fromkeys(reader.problems))
    return config


def _threshold(reader: _Reader, n_prototypes: Any, training: dict[str, Any]) -> None:
    """The share below which a cluster is empty: the form's 0.025 whatever K, kept only where it can work."""
    value = reader.get("empty_cluster_threshold", float)
    if value is None:
        return
    if not 0 <= value < 1:
        reader.problems.append(("empty_cluster_threshold", f"must be from 0 to below 1, not {value:g}"))
    elif isinstance(n_prototypes, int) and n_prototypes * value < 1:
        training["empty_cluster_threshold"] = value
    # From 1/K on, clusters of the usual size would count as empty: the default 0.2/K is meant.


def _background(reader: _Reader) -> tuple[str, dict[str, Any]]:
    """(the flat option that is nearest, changes to the model) of `background_option` and `use_sprites`."""
    nested = reader.section("background_option", ("use_sprites", "freeze", "init", "value"))
    use_sprites = reader.get("use_sprites", bool)
    if nested is None:
        option = reader.get("background_option", str)
        if option is not None and option not in BACKGROUND_OPTIONS:
            reason = f"must be one of {', '.join(BACKGROUND_OPTIONS)}, not {option!r}"
            reader.problems.append(("background_option", reason))
            return KMEANS, {}
        if option is None:
            return (LEARN_BACKGROUND if use_sprites else KMEANS), {}
        if use_sprites is not None and use_sprites == (option == KMEANS):
            reader.problems.append(("use_sprites", f"contradicts background_option {option!r}"))
        return option, {}
    sprites = nested.get("use_sprites", bool, bool(use_sprites))
    freeze = nested.get("freeze", tuple[bool | int, ...], ())
    init = nested.get("init", tuple[str, ...], ())
    value = nested.get("value", tuple[float, ...], ())
    longest = 3 if sprites else 1
    for name, entries in (("init", init), ("value", value), ("freeze", freeze)):
        if len(entries) > 3 or (name == "init" and len(entries) > longest):
            words = "foreground, background, mask" if sprites else "the prototypes"
            reason = f"must have at most {longest} entries ({words}), not {len(entries)}"
            reader.problems.append((f"background_option.{name}", reason))
            return KMEANS, {}
    if not sprites:
        model: dict[str, Any] = {"init": init[0]} if init else {}
        if value:
            model["init_value"] = value[0]
        return KMEANS, model
    return LEARN_BACKGROUND, {"sprites": _sprites(freeze, init, value)}


def _sprites(freeze: tuple[Any, ...], init: tuple[str, ...], value: tuple[float, ...]) -> dict[str, Any]:
    """Settings of the foreground, background and mask from lists in that order; missing entries stay open."""
    settings: dict[str, Any] = {"value_foreground": 0.1, "value_background": 0.5}
    for part, entry in zip(("foreground", "background", "mask"), freeze):
        settings[f"freeze_{part}"] = entry
        if entry is True and part != "mask":
            settings[f"init_{part}"] = "constant"  # a frozen colour can only be a uniform one
    for part, entry in zip(("foreground", "background", "mask"), init):
        if settings.get(f"freeze_{part}") is True and part != "mask":
            continue
        # The form's label of "sample" is "Mean"; one image at random would be no background.
        settings[f"init_{part}"] = "mean" if (part, entry) == ("background", "sample") else entry
    for part, number in zip(("foreground", "background", "mask"), value):
        if part != "mask" or settings.get("init_mask") == "constant":
            settings[f"value_{part}"] = number
    return settings


def _flat_schedule(reader: _Reader, base: RunConfig, model: dict[str, Any], training: dict[str, Any]) -> None:
    """Epochs, with the platform's drop of the learning rate at 350 of 400 in proportion."""
    sequence = reader.get("transformation_sequence", str)
    if sequence is not None:
        model["transformation_sequence"] = sequence
    epochs = training.get("epochs", base.training.epochs)
    milestones = reader.get("milestones", tuple[int, ...] | int)
    if milestones is None and isinstance(epochs, int) and base.training.milestones:
        scaled = {round(epoch * epochs / base.training.epochs) for epoch in base.training.milestones}
        milestones = tuple(sorted(epoch for epoch in scaled if 1 <= epoch < epochs))
    if milestones is not None:
        training["milestones"] = (milestones,) if isinstance(milestones, int) else milestones
    curriculum = reader.get("curriculum", tuple[int, ...] | int)
    if curriculum is not None:
        training["curriculum"] = (curriculum,) if isinstance(curriculum, int) else curriculum


def _nested_schedule(
    nested: _Reader, model: dict[str, Any], training: dict[str, Any], n_images: int | None
) -> None:
    """Iterations to epochs; a transformation is unlocked in the epoch in which its iteration falls."""
    sequence = nested.get("transforms", str, "identity_affine_morpho")
    model["transformation_sequence"] = sequence
    try:
        names = parse_sequence(sequence)
    except ValueError:  # the configuration says what is wrong
        return
    iterations = nested.get("iterations", int, ITERATIONS_PER_TRANSFORMATION * len(names))
    if (grid := nested.get("grid_size", int)) is not None and "tps" in names:
        model["tps_grid_size"] = grid
    if iterations < 1:
        nested.problems.append(
            ("transformation_sequence.iterations", f"must be at least 1, not {iterations}")
        )
        return
    batches = 1
    if n_images is not None and training["batch_size"] >= 1:
        batches = max(math.ceil(n_images / training["batch_size"]), 1)
    # Each transformation gets at least one epoch, however small its budget.
    epochs = max(iterations // batches, len(names))
    training["epochs"] = epochs
    drop = round(LR_DROP * epochs)
    training["milestones"] = (drop,) if 1 <= drop < epochs else ()
    milestones = nested.get("milestones", tuple[int, ...])
    if not milestones:
        return
    name = "transformation_sequence.milestones"
    if len(milestones) != len(names) - 1:
        reason = (
            f"must have {len(names) - 1} entries, one fewer than the transformations, not {len(milestones)}"
        )
        nested.problems.append((name, reason))
    elif list(milestones) != sorted(milestones) or milestones[0] < 0 or milestones[-1] >= iterations:
        reason = (
            f"must not decrease and stay between 0 and the iterations ({iterations}), not {list(milestones)}"
        )
        nested.problems.append((name, reason))
    else:
        last = epochs - len(milestones)  # so that even the last one is unlocked before the end
        training["curriculum"] = tuple(
            min(iteration // batches + 1, last + i) for i, iteration in enumerate(milestones)
        )
