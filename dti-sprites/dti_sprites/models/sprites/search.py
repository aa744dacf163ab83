"""Which sprite each layer shows: the smallest error over all combinations, or a greedy search.

Nothing here has a gradient. Candidates of a block of images are rendered once; every error then is a scalar
product (`ops.expansion`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dti_sprites.models.sprites.composition import fixed_occlusion
from dti_sprites.models.sprites.renderer import Window
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


@dataclass(frozen=True)
class Candidates:
    """Every sprite in one layer of B images; outside of the window of h·w = P pixels there is nothing."""

    window: Window
    maps: Tensor  # (B, K, 2C + 3, P)

    @classmethod
    def of(cls, window: Window, colours: Tensor, masks: Tensor) -> Candidates:
        """colours (B, K, C, h, w), not premultiplied, masks (B, K, 1, h, w)."""
        return cls(window, candidate_maps(masks.flatten(-2), colours.flatten(-2)))


class Scene:
    """Compositions of B images in the making: the candidates of every layer, and what is in it now.

    x, background: (B, C, H, W), the latter None for black; occlusion: (B or 1, L, L) or None for the fixed order;
    weight (B or 1, 1, H, W); costs: (K,) or (K + 1,) added to the error of each choice, the last one being
    "nothing", infinite to forbid.

    A composition is a sum of parts: the background, if there is one, and the layers, each times how much of it
    shows, the product of what every layer leaves of it.
    """

    def __init__(
        self,
        x: Tensor,
        candidates: Sequence[Candidates],
        background: Tensor | None,
        occlusion: Tensor | None,
        weight: Tensor,
        costs: Tensor,
    ) -> None:
        self.x, self.candidates, self.weight, self.costs = x, candidates, weight, costs
        n, self.channels, *size = x.shape
        layers = self.n_layers = len(candidates)
        self.k = candidates[0].maps.shape[1]
        self.rows = torch.arange(n, device=x.device)
        self.sprites = torch.full((n, layers), self.k, device=x.device)  # K: nothing
        self.filled = [False] * layers  # whether anything has been put there
        self.errors = x.new_zeros(n, layers, len(costs))
        self.now: Tensor | None = None  # error (B,) of the compositions as they are, where it is known
        self.masks = x.new_zeros(n, layers, 1, *size)
        behind = 0 if background is None else 1
        self.first = behind  # the part that is the first layer
        self.parts = x.new_zeros(n, behind + layers, self.channels, *size)  # premultiplied
        hides = fixed_occlusion(layers).to(x) if occlusion is None else occlusion
        if background is not None:
            self.parts[:, 0] = background
            hides = torch.cat([torch.ones_like(hides[..., :1]), hides], dim=2)
        self.hides = hides[..., None, None, None]  # (B or 1, L, parts, 1, 1, 1): of each part, by each layer
        # For each layer what makes -S and T of the other parts, as they show.
        others = hides.new_ones(layers, behind + layers)
        others[:, behind:].fill_diagonal_(0.0)
        self.mix = torch.stack([-others.expand_as(hides), hides], dim=2).expand(n, -1, -1, -1)
        self.one = x.new_ones(())
        self.whole = self.one.expand(n, behind + layers, 1, *size)

    def hide(self, shown: Tensor, layer: int) -> None:
        """Let `layer`, too, be in front of parts of which `shown` (B, parts, 1, H, W) was to be seen."""
        if not self.filled[layer]:
            return
        window = (..., *self.candidates[layer].window)
        mask = self.masks[:, layer, None][window]
        shown[window].mul_(torch.addcmul(self.one, self.hides[:, layer], mask, value=-1.0))

    def visit(self, layer: int, shown: Tensor) -> Tensor:
        """Errors (B, K + 1) of each candidate in `layer`, and of none, the other layers staying as they are.

        shown (B, parts, 1, h, w): how much of each part shows behind all other layers, in this one's window.
        """
        if self.now is None:
            self.now = self.error()
        window = (..., *self.candidates[layer].window)
        n, _, _, height, width = shown.shape
        fixed = torch.bmm(self.mix[:, layer], (shown * self.parts[window]).flatten(2))
        fixed = fixed.view(n, 2, self.channels, height * width)
        fixed[:, 0] += self.x[window].flatten(2)
        clear, weight = shown[:, self.first + layer].flatten(2), self.weight[window].flatten(2)
        errors = expanded_errors(self.candidates[layer].maps, state_maps(fixed, clear, weight))
        errors = torch.cat([errors, torch.zeros_like(errors[:, :1])], dim=1)
        # Relative to none in this layer: that has the present error without what the present choice adds to it.
        errors += (self.now - errors[self.rows, self.sprites[:, layer]])[:, None]
        self.errors[:, layer] = errors[:, : len(self.costs)]
        return errors

    def error(self) -> Tensor:
        """Error (B,) of the compositions as they are."""
        shown = self.whole.clone()
        for layer in range(self.n_layers):
            self.hide(shown, layer)
        composed = (shown * self.parts).sum(1)
        return ((self.x - composed).square_() * self.weight).flatten(1).sum(1)

    def put(self, layer: int, sprites: Tensor) -> None:
        """Show candidate sprites[b] (K: nothing) in `layer` of image b."""
        window, maps = (..., *self.candidates[layer].window), self.candidates[layer].maps
        chosen = maps.flatten(0, 1).index_select(0, self.rows * self.k + sprites.clamp_max(self.k - 1))
        present = (sprites < self.k).to(chosen).view(-1, 1, 1, 1)
        masks, colours = self.masks[:, layer][window], self.parts[:, self.first + layer][window]
        found = split_maps(chosen, self.channels)
        torch.mul(found[0].view_as(masks), present, out=masks)
        torch.mul(found[1].unflatten(2, masks.shape[2:]), present, out=colours)
        self.sprites[:, layer] = sprites
        self.filled[layer], self.now = True, None

    def improve(self, layer: int, shown: Tensor) -> None:
        """Put the best candidate into `layer`; `shown` as for a visit."""
        errors = self.visit(layer, shown)
        best = (errors[:, : len(self.costs)] + self.costs).argmin(1)
        self.put(layer, best)
        self.now = errors[self.rows, best]

    def sweep(self, change: Callable[[int, Tensor], object]) -> None:
        """Call `change` with each layer and what shows behind all others; it may fill the layer anew."""
        above = [self.whole]  # what the layers after the last, the last but one, ... leave
        for layer in range(self.n_layers - 1, 0, -1):
            above.append(above[-1].clone() if self.filled[layer] else above[-1])
            self.hide(above[-1], layer)
        shown = self.whole.clone()
        for layer in range(self.n_layers):
            window, others = (..., *self.candidates[layer].window), above.pop()
            change(layer, shown[window] if others is self.whole else shown[window] * others[window])
            self.hide(shown, layer)

    def cost(self) -> Tensor:
        """Error of the compositions with the costs of all their sprites, (B,)."""
        error = self.error() if self.now is None else self.now
        return error + self.costs[self.sprites].sum(1)


def greedy(scene: Scene, sweeps: int) -> Tensor:
    """From empty layers, improve one layer after the other, `sweeps` times. Returns the cost (B,)."""
    for _ in range(sweeps):
        scene.sweep(scene.improve)
    return scene.cost()


def exhaustive(scene: Scene) -> Tensor:
    """The best of all combinations: all sprites of the last layer at once, the others in a loop.

    Returns the cost (B,). The errors of the scene are those of its final state.
    """
    last = scene.n_layers - 1
    best, sprites = scene.x.new_full((len(scene.x),), torch.inf), scene.sprites
    possible = scene.costs.isfinite().nonzero()[:, 0].tolist()
    for combination in itertools.product(possible, repeat=last):
        shown = scene.whole.clone()
        for layer, k in enumerate(combination):
            scene.put(layer, torch.full_like(scene.rows, k))
            scene.hide(shown, layer)
        scene.improve(last, shown[(..., *scene.candidates[last].window)])
        cost = scene.cost()
        sprites = torch.where((cost < best)[:, None], scene.sprites, sprites)
        best = torch.minimum(best, cost)
    for layer in range(scene.n_layers):
        scene.put(layer, sprites[:, layer])
    scene.sweep(scene.visit)
    return best


def best_background(scenes: Sequence[Scene], costs: Sequence[Tensor], revisit: bool) -> Choice:
    """Of the same images decomposed on different backgrounds, the best decomposition of each.

    revisit: compute the errors of all layers once more, for the final state of the others.
    """
    if revisit:
        for scene in scenes:
            scene.sweep(scene.visit)
    background = torch.stack(list(costs)).argmin(0)
    rows = scenes[0].rows
    sprites = torch.stack([scene.sprites for scene in scenes])[background, rows]
    errors = torch.stack([scene.errors for scene in scenes])[background, rows]
    return Choice(sprites, background, errors)
