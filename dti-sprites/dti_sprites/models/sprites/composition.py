"""Composition of layers.

    x̂ = Σ_i [ Π_j (1 - δ_ji m_j) ] m_i c_i

over the background (hidden by every layer, hiding none) and L layers of mask m and colours c, where δ_ji is the
probability that layer j hides layer i. Layers are given by masks (B, L, 1, ...) and premultiplied colours m·c
(B, L, C, ...), whatever the pixel dimensions are. `occlusion` (B or 1, L, L) holds δ with the hiding layer
first and zeros on the diagonal; None stands for the fixed order: a layer hides all before it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fixed_occlusion(n_layers: int) -> Tensor:
    """(1, L, L) with 1 where the first layer comes after the second."""
    return torch.ones(1, n_layers, n_layers).tril(-1)


def hiding_row(occlusion: Tensor, layer: int, n_dims: int) -> Tensor:
    """δ of `layer` over each layer, (B or 1, L, 1, ...) with `n_dims` dimensions."""
    row = occlusion[:, layer]
    return row.view(*row.shape, *[1] * (n_dims - 2))


def visibility(masks: Tensor, occlusion: Tensor | None) -> tuple[Tensor, Tensor]:
    """masks (B, L, 1, ...) -> how much of each layer (B, L, 1, ...) and of the background (B, 1, ...) shows."""
    n_layers = masks.shape[1]
    if occlusion is None:  # products from the last layer down
        clear = torch.ones_like(masks[:, 0])
        shown = []
        for layer in reversed(range(n_layers)):
            shown.append(clear)
            clear = clear * (1.0 - masks[:, layer])
        return torch.stack(shown[::-1], dim=1), clear
    layers, background = torch.ones_like(masks), torch.ones_like(masks[:, 0])
    for layer in range(n_layers):
        above = masks[:, layer : layer + 1]
        layers = layers * (1.0 - hiding_row(occlusion, layer, masks.ndim) * above)
        background = background * (1.0 - above[:, 0])
    return layers, background


def compose(
    masks: Tensor, premultiplied: Tensor, background: Tensor | None, occlusion: Tensor | None
) -> Tensor:
    """masks (B, L, 1, ...), premultiplied (B, L, C, ...), background (B, C, ...) or None (black) -> (B, C, ...)."""
    layers, behind = visibility(masks, occlusion)
    image = (layers * premultiplied).sum(1)
    return image if background is None else image + behind * background
