"""What a trained model makes of an image when a person says which prototype it belongs to.

A run keeps the picture of each image's own prototype only. Here the model is asked again: the same transformations
as in the run, of the prototype that was named. For sprites the image's most visible layer shows the named sprite,
the other layers stay as the model found them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dti_sprites.errors import DataError
from dti_sprites.models.base import Inference
from dti_sprites.models.sprites import DTISprites
from dti_sprites.models.sprites.search import Choice
from dti_sprites.results.images import to_uint8


@dataclass(frozen=True)
class Refit:
    """Images fitted with prototypes that a person chose."""

    distances: np.ndarray  # (n,) float32, as in the table of the run
    pictures: np.ndarray  # (n, H, W, C) uint8, the prototypes as transformed


@dataclass(frozen=True)
class Layer:
    """One layer of an image. `picture`: (H, W, C + 1) uint8, colours and mask as placed."""

    sprite: int
    picture: np.ndarray


@dataclass(frozen=True)
class Decomposition:
    """An image taken apart, the background first, then the layers from the back to the front where that is fixed."""

    background: np.ndarray | None  # (H, W, C) uint8
    background_number: int | None
    layers: list[Layer]  # those that show a sprite
    segmentation: np.ndarray  # (H, W) int64: 0 background, l for layer l


def refit(run: Any, indices: Sequence[int], prototypes: Sequence[int]) -> Refit:
    """Fit prototype `prototypes[n]` to image `indices[n]` of a `Run`, from the images in its result tree.

    Raises DataError for numbers that the run does not have, FileNotFoundError when the tree lacks an image.
    """
    model = run.model.eval()
    for name, numbers, limit in (
        ("image", indices, len(run)),
        ("prototype", prototypes, run.distances.shape[1]),
    ):
        for number in numbers:
            if not 0 <= number < limit:
                raise DataError(f"{name} {number}: this run has {name}s 0 to {limit - 1}")
    x, weight = _inputs(run, indices)
    labels = torch.tensor(list(prototypes), dtype=torch.long, device=x.device)
    with torch.no_grad():
        if isinstance(model, DTISprites):
            pictures, distances = _resprite(model, x, weight, labels)
        else:
            found = model.infer(x, weight)
            parameters = model.predict(model.encoder(x) if model.needs_features else None)
            pictures, _ = model.render(model.prototypes(), labels, parameters)
            distances = found.distances
    chosen = distances[torch.arange(len(labels), device=x.device), labels]
    return Refit(chosen.float().cpu().numpy(), to_uint8(pictures.float().cpu().numpy()))


def decompose(run: Any, index: int) -> Decomposition:
    """Take image `index` of a run with sprites apart. Raises DataError for a model without layers."""
    model = run.model.eval()
    if not isinstance(model, DTISprites):
        raise DataError("only runs with sprites have layers")
    if not 0 <= index < len(run):
        raise DataError(f"image {index}: this run has images 0 to {len(run) - 1}")
    x, weight = _inputs(run, [index])
    extras = model.infer(x, weight).extras
    choices = extras["choices"][0].tolist()
    pictures = to_uint8(extras["layers"][0].float().cpu().numpy())
    background = extras.get("background")
    return Decomposition(
        background=None if background is None else to_uint8(background[0].float().cpu().numpy()),
        background_number=None if background is None else int(extras["background_choices"][0]),
        layers=[
            Layer(sprite, picture)
            for sprite, picture in zip(choices, pictures, strict=True)
            if sprite < model.n_prototypes
        ],
        segmentation=extras["instance"][0].cpu().numpy().astype(np.int64),
    )


def _inputs(run: Any, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """Pixels (n, C, H, W) in [0, 1] and, where transparency counted, its weight (n, 1, H, W)."""
    model = run.model
    device = next(model.parameters()).device
    pixels = torch.from_numpy(np.moveaxis(run.images(indices), -1, 1).copy()).to(device).float() / 255.0
    weight = pixels[:, model.channels :] if pixels.shape[1] > model.channels else None
    return pixels[:, : model.channels], weight


def _resprite(model: DTISprites, x: Tensor, weight: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstructions with the sprites `labels` in the most visible layers, and the distances (n, K or K + 1)."""
    found: Inference = model.infer(x, weight)
    shown = found.extras["instance_shares"][:, 1:].flatten(2).sum(2)
    shown = shown - (found.extras["choices"] == model.n_prototypes).to(shown)
    layer = shown.argmax(1)
    choices = found.extras["choices"].clone()
    choices[torch.arange(len(x), device=x.device), layer] = labels
    prediction = model.renderer.predict(model.features(x))
    stack = model.bank.stack(noise=False)
    backgrounds = None if model.backgrounds is None else model.backgrounds()
    errors = found.distances[:, None].expand(-1, model.n_layers, -1)
    choice = Choice(choices, found.extras["background_choices"], errors)
    return model.describe(stack, backgrounds, prediction, choice).reconstruction, found.distances
