"""Beginning a training from clusters that people have put together, instead of from chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dti_sprites.data.imageset import ImageSet
from dti_sprites.errors import DataError


@dataclass(frozen=True, eq=False)
class Start:
    """k prototypes to begin with, for the first k of the model; the others begin as its settings say.

    With sprites prototypes are their colours; masks that are not known begin as the model's settings say, too.

    None of the k is ever given up for being rarely used, small as its cluster may be.
    """

    prototypes: Tensor  # float32 (k, C, H, W) in [0, 1], of the images' size
    fixed: bool = False  # they stay exactly as given; only the transformations are learnt
    pins: Tensor | None = None  # int64 (N,): the prototype that an image must belong to; -1: free to choose
    masks: Mapping[int, Tensor] = field(default_factory=dict)  # of sprites, where known: (1, H, W) in [0, 1]


def start_from_clusters(
    images: ImageSet,
    clusters: np.ndarray,
    learned: Mapping[int, np.ndarray] | None = None,
    *,
    fixed: bool = False,
    pinned: bool = False,
) -> Start:
    """A start from clusters (N,) of `images`, numbered from 0; -1: not sorted.

    A cluster begins with the prototype that `learned` has for its number ((h, w, C) uint8 or floats in [0, 1], of any
    size, grey or colour, with alpha as a last channel where it has a mask), otherwise with the mean of its images. With
    `pinned` sorted images stay where they are.
    Raises DataError for clusters that do not belong to the images, or that have neither images nor a prototype.
    """
    chosen = torch.as_tensor(np.asarray(clusters), dtype=torch.int64)
    if chosen.shape != (len(images),):
        raise DataError(f"clusters: {len(chosen)} given for {len(images)} images")
    known = dict(learned or {})
    k = max([-1, *chosen.tolist(), *known]) + 1
    if k < 1:
        raise DataError("clusters: none of the images is in a cluster, so there is nothing to begin from")
    prototypes, masks = torch.empty(k, images.channels, *images.size), {}
    for number in range(k):
        if number in known:
            picture = np.asarray(known[number])
            prototypes[number] = _fitted(picture, images.channels, images.size)
            if picture.ndim == 3 and picture.shape[2] in (2, 4):
                masks[number] = _fitted(picture[..., -1], 1, images.size)
            continue
        members = images.images[chosen == number]
        if not len(members):
            raise DataError(f"clusters: cluster {number} has no images and no prototype")
        prototypes[number] = members.float().mean(0) / 255.0
    return Start(prototypes, fixed, chosen if pinned else None, masks)


def _fitted(picture: np.ndarray, channels: int, size: tuple[int, int]) -> Tensor:
    """(h, w) or (h, w, C) -> (channels, *size), floats in [0, 1]."""
    values = torch.from_numpy(np.array(picture))
    values = values.float() / 255.0 if values.dtype == torch.uint8 else values.float()
    values = values[..., None] if values.ndim == 2 else values[..., :3]
    values = values.movedim(-1, 0)
    if channels == 1 and len(values) == 3:
        values = (values * values.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    elif len(values) != channels:
        values = values[:1].expand(channels, -1, -1)
    if tuple(values.shape[1:]) != tuple(size):
        values = F.interpolate(values[None], size, mode="bilinear", align_corners=False)[0]
    return values.clamp(0.0, 1.0)
