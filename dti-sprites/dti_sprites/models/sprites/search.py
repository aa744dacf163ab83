"""Which sprite each layer shows: the smallest error over all combinations, or a greedy search.

Nothing here has a gradient. Candidates of a block of images are rendered once; every error then is a scalar
product (`ops.expansion`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dti_sprites.models.sprites.composition import hiding_row, visibility
from dti_sprites.ops.expansion import candidate_maps, expanded_errors, split_maps, state_maps


@dataclass(frozen=True)
class Choice:
    """What explains each of B images best."""

    sprites: Tensor  # (B, L) int64 in 0 ... K, where K is the empty sprite
    background: Tensor  # (B,) int64, 0 without backgrounds
    errors: (
        Tensor  # (B, L, K or K + 1): mean squared error with each sprite in a layer, the others as they were
    )


def join(choices: Sequence[Choice]) -> Choice:
    """The choices of successive blocks of images as one."""
    parts = zip(*((c.sprites, c.background, c.errors) for c in choices))
    return Choice(*(torch.cat(part) for part in parts))


class Scene:
    """Compositions of B images in the making: the candidates of every layer, and what is in it now.

    maps: (L, B, K, 2C + 3, P) of the candidates; background: (B, C, P) or None (black); occlusion: (B or 1, L,
    L) or None for the fixed order; weight (B or 1, 1, P); costs: (K,) or (K + 1,) added to the error of each
    choice, the last one being "nothing", infinite to forbid.
    """

    def __init__(
        self,
        x: Tensor,
        maps: Tensor,
        background: Tensor | None,
        occlusion: Tensor | None,
        weight: Tensor,
        costs: Tensor,
    ) -> None:
        self.x, self.maps, self.background = x, maps, background
        self.occlusion, self.weight, self.costs = occlusion, weight, costs
        self.n_layers, n, self.k = maps.shape[:3]
        self.channels = x.shape[1]
        self.rows = torch.arange(n, device=x.device)
        self.masks = x.new_zeros(n, self.n_layers, 1, x.shape[2])
        self.colours = x.new_zeros(n, self.n_layers, self.channels, x.shape[2])  # premultiplied
        self.sprites = torch.full((n, self.n_layers), self.k, device=x.device)  # K: nothing
        self.errors = x.new_zeros(n, self.n_layers, len(costs))

    def visit(self, layer: int) -> Tensor:
        """Errors (B, K or K + 1) of each candidate in `layer`, the other layers staying as they are."""
        masks = self.masks.clone()
        masks[:, layer] = 0.0
        shown, behind = visibility(masks, self.occlusion)
        clear = shown[:, layer]
        parts = shown * self.colours
        parts[:, layer] = 0.0
        rest = parts.sum(1)
        if self.occlusion is None:
            hidden = parts[:, :layer].sum(1)
        else:
            hidden = (hiding_row(self.occlusion, layer, parts.ndim) * parts).sum(1)
        if self.background is not None:
            base = behind * self.background
            rest, hidden = rest + base, hidden + base
        state, constant = state_maps(self.x - rest, hidden, clear, self.weight)
        errors = expanded_errors(self.maps[layer], state, constant)
        if len(self.costs) > self.k:
            errors = torch.cat([errors, constant[:, None]], dim=1)
        self.errors[:, layer] = errors
        return errors

    def put(self, layer: int, sprites: Tensor) -> None:
        """Show candidate sprites[b] (K: nothing) in `layer` of image b."""
        chosen = self.maps[layer, self.rows, sprites.clamp_max(self.k - 1)]
        present = (sprites < self.k).to(chosen).view(-1, 1, 1)
        masks, colours = split_maps(chosen, self.channels)
        self.masks[:, layer], self.colours[:, layer] = masks * present, colours * present
        self.sprites[:, layer] = sprites

    def improve(self, layer: int) -> None:
        """Put the best candidate into `layer`."""
        self.put(layer, (self.visit(layer) + self.costs).argmin(1))

    def cost(self, layer: int) -> Tensor:
        """Error of the composition with the costs of all its sprites, (B,), right after a visit of `layer`."""
        chosen = self.sprites[:, layer]
        return self.errors[self.rows, layer, chosen] + self.costs[self.sprites].sum(1)


def greedy(scene: Scene, sweeps: int) -> Tensor:
    """From empty layers, improve one layer after the other, `sweeps` times. Returns the cost (B,)."""
    for _ in range(sweeps):
        for layer in range(scene.n_layers):
            scene.improve(layer)
    return scene.cost(scene.n_layers - 1)


def exhaustive(scene: Scene) -> Tensor:
    """The best of all combinations: all sprites of the last layer at once, the others in a loop.

    Returns the cost (B,). The errors of the scene are those of its final state.
    """
    last = scene.n_layers - 1
    if last == 0:
        scene.improve(0)
        return scene.cost(0)
    best, sprites = torch.full_like(scene.x[:, 0, 0], torch.inf), scene.sprites
    possible = scene.costs.isfinite().nonzero()[:, 0].tolist()
    for combination in itertools.product(possible, repeat=last):
        for layer, k in enumerate(combination):
            scene.put(layer, torch.full_like(scene.rows, k))
        scene.improve(last)
        cost = scene.cost(last)
        sprites = torch.where((cost < best)[:, None], scene.sprites, sprites)
        best = torch.minimum(best, cost)
    for layer in range(scene.n_layers):
        scene.put(layer, sprites[:, layer])
    for layer in range(scene.n_layers):
        scene.visit(layer)
    return best


def best_background(scenes: Sequence[Scene], costs: Sequence[Tensor], revisit: bool) -> Choice:
    """Of the same images decomposed on different backgrounds, the best decomposition of each.

    revisit: compute the errors of all layers once more, for the final state of the others.
    """
    if revisit:
        for scene in scenes:
            for layer in range(scene.n_layers):
                scene.visit(layer)
    background = torch.stack(list(costs)).argmin(0)
    rows = scenes[0].rows
    sprites = torch.stack([scene.sprites for scene in scenes])[background, rows]
    errors = torch.stack([scene.errors for scene in scenes])[background, rows]
    return Choice(sprites, background, errors)


def candidates_of(masks: Tensor, colours: Tensor) -> Tensor:
    """masks (L, B, K, 1, H, W), colours (L, B, K, C, H, W), not premultiplied -> maps (L, B, K, 2C + 3, P)."""
    masks, colours = masks.flatten(-2), colours.flatten(-2)
    return candidate_maps(masks, masks * colours)
