"""What the notebook `dti_discover` does before it trains: images and configuration from a platform's request."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dti_sprites.config import RunConfig
from dti_sprites.platform import config_from_parameters
from dti_sprites.recipe import Reporter

if TYPE_CHECKING:
    from dti_sprites.data import ImageSet


def prepare(
    folder: Path,
    request: Mapping[str, Any],
    *,
    device: str = "auto",
    sources: Mapping[str, Mapping[str, Any]] | None = None,
    reporter: Reporter | None = None,
) -> tuple[ImageSet, RunConfig]:
    """The images in `folder`, and the configuration that the platform's `request` means for so many of them.

    Unreadable images are left out with a warning: a front has no way to ask. Raises ConfigError and DataError.
    """
    from dti_sprites.data import check_enough, load_images

    # Which images are loaded, and how, does not depend on their number; the schedule does.
    data = config_from_parameters(request).replace(data={"unreadable": "skip"}).data

    def report(done: int, total: int) -> None:
        if reporter is not None:
            reporter.progress(done, total, unit="images", phase="reading images")

    images = load_images(folder, data, progress=report)
    config = config_from_parameters(request, len(images))
    check_enough(images, config)
    if images.skipped and reporter is not None:
        names = ", ".join(name for name, _ in images.skipped[:5])
        reporter.warn(f"{len(images.skipped)} images could not be read and were left out: {names}")
    if sources:
        images = dataclasses.replace(images, sources=[dict(sources.get(name, {})) for name in images.names])
    batch_size = min(config.training.batch_size, len(images))
    training = {"batch_size": batch_size, "device": device}
    return images, config.replace(data={"unreadable": "skip"}, training=training)
