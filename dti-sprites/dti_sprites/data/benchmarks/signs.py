"""GTSRB-8: eight classes of traffic signs."""

from __future__ import annotations

import dataclasses

import numpy as np

from dti_sprites.data.benchmarks.digits import from_arrays
from dti_sprites.data.benchmarks.registry import Place, benchmark, find
from dti_sprites.data.imageset import ImageSet
from dti_sprites.data.load import load_images
from dti_sprites.errors import DataError

CLASSES = (3, 7, 9, 11, 17, 18, 25, 35)
SIZE = 28  # pixels, without keeping the aspect ratio


@benchmark(
    "gtsrb8",
    "GTSRB-8",
    published=True,
    credit="J. Stallkamp et al., German Traffic Sign Recognition Benchmark, Institut für Neuroinformatik, Bochum",
)
def gtsrb8(place: Place) -> ImageSet:
    """The training images of eight classes from the original files, resized to 28 x 28 unless asked otherwise."""
    # As torchvision unpacks it below gtsrb/, or the archive's own layout.
    inside = ("GTSRB/Training", "GTSRB/Final_Training/Images")
    patterns = [f"{top}{folder}/00003" for top in ("gtsrb/", "") for folder in inside]
    training = find(place, patterns, "GTSRB").parent
    files = [(file, label) for label in CLASSES for file in sorted((training / f"{label:05d}").glob("*.ppm"))]
    if not files:
        raise DataError(f"no images of GTSRB in {training}")
    config = place.config
    if config.image_size is None:
        config = dataclasses.replace(config, image_size=SIZE, resize="stretch")
    labels = [CLASSES.index(label) for _, label in files]
    return load_images([file for file, _ in files], config, labels=np.array(labels))


@benchmark(
    "gtsrb8-32",
    "GTSRB-8 (32 px copy)",
    published=False,
    credit="J. Stallkamp et al., German Traffic Sign Recognition Benchmark, Institut für Neuroinformatik, Bochum",
)
def gtsrb8_32(place: Place) -> ImageSet:
    """The same images from a copy that was resized to 32 x 32: near the published set, but not it."""
    path = find(place, ("gtsrb8/gtsrb8_32x32.npz", "gtsrb8_32x32.npz"), "GTSRB-8 (32 px copy)")
    with np.load(path, allow_pickle=False) as parts:
        return from_arrays(parts["x"], parts["y"], place)
