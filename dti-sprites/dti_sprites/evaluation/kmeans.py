"""Plain K-means (k-means++ starts, Lloyd iterations) in PyTorch, where scikit-learn is not installed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ITERATIONS = 300
TOLERANCE = 1e-4  # of the centres' movement, relative to the variance of the points


def kmeans(points: Tensor, k: int, *, seed: int = 0, n_init: int = 10) -> tuple[Tensor, float]:
    """points (N, D) -> the cluster of each (N,) int64 and the sum of squared distances: best of `n_init` starts.

    Raises ValueError when there are fewer points than clusters.
    """
    if len(points) < k:
        raise ValueError(f"{len(points)} points cannot make {k} clusters")
    generator = torch.Generator().manual_seed(seed)
    points = points - points.mean(0)  # keeps the differences of squares below small
    runs = [_lloyd(points, _spread(points, k, generator)) for _ in range(n_init)]
    return min(runs, key=lambda run: run[1])


def _distances(points: Tensor, centres: Tensor) -> Tensor:
    """(N, K) squared distances."""
    products = points @ centres.T
    return (points.square().sum(1)[:, None] - 2 * products + centres.square().sum(1)).clamp_min_(0.0)


def _spread(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k-means++ (Arthur and Vassilvitskii, 2007): each start is the best of a few, drawn far from the others."""
    trials = 2 + int(math.log(k))
    first = int(torch.randint(len(points), (), generator=generator))
    centres = points[first][None]
    nearest = _distances(points, centres)[:, 0]
    for _ in range(k - 1):
        weights = nearest.cpu().double()
        if float(weights.sum()) <= 0:  # fewer distinct points than clusters
            weights = torch.ones_like(weights)
        # multinomial takes at most 2^24 categories; this takes any number
        draws = torch.rand(trials, generator=generator, dtype=torch.float64) * weights.sum()
        chosen = torch.searchsorted(weights.cumsum(0), draws).clamp_max(len(points) - 1).to(points.device)
        improved = torch.minimum(nearest[:, None], _distances(points, points[chosen]))
        best = int(improved.sum(0).argmin())
        centres = torch.cat([centres, points[chosen[best]][None]])
        nearest = improved[:, best]
    return centres


def _lloyd(points: Tensor, centres: Tensor) -> tuple[Tensor, float]:
    tolerance = TOLERANCE * float(points.var(0, correction=0).mean())
    for _ in range(ITERATIONS):
        distances, labels = _distances(points, centres).min(1)
        sums = torch.zeros_like(centres).index_add_(0, labels, points)
        counts = torch.bincount(labels, minlength=len(centres))
        moved = sums / counts.clamp_min(1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):  # they go where the error is largest
            moved[empty] = points[distances.topk(len(empty)).indices]
        shift = float((moved - centres).square().sum())
        centres = moved
        if shift <= tolerance:
            break
    distances, labels = _distances(points, centres).min(1)
    return labels, float(distances.sum())
