"""Where prototypes start."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dti_sprites.ops.distance import gaussian_window

MEAN_OF = 100  # images averaged by "mean"
KMEANS_OF = 100  # images per prototype that "kmeans" and "kmeans++" look at


def initial_prototypes(
    kind: str,
    images: Tensor,
    k: int,
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    value: float = 0.5,
    std: float = 25.0,
) -> Tensor:
    """images uint8 (N, C, H, W) -> prototypes (k, C, h, w), float32 in [0, 1], with (h, w) = `size`.

    kind: "sample" (k images with replacement), "kmeans" (centres of scikit-learn's KMeans on at most 100·k
    images), "kmeans++" (k distinct images far from each other), "random" (uniform noise), "constant" (`value`
    everywhere), "mean" (of 100 images), "gaussian" (window of peak 1 and deviation `std` pixels).
    """
    channels = images.shape[1]
    if kind == "random":
        return torch.rand(k, channels, *size, generator=generator)
    if kind == "constant":
        return torch.full((k, channels, *size), value)
    if kind == "gaussian":
        return gaussian_window(size, std).expand(k, channels, *size).clone()
    if kind == "mean":
        mean = _floats(images[_draw(len(images), MEAN_OF, generator)]).mean(0, keepdim=True)
        return _resize(mean, size).repeat(k, 1, 1, 1)
    if kind == "sample":
        index = torch.randint(len(images), (k,), generator=generator)
        return _resize(_floats(images[index]), size)
    if kind in ("kmeans", "kmeans++"):
        chosen = _floats(images[_draw(len(images), KMEANS_OF * k, generator)])
        if kind == "kmeans":
            centres, _ = kmeans_centres(chosen, k, generator)
        else:
            centres = _spread(chosen, k, generator)
        return _resize(centres, size)
    raise ValueError(f"unknown initialisation {kind!r}")


def kmeans_centres(images: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """images (N, C, H, W) floats -> centres (k, C, H, W) and the cluster of each image (N,)."""
    from sklearn.cluster import KMeans

    flat = images.flatten(1).numpy()
    # With fewer images than clusters some centres are repeated; reassignment separates them.
    fitted = KMeans(min(k, len(flat)), n_init=1, random_state=_seed(generator)).fit(flat)
    centres = torch.from_numpy(fitted.cluster_centers_.astype(np.float32)).view(-1, *images.shape[1:])
    return _fill(centres, k), torch.from_numpy(fitted.labels_.astype(np.int64))


def cluster_deviations(
    images: Tensor, k: int, size: tuple[int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """images uint8 (N, C, H, W) -> centres and variances within the clusters of KMeans, (k, C, h, w) both."""
    chosen = _resize(_floats(images[_draw(len(images), KMEANS_OF * k, generator)]), size)
    centres, labels = kmeans_centres(chosen, k, generator)
    variances = [(chosen[labels == j] - centres[j]).square().mean(0) for j in range(int(labels.max()) + 1)]
    return centres, _fill(torch.stack(variances), k)


def _spread(images: Tensor, k: int, generator: torch.Generator) -> Tensor:
    from sklearn.cluster import kmeans_plusplus

    flat = images.flatten(1).numpy()
    _, index = kmeans_plusplus(flat, min(k, len(flat)), random_state=_seed(generator))
    return _fill(images[torch.from_numpy(index.astype(np.int64))], k)


def _fill(centres: Tensor, k: int) -> Tensor:
    return centres[torch.arange(k) % len(centres)]


def _draw(n: int, at_most: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator)[:at_most]


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**31 - 1, (), generator=generator))


def _floats(images: Tensor) -> Tensor:
    return images.float().div_(255.0)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[2:]) == tuple(size):
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False)
