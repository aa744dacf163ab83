"""Which prototype to split and which to give up, so that one motif each is what prototypes stand for.

Gradient steps end in an optimum, often one where a prototype stands for two motifs while another motif has two
prototypes. As in SMEM (Ueda, Nakano, Ghahramani and Hinton, "SMEM Algorithm for Mixture Models", Neural Computation
2000), the one whose images fall into two halves is split, and the one that is missed least gives way. Estimates only
say what is worth trying: `rivalry` finds out whether it was. Of no published DTI run.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dti_sprites.data.batches import DeviceBatches
from dti_sprites.models.kmeans import DTIKMeans
from dti_sprites.models.prototypes.pixels import PixelPrototypes
from dti_sprites.ops.distance import pixel_weight, squared_error

SAMPLE = 1000  # images that are looked at
SAMPLE_ELEMENTS = 2**25  # and no more pixel values than that: 128 MiB of residuals
LEAST = 4  # images on either side of a split
LLOYD = 10  # iterations of 2-means


@dataclass(frozen=True)
class Proposal:
    """Prototype `merged` gives way: it and `split` are to stand for the two halves (indices) of the cluster `split`."""

    split: int
    merged: int
    halves: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Survey:
    """What N images say of K prototypes, in the unit of the loss."""

    cost: Tensor  # (K,) rise of the loss if the images of a prototype took their second best
    gain: Tensor  # (K,) fall of the loss if each half of a cluster had its own mean; 0 where it cannot be cut
    halves: dict[int, tuple[Tensor, Tensor]]  # prototype -> indices of images of either half


def draw_sample(images: DeviceBatches, generator: torch.Generator, values: int) -> Tensor:
    """Indices (N,) of some images of so many pixel values each. `generator` is on the CPU."""
    count = max(min(SAMPLE, images.n_images, SAMPLE_ELEMENTS // values), 1)
    return torch.randperm(images.n_images, generator=generator)[:count]


def propose(
    model: DTIKMeans, images: DeviceBatches, sample: Tensor, refused: Set[tuple[int, int]] = frozenset()
) -> Proposal | None:
    """The pair (split, merged) of the highest gain over cost that was not refused; None if there is no such pair."""
    if model.n_prototypes < 3:  # giving up one of two is to begin anew
        return None
    survey = look(model, images, sample)
    promise = survey.gain[:, None] / survey.cost.clamp_min(1e-12)
    promise.fill_diagonal_(0.0)
    for pair in refused:
        promise[pair] = 0.0
    split, merged = divmod(int(promise.argmax()), model.n_prototypes)
    if promise[split, merged] <= 0:
        return None
    return Proposal(split, merged, survey.halves[split])


def apply(
    proposal: Proposal,
    model: DTIKMeans,
    images: DeviceBatches,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Both begin as the prototype that is split, one step towards the images of their half. `generator`: on the CPU."""
    split, merged = proposal.split, proposal.merged
    steps = [_towards(model, images, split, half) for half in proposal.halves]
    model.reassign(split, [merged], optimizer, generator)
    with torch.no_grad():
        for row, step in zip((merged, split), steps):
            pixels_of(model)[row] += step


@torch.no_grad()
def look(model: DTIKMeans, images: DeviceBatches, sample: Tensor) -> Survey:
    """Survey the images `sample` (N,)."""
    labels, nearest, residuals = [], [], []
    for part in sample.split(images.batch_size):
        x, alpha = images.take(part)
        out = model.infer(x, alpha)
        weight = pixel_weight(alpha, model.window, model.channels, model.image_size)
        # Scaled so that the sum of squares of an image is its error.
        scale = x[0].numel() ** -0.5 if weight is None else weight.sqrt()
        labels.append(out.labels)
        nearest.append(out.distances.topk(2, 1, largest=False).values)
        residuals.append(((x - out.reconstruction) * scale).flatten(1))
    label, best, residual = torch.cat(labels), torch.cat(nearest), torch.cat(residuals)
    cost = best.new_zeros(model.n_prototypes).index_add_(0, label, best[:, 1] - best[:, 0]) / len(sample)
    gain, halves = torch.zeros_like(cost), {}
    for k in range(model.n_prototypes):
        own = residual[label == k]
        if len(own) < 2 * LEAST:
            continue
        first = _cut(own - own.mean(0))
        sizes = int(first.sum()), int((~first).sum())
        if min(sizes) < LEAST:
            continue
        apart = (own[first].mean(0) - own[~first].mean(0)).square().sum()
        gain[k] = sizes[0] * sizes[1] / sum(sizes) * apart / len(sample)
        members = sample.to(label.device)[label == k]
        halves[k] = (members[first], members[~first])
    return Survey(cost, gain, halves)


def pixels_of(model: DTIKMeans) -> nn.Parameter:
    """Its prototypes (K, C, H, W)."""
    assert isinstance(model.prototypes, PixelPrototypes)  # checked with the configuration
    return model.prototypes.pixels


@torch.no_grad()
def fit_of(model: DTIKMeans, images: DeviceBatches, sample: Tensor) -> float:
    """Mean distance of the images `sample` to their prototype."""
    distances = [model.infer(*images.take(part)).distances for part in sample.split(images.batch_size)]
    return float(torch.cat(distances).min(1).values.mean())


def _cut(residuals: Tensor) -> Tensor:
    """2-means of residuals (n, P) of mean 0, begun across their largest variation: (n,) bool."""
    first = torch.linalg.eigh(residuals @ residuals.T).eigenvectors[:, -1] > 0
    for _ in range(LLOYD):
        if first.all() or not first.any():
            break
        centres = torch.stack([residuals[~first].mean(0), residuals[first].mean(0)])
        again = torch.cdist(residuals, centres).argmin(1) == 1
        if again.equal(first):
            break
        first = again
    return first


def _towards(model: DTIKMeans, images: DeviceBatches, k: int, indices: Tensor) -> Tensor:
    """Step (C, H, W) that takes prototype `k` to the mean of these images, if nothing but identity were active.

    With transformations it is the same gradient step on the error, seen through each image's own ones.
    """
    was_training = model.training
    model.eval()
    total = torch.zeros_like(pixels_of(model)[k])
    largest = 1 / total.numel()  # weight of a pixel: no step is longer than its error calls for
    for part in indices.split(images.batch_size):
        x, alpha = images.take(part)
        with torch.no_grad():
            parameters = model.predict(model.encode(x))
        with torch.enable_grad():
            pixels = pixels_of(model).detach().requires_grad_()
            chosen = torch.full((len(x),), k, device=x.device)
            reconstruction, _ = model.render(pixels, chosen, parameters)
            weight = pixel_weight(alpha, model.window, model.channels, model.image_size)
            largest = largest if weight is None else max(largest, float(weight.max()))
            error = squared_error(x, reconstruction, weight).sum()
            total -= torch.autograd.grad(error, pixels)[0][k]
    model.train(was_training)
    return total / (2 * largest * len(indices))
