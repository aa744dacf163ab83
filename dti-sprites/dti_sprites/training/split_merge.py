"""Split and merge: out of the optimum where one prototype stands for two motifs while another motif has two prototypes.

Gradient steps do not leave it, however long they go on: between "4 and 9 share a prototype, 0 has two" and the better
solution the loss is higher. As in SMEM (Ueda, Nakano, Ghahramani and Hinton, "SMEM Algorithm for Mixture Models",
Neural Computation 2000), the prototype that is missed least is given up, and the one whose images fall most clearly
into two halves is split, when that promises more than it costs. Of no published DTI run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dti_sprites.data.batches import DeviceBatches
from dti_sprites.models.kmeans import DTIKMeans
from dti_sprites.ops.distance import pixel_weight, squared_error

SAMPLE = 1000  # images that are looked at
SAMPLE_ELEMENTS = 2**25  # and no more pixel values than that: 128 MiB of residuals
LEAST = 8  # images of a cluster that may be split
GAUSSIAN_GAIN = 2 / math.pi  # share of the variance along a direction that two halves of a Gaussian explain


@dataclass(frozen=True)
class Split:
    """Prototype `merged` gave way: it and `split` now stand for the halves of what was the cluster of `split`.

    promise: expected fall of the loss by the split over its rise by the merging.
    """

    merged: int
    split: int
    promise: float


@dataclass(frozen=True)
class Survey:
    """What a sample of N images says of K prototypes, in the unit of the loss."""

    indices: Tensor  # (N,) of the images
    labels: Tensor  # (N,)
    cost: Tensor  # (K,) rise of the loss if the images of a prototype had to take their second best
    gain: Tensor  # (K,) fall of the loss if a cluster were cut in two across its largest residual variation
    halves: dict[
        int, Tensor
    ]  # prototype -> (n,) bool: side of each of its images, in the order of the sample


def split_and_merge(
    model: DTIKMeans,
    images: DeviceBatches,
    least_promise: float,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> Split | None:
    """Split one prototype and give up another if that promises `least_promise` or more; None otherwise.

    Both halves start half way: from the prototype of the cluster, one step towards their own images each, through the
    transformations of these images. `generator` is on the CPU.
    """
    if model.n_prototypes < 3:  # giving up one of two would leave nothing to compare with
        return None
    survey = look(model, images, generator)
    merged = int(survey.cost.argmin())
    gain = survey.gain.clone()
    gain[merged] = 0.0
    split = int(gain.argmax())
    promise = float(gain[split] / survey.cost[merged].clamp_min(1e-12))
    if split not in survey.halves or promise < least_promise:
        return None
    members = survey.indices[survey.labels == split]
    side = survey.halves[split]
    steps = [_towards(model, images, split, members[half]) for half in (side, ~side)]
    model.reassign(split, [merged], optimizer, generator)
    with torch.no_grad():
        for row, step in zip((merged, split), steps):
            model.prototypes.pixels[row] += step
    return Split(merged, split, promise)


@torch.no_grad()
def look(model: DTIKMeans, images: DeviceBatches, generator: torch.Generator) -> Survey:
    """Survey a random sample of the images."""
    total = images.n_images
    values = model.channels * model.image_size[0] * model.image_size[1]
    count = max(min(SAMPLE, total, SAMPLE_ELEMENTS // values), 1)
    indices = torch.randperm(total, generator=generator)[:count]
    labels, nearest, residuals = [], [], []
    for part in indices.split(images.batch_size):
        x, alpha = images.take(part)
        out = model.infer(x, alpha)
        weight = pixel_weight(alpha, model.window, model.channels, model.image_size)
        # Scaled so that the sum of squares of an image is its error.
        scale = values**-0.5 if weight is None else weight.sqrt()
        labels.append(out.labels)
        nearest.append(out.distances.topk(2, 1, largest=False).values)
        residuals.append(((x - out.reconstruction) * scale).flatten(1))
    label, best, residual = torch.cat(labels), torch.cat(nearest), torch.cat(residuals)
    cost = best.new_zeros(model.n_prototypes).index_add_(0, label, best[:, 1] - best[:, 0]) / count
    gain, halves = torch.zeros_like(cost), {}
    for k in range(model.n_prototypes):
        own = residual[label == k]
        if len(own) < LEAST:
            continue
        own = own - own.mean(0)
        variances, directions = torch.linalg.eigh(own @ own.T)
        gain[k] = GAUSSIAN_GAIN * variances[-1] / count
        halves[k] = directions[:, -1] > 0
    return Survey(indices.to(label.device), label, cost, gain, halves)


def _towards(model: DTIKMeans, images: DeviceBatches, k: int, indices: Tensor) -> Tensor:
    """Step (C, H, W) that takes prototype `k` to the mean of these images, if nothing but identity were active.

    With transformations it is the same gradient step on the error, seen through each image's own ones.
    """
    was_training = model.training
    model.eval()
    total = torch.zeros_like(model.prototypes.pixels[k])
    largest = 1 / total.numel()  # weight of a pixel: no step is longer than its error calls for
    for part in indices.split(images.batch_size):
        x, alpha = images.take(part)
        with torch.no_grad():
            parameters = model.predict(model.encode(x))
        with torch.enable_grad():
            pixels = model.prototypes.pixels.detach().requires_grad_()
            chosen = torch.full((len(x),), k, device=x.device)
            reconstruction, _ = model.render(pixels, chosen, parameters)
            weight = pixel_weight(alpha, model.window, model.channels, model.image_size)
            largest = largest if weight is None else max(largest, float(weight.max()))
            error = squared_error(x, reconstruction, weight).sum()
            total -= torch.autograd.grad(error, pixels)[0][k]
    model.train(was_training)
    return total / (2 * largest * len(indices))
