"""The choice of one sprite per image, by looking at every composition of one layer on a background.

With one layer a composition is b + m·(c - b), so that its error costs three passes over a candidate: less than
the scalar products that serve the search over many layers. Nothing here has a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.sprites.renderer import Renderer, ScenePrediction
from dti_sprites.models.sprites.search import Choice
from dti_sprites.ops.blocks import blocks

PASSES = 2  # of candidates that are in the cache at once, in images with a mask


@torch.no_grad()
def best_sprite(
    x: Tensor,
    pixels: Tensor,
    stack: Tensor,
    backgrounds: list[Tensor] | None,
    renderer: Renderer,
    prediction: ScenePrediction,
    noise: Tensor | None,
    costs: Tensor,
    pins: Tensor | None = None,
) -> Choice:
    """x (B, C, H, W), pixels (B or 1, 1, H, W) with their normalisation, stack (K, C + 1 or 2, h, w).

    `backgrounds`: each background for each image, (B, C, H, W); None: black. `costs` (K or K + 1,): what each
    choice costs besides its error, the last one being "nothing". `pins` (B,): the sprite that an image must show; -1:
    the best.
    """
    behind: list[Tensor | None] = [None] if backgrounds is None else [*backgrounds]
    rest = [x if background is None else x - background for background in behind]
    k, batch, channels = len(stack), len(x), x.shape[1]
    errors = x.new_empty(len(behind), len(costs), batch)
    weights = pixels.expand(-1, channels, -1, -1).flatten(1)
    elements = PASSES * (channels + 1) * x[0, 0].numel()
    for ks, bs in blocks(k, batch, elements, x.device):
        colours, masks = renderer.candidate_block(stack, prediction, ks, bs, noise)
        for m, background in enumerate(behind):
            layer = colours if background is None else colours - background[bs]
            difference = torch.mul(layer, masks).sub_(rest[m][bs]).square_().flatten(2)
            errors[m, ks, bs] = _weighted_sum(difference, weights if len(weights) == 1 else weights[bs])
    if len(costs) > k:
        for m, difference in enumerate(rest):
            errors[m, k] = _weighted_sum(difference.square().flatten(1)[None], weights)[0]
    total = errors + costs[:, None]
    if pins is not None:
        others = torch.arange(len(costs), device=x.device)[:, None] != pins
        total = total.masked_fill(others & (pins >= 0), torch.inf)
    background, rows = total.amin(1).argmin(0), torch.arange(batch, device=x.device)
    sprites = total[background, :, rows].argmin(1, keepdim=True)
    return Choice(sprites, background, errors[background, :, rows][:, None])


def _weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """values (k, b, P), weights (b or 1, P) -> (k, b)."""
    if len(weights) == 1:
        return values @ weights[0]
    return (values * weights).sum(2)
