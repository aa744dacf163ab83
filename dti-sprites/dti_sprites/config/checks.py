"""Rules between settings, checked once every single one is of its type and in its range."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dti_sprites.config.fields import Problem

if TYPE_CHECKING:
    from dti_sprites.config.run import RunConfig

MAX_COMBINATIONS = 4096  # compositions that the exhaustive search may render per image

IN_PLACE = {"identity", "color", "linearcolor", "morpho"}  # transformations that move nothing


def as_pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width) of a size given as one side or a pair."""
    return (size, size) if isinstance(size, int) else size


def cross_check(config: RunConfig) -> list[Problem]:
    """Everything that is inconsistent in `config`, as (field, reason)."""
    problems = _schedule(config) + _model(config)
    if config.model.kind == "sprites":
        problems += _sprites(config)
    return problems


def _curriculum(
    field: str, curriculum: tuple[int, ...] | None, names: list[str], epochs: int
) -> list[Problem]:
    if curriculum is None:
        return []
    problems = []
    if len(curriculum) != len(names) - 1:
        problems.append((
            field,
            f"must have {len(names) - 1} entries, one fewer than the transformations ({', '.join(names)}), "
            f"not {len(curriculum)}",
        ))  # fmt: skip
    if list(curriculum) != sorted(curriculum):
        problems.append((field, f"must not decrease: {list(curriculum)}"))
    late = [epoch for epoch in curriculum if epoch >= epochs]
    if late:
        problems.append((field, f"must stay below training.epochs ({epochs}): {late} would never be reached"))
    return problems


def _schedule(config: RunConfig) -> list[Problem]:
    training, epochs = config.training, config.training.epochs
    problems = _curriculum("training.curriculum", training.curriculum, config.model.transformations, epochs)
    milestones = list(training.milestones)
    if milestones != sorted(set(milestones)):
        problems.append(("training.milestones", f"must increase: {milestones}"))
    late = [epoch for epoch in milestones if epoch >= epochs]
    if late:
        reason = f"must stay below training.epochs ({epochs}): {late} would never be reached"
        problems.append(("training.milestones", reason))
    share, k = training.empty_cluster_threshold, config.model.n_prototypes
    if share is not None and k > 1 and share >= 1 / k:
        reason = f"must be below 1 / n_prototypes ({1 / k:.3g}), or well-used prototypes restart for ever"
        problems.append(("training.empty_cluster_threshold", reason))
    if training.split_merge_interval is not None:
        model = config.model
        if (model.kind, model.selection.method, model.source) != ("kmeans", "min", "pixels"):
            reason = "needs model.kind kmeans with model.selection.method min and model.source pixels; leave it empty"
            problems.append(("training.split_merge_interval", reason))
    if training.coarse_epochs is not None:
        problems += [("training.coarse_epochs", reason) for reason in _coarse(config, training.coarse_epochs)]
    if training.augmentation and not config.warp_epochs():
        reason = "needs a transformation that moves pixels, such as affine; set it to 0"
        problems.append(("training.augmentation", reason))
    return problems


def _coarse(config: RunConfig, coarse_epochs: int) -> list[str]:
    """Why epochs at half the resolution cannot be."""
    model, training = config.model, config.training
    reasons = []
    if coarse_epochs >= training.epochs:
        reasons.append(f"must stay below training.epochs ({training.epochs}), not {coarse_epochs}")
    if model.kind == "gmm" or model.source != "pixels":
        reasons.append("needs model.kind kmeans or sprites with model.source pixels; leave it empty")
    if training.split_merge_interval is not None:
        reasons.append("cannot be combined with training.split_merge_interval: leave one of them empty")
    if any(name == "morpho" and epoch < coarse_epochs for name, epoch in config.activations()):
        reasons.append(
            "must end before morpho becomes active, whose structuring element is measured in pixels: "
            "delay it in the curriculum"
        )
    return reasons


def _model(config: RunConfig) -> list[Problem]:
    model = config.model
    problems = []
    if model.kind == "gmm":
        if model.selection.method != "min":
            problems.append(("model.selection.method", "must be min when model.kind is gmm"))
        if model.source != "pixels":
            problems.append(("model.source", "must be pixels when model.kind is gmm"))
    if model.selection.method == "min":
        for name in ("freq_weight", "bin_weight"):
            if getattr(model.selection, name):
                reason = "needs predicted probabilities: set model.selection.method to linear or marionette"
                problems.append((f"model.selection.{name}", reason))
    size = as_pair(config.data.image_size)
    if model.kind == "sprites":
        size = as_pair(model.sprites.sprite_size) or size
    if model.source == "unet" and size and any(side % 16 for side in size):
        field = "model.sprites.sprite_size" if model.sprites.sprite_size else "data.image_size"
        problems.append((field, f"must be a multiple of 16 when model.source is unet, not {list(size)}"))
    return problems


def _sprites(config: RunConfig) -> list[Problem]:
    sprites, epochs, prefix = config.model.sprites, config.training.epochs, "model.sprites"
    problems = []
    layer = sprites.layer_transformations
    if layer:
        problems += _curriculum(f"{prefix}.layer_curriculum", sprites.layer_curriculum, layer, epochs)
    elif sprites.layer_curriculum is not None:
        problems.append((f"{prefix}.layer_curriculum", "needs layer_transformation_sequence"))
    if sprites.n_backgrounds:
        names = config.background_transformations
        curriculum = sprites.background_curriculum
        problems += _curriculum(f"{prefix}.background_curriculum", curriculum, names, epochs)
    problems += _sprite_size(config) + _sprite_sources(config)
    combinations = config.model.n_prototypes**sprites.n_layers * max(sprites.n_backgrounds, 1)
    if sprites.estimate_minimum is False and combinations > MAX_COMBINATIONS:
        reason = f"must be true: {combinations} combinations are too many to try (at most {MAX_COMBINATIONS})"
        problems.append((f"{prefix}.estimate_minimum", reason))
    for name in ("freeze_sprite", "freeze_foreground", "freeze_background", "freeze_mask"):
        frozen = getattr(sprites, name)
        if not isinstance(frozen, bool) and frozen >= epochs:
            problems.append((f"{prefix}.{name}", f"must stay below training.epochs ({epochs}), not {frozen}"))
    background_fixed = sprites.freeze_background is True or not sprites.n_backgrounds
    if sprites.freeze_foreground is True and sprites.freeze_mask is True and background_fixed:
        problems.append(
            (f"{prefix}.freeze_mask", "everything is frozen: free the colours, masks or background")
        )
    return problems


def _sprite_size(config: RunConfig) -> list[Problem]:
    field, sprites = "model.sprites.sprite_size", config.model.sprites
    size, image = as_pair(sprites.sprite_size), as_pair(config.data.image_size)
    if size is None or size == image:
        return []
    if image and (size[0] > image[0] or size[1] > image[1]):
        return [(field, f"must not exceed data.image_size {list(image)}, not {list(size)}")]
    if not sprites.layer_transformations:
        reason = "needs layer_transformation_sequence (such as color_position) to place sprites"
        return [(field, reason)]
    names = sprites.layer_transformations
    placing = next((i for i, name in enumerate(names) if name not in IN_PLACE), None)
    if placing is None:
        reason = (
            f"needs a transformation in layer_transformation_sequence that moves sprites, not only {names}"
        )
        return [(field, reason)]
    curriculum = sprites.layer_curriculum or ()
    if len(curriculum) >= placing and any(curriculum[:placing]):
        reason = (
            f"must activate {names[placing]} from the start (0): it places sprites smaller than the image"
        )
        return [("model.sprites.layer_curriculum", reason)]
    return []


def _sprite_sources(config: RunConfig) -> list[Problem]:
    """Starts and choices that cannot work with where sprites come from and how they are chosen."""
    model, sprites, prefix = config.model, config.model.sprites, "model.sprites"
    problems = []
    if model.selection.method != "min":
        if model.selection.weighting != "comp":
            problems.append(("model.selection.weighting", "must be comp when model.kind is sprites"))
        if sprites.n_backgrounds > 1:
            reason = "must be at most 1 when model.selection.method is not min"
            problems.append((f"{prefix}.n_backgrounds", reason))
    if model.source != "pixels":
        for name in ("init_foreground", "init_background", "init_mask"):
            if getattr(sprites, name) in ("kmeans", "random_color"):
                reason = f"must not be {getattr(sprites, name)} when model.source is {model.source}: all start alike"
                problems.append((f"{prefix}.{name}", reason))
    elif sprites.n_backgrounds > 1 and sprites.init_background in ("constant", "mean", "gaussian"):
        reason = f"must be sample, kmeans or random with {sprites.n_backgrounds} backgrounds: equal ones stay equal"
        problems.append((f"{prefix}.init_background", reason))
    return problems
