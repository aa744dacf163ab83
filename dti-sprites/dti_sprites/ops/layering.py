"""Layers composed in blocks of images, with a backward pass that keeps nothing but its input.

Written with autograd, `compose` (models.sprites.composition, the reference of this) keeps and revisits tens of maps
for each pair of layers. Here one block after another stays in the cache, and the gradient follows from products:
with parts i (the background and the layers) of value v_i, each seen through s_i = Π_j (1 - δ_ji m_j),

    x̂ = Σ_i s_i v_i      ∂x̂/∂v_i = s_i      ∂x̂/∂(δ_ji m_j) = -v_i Π_{k≠j} (1 - δ_ki m_k)

where the products without j are those over the layers before it times those over the layers after it, so that no
division is needed and opaque layers are no exception.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from dti_sprites.ops.blocks import layer_block


def _hides(occlusion: Tensor, background: bool) -> Tensor:
    """occlusion (B or 1, L, L) -> how much each layer hides of each part, (B or 1, L, parts, 1)."""
    if background:
        occlusion = torch.cat([torch.ones_like(occlusion[..., :1]), occlusion], dim=2)
    return occlusion.unsqueeze(3)


def _left(masks: Tensor, hides: Tensor) -> list[Tensor]:
    """What each layer leaves to be seen of each part: L times (B, parts, P), of masks (B, L, P)."""
    one = masks.new_ones(())
    layers = range(masks.shape[1])
    return [torch.addcmul(one, hides[:, j], masks[:, j, None], value=-1.0) for j in layers]


class _Composition(torch.autograd.Function):
    """masks (B, L, P), colours (B, L, C, P), background (B, C, P) or None, occlusion (B or 1, L, L)."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, masks: Tensor, colours: Tensor, background: Tensor | None, occlusion: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(masks, colours, background, occlusion)  # type: ignore[arg-type]
        batch, layers, channels, pixels = colours.shape
        images = colours.new_empty(batch, channels, pixels)
        areas = colours.new_empty(batch, layers)
        for part, (m, c, b, hides) in _blocks(masks, colours, background, occlusion):
            left = _left(m, hides)
            shown = left[0]
            for each in left[1:]:
                shown.mul_(each)
            own = shown[:, -layers:] * m
            torch.sum(own, dim=2, out=areas[part])
            torch.sum(own[:, :, None] * c, dim=1, out=images[part])
            if b is not None:
                images[part].addcmul_(shown[:, :1], b)
        ctx.mark_non_differentiable(areas)
        return images, areas

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        masks, colours, background, occlusion = ctx.saved_tensors
        layers = masks.shape[1]
        to_masks, to_colours = torch.empty_like(masks), torch.empty_like(colours)
        to_background = None if background is None else torch.empty_like(background)
        to_occlusion = torch.zeros_like(occlusion)
        for part, (m, c, b, hides) in _blocks(masks, colours, background, occlusion):
            g = gradient[part]
            left = _left(m, hides)
            after = [
                torch.ones_like(left[0])
            ]  # products over the layers after the last, the last but one, ...
            for each in left[:0:-1]:
                after.append(after[-1] * each)
            shown = after[-1] * left[0]
            brightness = (g[:, None] * c).sum(2)  # how the loss depends on the amount of each layer
            torch.mul((shown[:, -layers:] * m)[:, :, None], g[:, None], out=to_colours[part])
            torch.mul(shown[:, -layers:], brightness, out=to_masks[part])
            values = brightness.mul_(m)
            if b is not None and to_background is not None:
                torch.mul(shown[:, :1], g, out=to_background[part])
                values = torch.cat([(g * b).sum(1, keepdim=True), values], dim=1)
            before = values  # times the products over the layers before
            for j in range(layers):
                lost = before * after.pop()
                weights = hides[:, j].transpose(1, 2).expand(len(m), -1, -1)
                to_masks[part, j] -= torch.bmm(weights, lost)[:, 0]
                if ctx.needs_input_grad[3]:
                    change = torch.bmm(lost[:, -layers:], m[:, j, :, None])[..., 0]
                    if len(occlusion) == 1:
                        to_occlusion[0, j] -= change.sum(0)
                    else:
                        to_occlusion[part, j] -= change
                before = before.mul_(left[j])
        return to_masks, to_colours, to_background, to_occlusion if ctx.needs_input_grad[3] else None


def _blocks(
    masks: Tensor, colours: Tensor, background: Tensor | None, occlusion: Tensor
) -> Iterator[tuple[slice, tuple[Tensor, Tensor, Tensor | None, Tensor]]]:
    """Slices of the batch, and masks, colours, background and `_hides` of each."""
    hides = _hides(occlusion, background is not None)
    batch, layers, pixels = masks.shape
    size = layer_block(layers * hides.shape[2] * pixels, batch, masks.device)
    for start in range(0, batch, size):
        part = slice(start, min(start + size, batch))
        behind = None if background is None else background[part]
        yield part, (masks[part], colours[part], behind, hides if len(hides) == 1 else hides[part])


def compose_layers(
    masks: Tensor, colours: Tensor, background: Tensor | None, occlusion: Tensor
) -> tuple[Tensor, Tensor]:
    """masks (B, L, 1, ...), colours (B, L, C, ...), not premultiplied, background (B, C, ...) or None (black), δ
    (B or 1, L, L) with the hiding layer first -> image (B, C, ...), and how much of each layer shows, summed over
    the pixels, (B, L) without gradient."""
    flat = None if background is None else background.flatten(2)
    images, areas = _Composition.apply(masks.flatten(2), colours.flatten(3), flat, occlusion)
    return images.view(len(images), *colours.shape[2:]), areas
