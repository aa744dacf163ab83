"""Masks to start from that look like what is drawn on the page: windows of the images, around their ink."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dti_sprites.models.prototypes.initialisation import KMEANS_OF, kmeans_centres
from dti_sprites.ops.distance import gaussian_window

AT_ONCE = 2**24  # pixel values of images in floating point at a time
SHIFTS = 5  # mean-shift steps from a pixel of ink to the middle of what is drawn there


def window_masks(
    kind: str,
    images: Tensor,
    k: int,
    size: tuple[int, int],
    extent: tuple[int, int],
    std: float,
    generator: torch.Generator,
) -> Tensor:
    """images uint8 (N, C, H, W) -> masks (k, 1, h, w), float32 in [0, 1], with (h, w) = `size`.

    A window covers `extent` (height, width) pixels of an image. It is moved by mean shift from a pixel of ink to
    the middle of the contrast around it, so that it holds a whole figure, and fades out with the deviation
    `std` (pixels of the mask), so that it holds one. kind: "sample" (k such windows) or "kmeans" (the centres of
    scikit-learn's KMeans on 100·k of them).
    """
    fade = gaussian_window(size, std)
    drawn = torch.randint(len(images), (k if kind == "sample" else KMEANS_OF * k,), generator=generator)
    parts = drawn.split(max(AT_ONCE // images[0].numel(), 1))
    windows = [centred_windows(contrast(images[part]), size, extent, fade, generator) for part in parts]
    masks = torch.cat(windows) * fade
    return masks if kind == "sample" else kmeans_centres(masks, k, generator)[0]


def contrast(images: Tensor) -> Tensor:
    """images uint8 (N, C, H, W) -> (N, 1, H, W) in [0, 1]: how much each pixel differs from the image's page.

    The page is the median of each channel: in most documents more than half of an image is paper. 1 is where an
    image differs most.
    """
    values = images.float() / 255
    page = values.flatten(2).median(2).values[..., None, None]
    difference = (values - page).abs().amax(1, keepdim=True)
    return difference / difference.amax((1, 2, 3), keepdim=True).clamp_min(1 / 255)


def centred_windows(
    maps: Tensor, size: tuple[int, int], extent: tuple[int, int], weight: Tensor, generator: torch.Generator
) -> Tensor:
    """maps (N, 1, H, W), one window of each -> (N, 1, h, w), sampled bilinearly; `weight` (h, w) of the mean shift."""
    canvas = torch.tensor(maps.shape[-2:], dtype=torch.float32)
    half = torch.tensor(extent, dtype=torch.float32) / 2
    lowest, highest = half, torch.maximum(canvas - half, half)
    # Start on ink, not on the noise of the paper: a pixel drawn in proportion to its contrast squared.
    chances = maps.flatten(1).square() + torch.finfo(torch.float32).tiny
    drawn = torch.multinomial(chances, 1, generator=generator)[:, 0]
    places = torch.stack([drawn // maps.shape[-1], drawn % maps.shape[-1]], dim=1)  # rows, columns
    centres = (places + 0.5).clamp(lowest, highest)
    offsets = [(torch.arange(count) + 0.5) / count * side - side / 2 for count, side in zip(size, extent)]
    steps = torch.stack(torch.meshgrid(*offsets, indexing="ij"), dim=-1)  # h, w, 2
    for shift in range(SHIFTS + 1):
        grid = (centres[:, None, None] + steps) / canvas * 2 - 1
        windows = F.grid_sample(maps, grid.flip(-1), align_corners=False, padding_mode="zeros")
        if shift == SHIFTS:
            break
        mass = (windows[:, 0] * weight)[..., None]
        mean = (mass * steps).sum((1, 2)) / mass.sum((1, 2)).clamp_min(1e-6)
        centres = (centres + mean).clamp(lowest, highest)
    return windows
