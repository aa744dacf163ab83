"""Smooth morphology: a soft dilation (α > 0) or erosion (α < 0) as two convolutions.

    out(p) = Σ_j a_j e^{α x(p+j)} x(p+j) / Σ_j a_j e^{α x(p+j)}

with the image continued by zeros *before* the exponential. Numerator and denominator are the same
depthwise convolution of x·e^{αx} and e^{αx}.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# e^{αx} is computed relative to its maximum over the image, a factor that cancels. Beyond e^-80 a pixel no
# longer counts; the floor keeps the quotient defined where a whole neighbourhood is that far below.
LOWEST_EXPONENT = -80.0


def smooth_morphology(images: Tensor, alpha: Tensor, weights: Tensor) -> Tensor:
    """images (N, C, H, W), alpha (N,), weights (N, k, k) with k odd and weights > 0 -> (N, C, H, W).

    All channels of an image share its alpha and weights.
    """
    n, channels, height, width = images.shape
    side = weights.shape[-1]
    radius = side // 2
    padded = F.pad(images, (radius,) * 4)
    exponent = padded * alpha.view(n, 1, 1, 1)
    peak = exponent.detach().amax((1, 2, 3), keepdim=True)
    powers = (exponent - peak).clamp_min(LOWEST_EXPONENT).exp()
    # One group per image; numerator, denominator and channels go along the batch dimension.
    both = torch.stack([padded * powers, powers]).transpose(1, 2).reshape(2 * channels, n, *padded.shape[2:])
    sums = F.conv2d(both, weights.unsqueeze(1), groups=n).view(2, channels, n, height, width)
    return (sums[0] / sums[1]).transpose(0, 1)
