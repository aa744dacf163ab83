"""Plain K-means on raw pixels: the score that learnt transformations have to beat."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dti_sprites.data.imageset import ImageSet


def kmeans_baseline(
    images: ImageSet | Tensor | np.ndarray, k: int, seed: int = 0, n_init: int = 10
) -> np.ndarray:
    """Cluster (N,), int64, of each image by scikit-learn's K-means on its pixels, best of `n_init` starts.

    `images` are uint8, one per entry of the first axis.
    """
    from sklearn.cluster import KMeans

    values = images.images if isinstance(images, ImageSet) else images
    pixels = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    flat = pixels.reshape(len(pixels), -1).astype(np.float32) / 255
    return KMeans(k, n_init=n_init, random_state=seed).fit_predict(flat).astype(np.int64)
