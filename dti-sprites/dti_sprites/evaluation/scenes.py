"""How well a model of layers decomposes scenes whose masks are known.

(Protocols of Monnier et al., "Unsupervised Layered Image Decomposition into Object Prototypes", ICCV 2021.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dti_sprites.data.batches import DeviceBatches
from dti_sprites.data.imageset import ImageSet
from dti_sprites.errors import DataError
from dti_sprites.evaluation.segmentation import ari, ari_fg, cosegmentation, instance_miou, semantic_metrics
from dti_sprites.models import DTIModel, Inference

PUBLISHED_IMAGES = 320  # published figures are those of the first 320 training images


@dataclass(frozen=True)
class SceneLabels:
    """Predicted label maps of N images, int64 (N, H, W), 0 being the background."""

    instance: np.ndarray  # layer, from 1
    objects: np.ndarray  # the same without background: its pixels go to the layer of the closest colour
    semantic: np.ndarray  # sprite, from 1


def without_background(x: Tensor, found: Inference) -> Tensor:
    """x (B, C, H, W), `infer` of it -> layers (B, H, W), background pixels given to the layer of closest colour.

    What counts is the colour of a layer's sprite as placed there, whether or not its mask covers the pixel.
    Pixels stay background where no layer shows a sprite.
    """
    layers, choices = found.extras["layers"], found.extras["choices"]
    distances = (layers[:, :, :-1] - x[:, None]).square().sum(2)  # B, L, H, W
    n_sprites = found.extras["semantic_shares"].shape[1] - 1
    absent = (choices == n_sprites)[..., None, None]
    closest = distances.masked_fill(absent, torch.inf).argmin(1) + 1
    closest = torch.where(absent.all(1), 0, closest)
    instance = found.extras["instance"]
    return torch.where(instance > 0, instance, closest)


def predict_scenes(model: DTIModel, images: ImageSet, batch_size: int = 64) -> SceneLabels:
    """Decompose all images; `model` is of kind sprites."""
    device = next(model.parameters()).device
    parts = []
    for x, weight, _ in DeviceBatches(images, batch_size, device, shuffle=False):
        found = model.infer(x, weight)
        maps = (found.extras["instance"], without_background(x, found), found.extras["semantic"])
        parts.append([values.cpu().numpy() for values in maps])
    return SceneLabels(*(np.concatenate(maps) for maps in zip(*parts)))


def scene_metrics(
    model: DTIModel, images: ImageSet, *, n_images: int | None = PUBLISHED_IMAGES, batch_size: int = 64
) -> dict[str, float]:
    """Scores on the first `n_images` (None: all) of `images`, against its masks "instance" and "semantic".

    Returns, as far as there are such masks, "ari" (all pixels), "ari_fg" (pixels of objects only, each given to
    a layer), "instance_miou", and "mean_class_accuracy", "miou", "accuracy" over semantic classes, also with
    the suffix "_fg"; with one sprite in one layer also "cosegmentation_accuracy" and "cosegmentation_iou" of the object
    against the rest. Raises DataError when there are no masks, or the model has no layers.
    """
    if model.config.model.kind != "sprites":
        raise DataError(f"masks are found by models of kind sprites, not {model.config.model.kind}")
    if not images.masks.keys() & {"instance", "semantic"}:
        raise DataError("the images have no known masks to compare with")
    if n_images is not None and n_images < len(images):
        images = images.subset(range(n_images))
    found = predict_scenes(model, images, batch_size)
    scores: dict[str, float] = {}
    if "instance" in images.masks:
        truth = images.masks["instance"].numpy().astype(np.int64)
        scores |= {"ari": ari(truth, found.instance), "ari_fg": ari_fg(truth, found.objects)}
        scores["instance_miou"] = instance_miou(truth, found.instance)
    if "semantic" in images.masks:
        truth = images.masks["semantic"].numpy().astype(np.int64)
        all_scores = semantic_metrics(truth, found.semantic)
        scores |= {name: value for name, value in all_scores.items() if isinstance(value, float)}
    if model.n_prototypes == 1 and model.config.model.sprites.n_layers == 1:
        whole = cosegmentation(truth, found.instance)
        scores |= {f"cosegmentation_{name}": value for name, value in whole.items()}
    return scores
