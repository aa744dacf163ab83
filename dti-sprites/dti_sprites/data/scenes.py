"""Scenes with known layers: sprites laid onto backgrounds, with exact masks and order of occlusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from dti_sprites.data.imageset import ImageSet

_CHUNK = 512  # scenes rendered at a time


def compose_scenes(
    sprites: Sequence[np.ndarray | Image.Image],
    n: int,
    *,
    size: tuple[int, int] = (64, 64),
    n_objects: tuple[int, int] = (1, 4),
    scale: tuple[float, float] = (0.3, 0.5),
    rotation: float = 0.0,
    backgrounds: Sequence[np.ndarray | Image.Image] | None = None,
    seed: int = 0,
) -> ImageSet:
    """`n` scenes of randomly chosen RGBA sprites, each wholly inside the image; later ones hide earlier ones.

    Args:
        sprites: RGBA images of any size, uint8.
        size: (height, width) of the scenes.
        n_objects: least and most sprites in a scene.
        scale: least and most longer side of a sprite as a share of the shorter side of the scene, at most 1.
        rotation: most degrees by which a sprite is turned, either way.
        backgrounds: RGB images, resized to the scene; a uniform grey when None.
        seed: equal arguments give equal scenes.

    Returns:
        RGB images with the masks "instance" (1, 2, ... in order of drawing) and "semantic" (index of the sprite + 1),
        where a pixel belongs to the last sprite that covers at least half of it; `sources[i]["objects"]` lists
        {"sprite", "box" (left, top, right, bottom), "visible" (share of its pixels)} in order of drawing.
    """
    if not sprites:
        raise ValueError("no sprites to compose scenes of")
    rng = np.random.default_rng(seed)
    pictures = [_as_image(sprite, "RGBA") for sprite in sprites]
    canvases = [_as_image(image, "RGB").resize((size[1], size[0])) for image in backgrounds or ()]
    images = np.empty((n, *size, 3), dtype=np.uint8)
    masks = {name: np.zeros((n, *size), dtype=np.uint8) for name in ("instance", "semantic")}
    sources: list[dict[str, Any]] = []
    for i in range(n):
        if canvases:
            scene = canvases[rng.integers(len(canvases))].copy()
        else:
            scene = Image.new("RGB", (size[1], size[0]), (int(rng.integers(256)),) * 3)
        objects: list[dict[str, Any]] = []
        for layer in range(1, int(rng.integers(n_objects[0], n_objects[1] + 1)) + 1):
            chosen = int(rng.integers(len(pictures)))
            side = rng.uniform(*scale) * min(size)
            sprite = _turned(pictures[chosen], side, rng.uniform(-rotation, rotation), size)
            left = int(rng.integers(size[1] - sprite.width + 1))
            top = int(rng.integers(size[0] - sprite.height + 1))
            scene.paste(sprite, (left, top), sprite)
            box = (left, top, left + sprite.width, top + sprite.height)
            covered = np.asarray(sprite)[..., 3] >= 128
            for name, value in (("instance", layer), ("semantic", chosen + 1)):
                masks[name][i, box[1] : box[3], box[0] : box[2]][covered] = value
            objects.append({"sprite": chosen, "box": box, "pixels": int(covered.sum())})
        seen = np.bincount(masks["instance"][i].reshape(-1), minlength=len(objects) + 1)
        for layer, item in enumerate(objects, start=1):
            item["visible"] = float(seen[layer] / max(item.pop("pixels"), 1))
        images[i] = np.asarray(scene)
        sources.append({"objects": objects})
    return ImageSet(
        images=torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        names=[f"{i:06d}" for i in range(n)],
        sources=sources,
        masks={name: torch.from_numpy(mask) for name, mask in masks.items()},
    )


def _as_image(image: np.ndarray | Image.Image, mode: str) -> Image.Image:
    return (image if isinstance(image, Image.Image) else Image.fromarray(image)).convert(mode)


def _turned(sprite: Image.Image, side: float, angle: float, size: tuple[int, int]) -> Image.Image:
    """The sprite with a longer side of `side` pixels, turned, and never larger than the scene."""
    sprite = sprite.copy()
    if angle:
        sprite.thumbnail((4 * side, 4 * side))  # turning many more pixels than are needed would be slow
        sprite = sprite.rotate(angle, Image.Resampling.BICUBIC, expand=True)
        sprite = sprite.crop(sprite.getbbox() or (0, 0, 1, 1))
    factor = min(side / max(sprite.size), size[1] / sprite.width, size[0] / sprite.height)
    wanted = (max(round(sprite.width * factor), 1), max(round(sprite.height * factor), 1))
    return sprite.resize(wanted, Image.Resampling.BILINEAR)


def generate_shapes(
    n: int,
    seed: int = 0,
    *,
    size: int = 64,
    n_objects: tuple[int, int] = (2, 5),
    radius: tuple[float, float] = (7, 14),
) -> ImageSet:
    """Scenes of coloured squares, ellipses and hearts that hide each other on a uniform grey background.

    A stand-in for Multi-dSprites (Kabra et al., 2019; colours on greyscale) with the same kinds of shapes, colours and
    occlusion; name results on it "shapes, generated". Objects vary in colour, position, angle and `radius` (pixels).

    Returns:
        RGB images (n, 3, size, size) with masks "instance" (1, 2, ... in order of drawing) and "semantic" (1 square,
        2 ellipse, 3 heart).
    """
    rng = np.random.default_rng(seed)
    # Only a window around each object is rendered, on arrays with a margin that takes what sticks out.
    margin = window = int(np.ceil(2.2 * radius[1])) + 1
    side = size + 2 * margin
    images = np.empty((n, 3, size, size), dtype=np.uint8)
    masks = {name: np.empty((n, size, size), dtype=np.uint8) for name in ("instance", "semantic")}
    for start in range(0, n, _CHUNK):
        count = min(_CHUNK, n - start)
        planes = np.zeros((count, side, side, 5), dtype=np.uint8)  # RGB, instance, semantic
        planes[..., :3] = rng.integers(0, 256, (count, 1, 1, 1))
        present = rng.integers(n_objects[0], n_objects[1] + 1, count)
        rows = np.arange(count)[:, None, None]
        for layer in range(n_objects[1]):
            kind = rng.integers(1, 4, (count, 1, 1))
            value = np.empty((count, 5), dtype=np.uint8)
            value[:, :3] = rng.integers(0, 256, (count, 3))
            value[:, 3], value[:, 4] = layer + 1, kind[:, 0, 0]
            centre = rng.uniform(radius[1] / 2, size - radius[1] / 2, (2, count, 1, 1)).astype(np.float32)
            angle = rng.uniform(0, 2 * np.pi, (count, 1, 1)).astype(np.float32)
            extent = rng.uniform(*radius, (count, 1, 1)).astype(np.float32)
            corner = np.floor(centre - window / 2).astype(np.int64)
            x = corner[0] + np.arange(window)[None, None, :]
            y = corner[1] + np.arange(window)[None, :, None]
            dx = (x.astype(np.float32) + 0.5 - centre[0]) / extent
            dy = (y.astype(np.float32) + 0.5 - centre[1]) / extent
            u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
            covered = _covered(u, v, kind) & (present > layer)[:, None, None]
            under = planes[rows, y + margin, x + margin]
            planes[rows, y + margin, x + margin] = np.where(covered[..., None], value[:, None, None], under)
        seen = planes[:, margin:-margin, margin:-margin]
        images[start : start + count] = seen[..., :3].transpose(0, 3, 1, 2)
        masks["instance"][start : start + count] = seen[..., 3]
        masks["semantic"][start : start + count] = seen[..., 4]
    return ImageSet(
        images=torch.from_numpy(images),
        names=[f"{i:06d}" for i in range(n)],
        masks={name: torch.from_numpy(mask) for name, mask in masks.items()},
    )


def _covered(u: np.ndarray, v: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Whether points (B, H, W) in the frame of an object of radius 1 belong to its shape."""
    square = np.maximum(np.abs(u), np.abs(v)) <= 0.75
    u2, v2 = u * u, v * v
    ellipse = u2 + v2 / 0.36 <= 1
    a2, b2, b = u2 * 1.5625, v2 * 1.5625, v * -1.25  # the curve (a² + b² - 1)³ = a² b³, upright
    round_part = a2 + b2 - 1
    heart = round_part * round_part * round_part <= a2 * b2 * b
    return np.where(kind == 1, square, np.where(kind == 2, ellipse, heart))
