"""From the flat parameters of a notebook to a checked configuration, and from a folder to images that fit it.

`configure` needs no images and does not import PyTorch, so that a service can check a request before it queues it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
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
SAMPLE_PRESET, OWN_IMAGES_PRESET = "digits", "crops"

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

# Training of a preset for sets of unknown size: as many passes as give about this many iterations, within bounds.
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
    given = {name: value for name, value in parameters.items() if value is not None}
    unknown = given.keys() - FIELDS.keys() - {"preset", "epochs"}
    if unknown:
        raise ConfigError([(name, "unknown parameter") for name in sorted(unknown)])
    preset = given.pop("preset", "auto")
    epochs = given.pop("epochs", None)
    if preset == "auto":
        preset = SAMPLE_PRESET if sample else OWN_IMAGES_PRESET
    try:
        config = RunConfig.preset(preset)
        sequence_changes = "transformation_sequence" in given
        sections: dict[str, dict[str, Any]] = {}
        for name, value in given.items():
            section, key = FIELDS[name].split(".")
            sections.setdefault(section, {})[key] = value
        if sequence_changes:
            sections.setdefault("training", {})["curriculum"] = None
        if (
            "n_prototypes" in given
        ):  # a share fixed for the preset's number of clusters may exceed 1/K of another
            sections.setdefault("training", {})["empty_cluster_threshold"] = None
        config = config.replace(**sections)
        if sequence_changes:
            config = with_curriculum(config)
        if epochs is not None:
            config = config.with_epochs(epochs)
    except ConfigError as error:
        raise ConfigError([(_flat(field), reason) for field, reason in error.errors]) from None
    return config


def _flat(field: str) -> str:
    by_field = {path: name for name, path in FIELDS.items()} | {"training.epochs": "epochs"}
    return by_field.get(field, field)


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
    sources: Mapping[str, Mapping[str, Any]] | None = None,
    reporter: Reporter | None = None,
) -> tuple[ImageSet, RunConfig]:
    """Load the images that `parameters` ask for; returns them with the configuration that suits them.

    `sources` tells where images come from (document, page ...), by their names; it goes through to the tables.

    Raises ConfigError, and DataError when there are no images, unreadable ones, or too few.
    """
    from dti_sprites.data import check_enough, load_images

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
    if config.preset_name == OWN_IMAGES_PRESET and parameters.get("epochs") is None:
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
