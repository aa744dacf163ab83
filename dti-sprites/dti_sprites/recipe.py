"""From the flat parameters of a notebook to a checked configuration, and from a folder to images that fit it.

`configure` needs no images and does not import PyTorch, so that a service can check a request before it queues it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dti_sprites.config import RunConfig
from dti_sprites.errors import ConfigError

if TYPE_CHECKING:
    from dti_sprites.data import ImageSet

# Where each flat parameter stands in RunConfig. A value of None leaves the preset's.
FIELDS = {
    "n_prototypes": "model.n_prototypes",
    "transformation_sequence": "model.transformation_sequence",
    "init": "model.init",
    "batch_size": "training.batch_size",
    "lr": "training.lr",
    "seed": "training.seed",
    "device": "training.device",
    "image_size": "data.image_size",
    "resize": "data.resize",
    "unreadable": "data.unreadable",
}
# Further parameters of DTI-Sprites; `background_option` is the one that has no single place.
SPRITE_FIELDS = {
    "n_layers": "model.sprites.n_layers",
    "occlusion": "model.sprites.occlusion",
    "empty_sprite": "model.sprites.empty_sprite",
    "sprite_size": "model.sprites.sprite_size",
    "layer_transformation_sequence": "model.sprites.layer_transformation_sequence",
}
SAMPLE_PRESET, OWN_IMAGES_PRESET = "digits", "crops"
SPRITES_SAMPLE_PRESET, SPRITES_PRESET, LAYERS_PRESET = "sprites-digits", "sprites-crops", "sprites-scenes"

# The share of the training after which each further transformation becomes active, by their number.
CURRICULA = {
    1: (),
    2: (0.10,),
    3: (0.10, 0.30),
    4: (0.10, 0.30, 0.50),
    5: (0.10, 0.20, 0.30, 0.50),
    6: (0.10, 0.20, 0.30, 0.40, 0.50),
}
LR_DROP = 0.85

# Training of these presets, for sets of unknown size: as many passes as give about so many iterations, within bounds.
SIZED = (OWN_IMAGES_PRESET, SPRITES_PRESET, LAYERS_PRESET)
ITERATIONS, MIN_EPOCHS, MAX_EPOCHS = 3000, 20, 400


class Reporter(Protocol):
    """What `prepare` tells about its work; `dti_service.run.Run` is one."""

    def progress(self, step: int, total: int, *, unit: str, phase: str) -> None: ...
    def warn(self, message: str) -> None: ...


def configure(parameters: Mapping[str, Any], *, sample: bool = False) -> RunConfig:
    """The configuration that `parameters` (preset, epochs and the names in FIELDS) describe.

    `preset` "auto" means the preset of the sample images or, by default, of a person's own images. Another
    transformation sequence or number of epochs than the preset's gets a schedule of the same proportions.
    Raises ConfigError whose fields are the flat names.
    """
    given = given_of(parameters, FIELDS)
    preset = given.pop("preset", "auto")
    if preset == "auto":
        preset = SAMPLE_PRESET if sample else OWN_IMAGES_PRESET
    with flat_names(FIELDS):
        return with_given(RunConfig.preset(preset), given, FIELDS)


def given_of(parameters: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """The parameters that have a value. Raises ConfigError for names that are neither in `fields` nor general."""
    given = {name: value for name, value in parameters.items() if value is not None}
    unknown = given.keys() - fields.keys() - {"preset", "epochs"}
    if unknown:
        raise ConfigError([(name, "unknown parameter") for name in sorted(unknown)])
    return given


def with_given(config: RunConfig, given: Mapping[str, Any], fields: Mapping[str, str]) -> RunConfig:
    """`config` with the values of `given` in their places, and a schedule that suits them."""
    values = dict(given)
    epochs = values.pop("epochs", None)
    sequence_changes = "transformation_sequence" in values
    changes: dict[str, Any] = {}
    for name, value in values.items():
        *path, key = fields[name].split(".")
        section = changes
        for part in path:
            section = section.setdefault(part, {})
        section[key] = value
    before = config.training
    if sequence_changes:
        changes.setdefault("training", {}).update(curriculum=None, coarse_epochs=None, augmentation=0.0)
    if (
        "n_prototypes" in values
    ):  # a share fixed for the preset's number of clusters may exceed 1/K of another
        changes.setdefault("training", {})["empty_cluster_threshold"] = None
    config = config.replace(**changes)
    if sequence_changes:
        config = with_curriculum(config)
        if "morpho" not in config.model.transformations:  # whose element is measured in pixels
            config = config.replace(training={"coarse_epochs": before.coarse_epochs})
        if config.warp_epochs():
            config = config.replace(training={"augmentation": before.augmentation})
    return config if epochs is None else config.with_epochs(epochs)


@contextmanager
def flat_names(fields: Mapping[str, str]) -> Iterator[None]:
    """Problems that the block finds are told by the flat names of the settings."""
    by_field = {path: name for name, path in fields.items()} | {"training.epochs": "epochs"}
    try:
        yield
    except ConfigError as error:
        raise ConfigError([(by_field.get(field, field), reason) for field, reason in error.errors]) from None


def with_curriculum(config: RunConfig) -> RunConfig:
    """`config` with its transformations activated one by one at the usual shares of its epochs."""
    epochs, count = config.training.epochs, len(config.model.transformations)
    shares = CURRICULA.get(count) or tuple(0.6 * (i + 1) / count for i in range(count - 1))
    return config.replace(
        training={"curriculum": [min(round(share * epochs), epochs - 1) for share in shares]}
    )


def with_iterations(config: RunConfig, n_images: int) -> RunConfig:
    """`config` with as many epochs as give about ITERATIONS steps over `n_images`, schedule in proportion."""
    per_epoch = math.ceil(n_images / config.training.batch_size)
    return config.with_epochs(min(max(round(ITERATIONS / per_epoch), MIN_EPOCHS), MAX_EPOCHS))


def prepare(
    folder: str | Path,
    parameters: Mapping[str, Any],
    *,
    sample: bool = False,
    sprites: bool = False,
    sources: Mapping[str, Mapping[str, Any]] | None = None,
    reporter: Reporter | None = None,
) -> tuple[ImageSet, RunConfig]:
    """Load the images that `parameters` ask for; returns them with the configuration that suits them.

    `sprites`: the parameters are those of DTI-Sprites (`dti_sprites.sprites_recipe`) instead of clustering.
    `sources` tells where images come from (document, page ...), by their names; it goes through to the tables.

    Raises ConfigError, and DataError when there are no images, unreadable ones, or too few.
    """
    from dti_sprites.data import check_enough, load_images

    if sprites:
        from dti_sprites.sprites_recipe import configure_sprites, suit_brightness

        config = configure_sprites(parameters, sample=sample)
    else:
        config = configure(parameters, sample=sample)
    report = (
        None
        if reporter is None
        else lambda done, total: reporter.progress(done, total, unit="images", phase="reading images")
    )
    images = load_images(folder, config.data, progress=report)
    check_enough(images, config)
    if images.skipped and reporter is not None:
        names = ", ".join(name for name, _ in images.skipped[:5])
        reporter.warn(f"{len(images.skipped)} files could not be read and were left out: {names}")
    if sources:
        images = dataclasses.replace(images, sources=[dict(sources.get(name, {})) for name in images.names])
    batch_size = min(config.training.batch_size, len(images))
    config = config.replace(training={"batch_size": batch_size})
    if sprites:
        config = suit_brightness(config, images, parameters.get("background_option"))
    if config.preset_name in SIZED and parameters.get("epochs") is None:
        config = with_iterations(config, len(images))
    return images, config


def known_labels(folder: str | Path, images: ImageSet, table: str | Path | None = None) -> list[str] | None:
    """Labels of the images from `table`, or from labels.csv in `folder` or beside it; None when there is none.

    Raises DataError when a given table cannot be used.
    """
    from dti_sprites.data.labels import find_labels_file, read_labels
    from dti_sprites.errors import DataError

    if table is not None:
        return read_labels(Path(table).expanduser(), images.names)
    try:
        return read_labels(find_labels_file(Path(folder)), images.names)
    except DataError:
        return None


def compare_with_kmeans(images: ImageSet, labels: list[str] | None, config: RunConfig) -> dict[str, float]:
    """Scores of plain k-means on the pixels against the same labels: `kmeans_accuracy`, `kmeans_nmi`.

    Empty without labels: there is nothing to compare.
    """
    if labels is None:
        return {}
    from dti_sprites.evaluation import clustering_metrics, kmeans_baseline

    known = images.with_labels(labels)
    count = config.model.n_prototypes
    predicted = kmeans_baseline(images, count, seed=config.training.seed)
    assert known.labels is not None
    scored = known.labels >= 0
    scores = clustering_metrics(known.labels[scored], predicted[scored], count)
    return {f"kmeans_{name}": float(scores[name]) for name in ("accuracy", "nmi")}
