"""Plain K-means on raw pixels: the score that learnt transformations have to beat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dti_sprites.data.imageset import ImageSet


def kmeans_baseline(
    images: ImageSet | Tensor | np.ndarray, k: int, seed: int = 0, n_init: int = 10
) -> np.ndarray:
    """Cluster (N,), int64, of each image by K-means on its pixels, best of `n_init` starts.

    By scikit-learn where it is installed, else by `evaluation.kmeans`. `images` are uint8, one per entry of the
    first axis.
    """
    values = images.images if isinstance(images, ImageSet) else images
    pixels = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    flat = pixels.reshape(len(pixels), -1).astype(np.float32) / 255
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        from dti_sprites.evaluation.kmeans import kmeans

        return kmeans(torch.from_numpy(flat), k, seed=seed, n_init=n_init)[0].numpy()
    return KMeans(k, n_init=n_init, random_state=seed).fit_predict(flat).astype(np.int64)
