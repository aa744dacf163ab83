"""Scenes of several objects, and images of one object, with ground-truth masks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from dti_sprites.data.benchmarks.digits import open_hdf5
from dti_sprites.data.benchmarks.registry import Place, benchmark, find
from dti_sprites.data.imageset import ImageSet
from dti_sprites.data.load import load_images
from dti_sprites.data.masks import read_masks
from dti_sprites.data.scenes import generate_shapes
from dti_sprites.data.tetrominoes import generate_tetrominoes
from dti_sprites.errors import DataError

_KABRA = "R. Kabra et al., Multi-Object Datasets, DeepMind 2019, Apache 2.0"


@benchmark("tetrominoes-19", "Tetrominoes-19, generated", published=False)
def tetrominoes_19(place: Place) -> ImageSet:
    """60 000 scenes (or `limit`) of our own generator: needs no files."""
    return load_images(generate_tetrominoes(place.limit or 60_000, place.seed), place.config)


@benchmark("shapes", "Shapes, generated", published=False)
def shapes(place: Place) -> ImageSet:
    """60 000 scenes (or `limit`) like those of Multi-dSprites: needs no files."""
    return load_images(generate_shapes(place.limit or 60_000, place.seed), place.config)


def _multi_object(name: str, title: str, folders: tuple[str, ...]) -> None:
    def load(place: Place) -> ImageSet:
        patterns = [f"{folder}/{inner}" for folder in folders for inner in ("images", "*.h5", "*.hdf5")]
        found = find(place, patterns, title)
        images = _from_folders(found, place) if found.is_dir() else _from_hdf5(found, place)
        return images if place.limit is None else images.subset(range(min(place.limit, len(images))))

    benchmark(name, title, published=True, credit=_KABRA)(load)


_multi_object("tetrominoes", "Tetrominoes", ("tetrominoes", "tetrominoes/train"))
_multi_object("multi-dsprites", "Multi-dSprites", ("multi_dsprites", "dsprites_gray", "multi-dsprites"))
_multi_object("clevr6", "CLEVR6", ("clevr6",))
_multi_object("clevr", "CLEVR", ("clevr",))


def _from_folders(folder: Path, place: Place) -> ImageSet:
    """`images/` with label maps of the same names in `masks/` (instances) and `sem_masks/` (classes)."""
    images = load_images(folder, place.config)
    masks = {}
    for key, name in (("instance", "masks"), ("semantic", "sem_masks")):
        if (folder.parent / name).is_dir():
            masks[key] = read_masks(folder.parent / name, images, place.config)
    return dataclasses.replace(images, masks=masks)


def _from_hdf5(path: Path, place: Place) -> ImageSet:
    """Arrays `images` or `imgs` (N, H, W, C) and, if any, `masks` (N, H, W) or one map per object (N, L, H, W[, 1])."""
    with open_hdf5(path) as file:
        keys = {key.lower(): key for key in file}
        image_key = next((keys[key] for key in ("images", "imgs", "image", "x") if key in keys), None)
        if image_key is None:
            raise DataError(f"{path} must hold images or imgs; it holds {', '.join(keys.values())}")
        images = load_images(np.asarray(file[image_key]), place.config)
        mask_key = next((keys[key] for key in ("masks", "mask") if key in keys), None)
        if mask_key is None:
            return images
        masks = np.asarray(file[mask_key])
    if masks.shape[-1] == 1:
        masks = masks[..., 0]
    if masks.ndim == 4:  # one map per object, the background first
        masks = masks.argmax(axis=1)
    if masks.shape != (len(images), *images.size):
        raise DataError(f"masks of {path} do not fit its images: {masks.shape}; load them at their own size")
    return dataclasses.replace(images, masks={"instance": torch.from_numpy(masks.astype(np.uint8))})


@benchmark(
    "weizmann-horse", "Weizmann horses", published=True, credit="E. Borenstein, Weizmann Horse Database"
)
def weizmann_horse(place: Place) -> ImageSet:
    """About 328 photographs of a horse each, 128 x 128 without keeping the aspect, with masks "semantic" 0 and 1."""
    patterns = [
        f"weizmann_horse*/{inner}" for inner in ("images", "horse", "rgb", "*/images", "*/horse", "*/rgb")
    ]
    folder = find(place, patterns, "Weizmann horses")
    truth = next(
        (
            folder.parent / name
            for name in ("masks", "mask", "figure_ground")
            if (folder.parent / name).is_dir()
        ),
        None,
    )
    config = place.config
    if config.image_size is None:
        config = dataclasses.replace(config, image_size=128, resize="stretch")
    images = load_images(folder, config)
    if truth is None:
        raise DataError(
            f"no masks of the Weizmann horses beside {folder}: expected masks, mask or figure_ground"
        )
    masks = read_masks(truth, images, config)
    return dataclasses.replace(images, masks={"semantic": (masks > 0).to(torch.uint8)})
