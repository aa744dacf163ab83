"""DTI-Sprites by its written definition: loops over images, layers and sprites, and every composition rendered."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from dti_sprites.config import RunConfig
from dti_sprites.models import build_model

AFFINE = {"affine", "position", "similarity", "rotation", "isotranslation"}


def soft(v):
    return v.clamp(0, 1) + 0.01 * v.clamp(max=0) + 0.01 * (v - 1).clamp(min=0)


def compose(background, layers, delta):
    """background (C, ...) or None, layers [(mask, colour)], delta[j][i] how much j hides i -> (C, ...)."""
    image = 0.0
    for i, (mask, colour) in enumerate(layers):
        shown = mask * colour
        for j, (other, _) in enumerate(layers):
            if j != i:
                shown = shown * (1 - delta[j][i] * other)
        image = image + shown
    behind = 1.0 if background is None else background
    for mask, _ in layers:
        behind = behind * (1 - mask)
    return image if background is None else image + behind


class Reference:
    """One model and one batch, with gradient through whatever is chosen."""

    def __init__(self, plain, model, x, weight=None, noise=None):
        self.plain, self.model, self.x, self.weight, self.noise = plain, model, x, weight, noise
        self.config = model.config.model
        self.sprites = self.config.sprites
        self.size = tuple(x.shape[2:])
        self.c, self.k, self.n_layers = x.shape[1], model.n_prototypes, self.sprites.n_layers
        self.phi = model.encoder(x)

    def warp(self, name, image, b, size, padding):
        if name in AFFINE:
            theta = self.plain.affine_matrix(name, b)[None]
            grid = F.affine_grid(theta, (1, 1, *size), align_corners=False)
            return F.grid_sample(image[None], grid, padding_mode=padding, align_corners=False)[0]
        return self.plain.transform(name, image, b, padding, self.config.grid)

    def apply(self, sequence, head, i, image, size, padding):
        for name in sequence.names[: sequence.active]:
            if name == "identity":
                continue
            b = self.plain.head(sequence.heads[name], head, self.phi[i])
            if name == "color":
                colour = self.plain.transform(name, image[: self.c], b, clamp=self.config.color_clamp)
                image = torch.cat([colour, image[self.c :]])
            else:
                image = self.warp(name, image, b, size, padding)
        return image

    def layer(self, i, layer, k):
        """(mask (1, H, W), colour (C, H, W)) of sprite k in this layer of image i; nothing for k = K."""
        if k == self.k:
            return torch.zeros(1, *self.size), torch.zeros(self.c, *self.size)
        colours, masks = self.model.bank.colours.pixels[k], self.model.bank.masks.pixels[k]
        if self.model.bank.frozen_colours:
            colours = colours.detach()
        if self.model.bank.frozen_masks:
            masks = masks.detach()
        image = torch.cat([soft(colours), masks if self.noise is not None else soft(masks)])
        if self.noise is not None:
            image = torch.cat([image, torch.ones_like(masks)])
        own = self.model.renderer.sprites
        size = colours.shape[1:] if self.model.renderer.layers is not None else self.size
        head = layer if self.config.shared_heads else layer * self.k + k
        image = self.apply(own, head, i, image, size, self.config.padding)
        if self.model.renderer.layers is not None:
            image = self.apply(self.model.renderer.layers, layer, i, image, self.size, self.config.padding)
        mask = image[self.c : self.c + 1]
        if self.noise is not None:
            mask = soft(mask + image[self.c + 1 :] * self.noise[k])
        return mask, image[: self.c]

    def background(self, i, m):
        if not self.sprites.n_backgrounds:
            return None
        image = soft(self.model.backgrounds.images.pixels[m])
        if self.model.backgrounds.frozen:
            image = image.detach()
        return self.apply(self.model.renderer.backgrounds, m, i, image, self.size, "border")

    def delta(self, i):
        n, occlusion = self.n_layers, self.sprites.occlusion
        if occlusion == "fixed" or n == 1:
            return [[float(j > i) for i in range(n)] for j in range(n)]
        if occlusion == "none":
            return [[0.0] * n for _ in range(n)]
        out = self.plain.head(self.model.renderer.occlusion.head, 0, self.phi[i])
        table = [[0.0] * n for _ in range(n)]
        for p, (a, b) in enumerate((i, j) for i in range(n) for j in range(i)):
            table[a][b] = torch.sigmoid(out[p])
            table[b][a] = 1 - table[a][b]
        return table

    def error(self, i, image):
        squared = (self.x[i] - image) ** 2
        if self.weight is None:
            return squared.mean()
        return (squared * self.weight[i]).sum() / (self.c * self.weight[i].sum().clamp(min=1))

    def composition(self, i, choice, m):
        layers = [self.layer(i, layer, k) for layer, k in enumerate(choice)]
        return compose(self.background(i, m), layers, self.delta(i))

    def costs(self):
        empty = self.sprites.empty_sprite
        if not empty:
            return [0.0] * self.k
        frozen = self.model.frozen
        return [0.0 if frozen else self.sprites.empty_penalty] * self.k + [float("inf") if frozen else 0.0]

    def best(self, i):
        """(choice, background) of image i, by rendering every composition that the search looks at."""
        costs = self.costs()
        found = []
        for m in range(max(1, self.sprites.n_backgrounds)):
            if self.n_layers == 1 or self.sprites.estimate_minimum is False:
                tried = itertools.product(range(len(costs)), repeat=self.n_layers)
                totals = {c: self.total(i, c, m, costs) for c in tried}
                choice = min(totals, key=totals.get)
            else:
                choice = [self.k] * self.n_layers
                for _ in range(self.sprites.greedy_iterations):
                    for layer in range(self.n_layers):
                        tried = [[*choice[:layer], k, *choice[layer + 1 :]] for k in range(len(costs))]
                        totals = [
                            self.error(i, self.composition(i, t, m)).item() + costs[t[layer]] for t in tried
                        ]
                        choice = tried[totals.index(min(totals))]
            found.append((self.total(i, choice, m, costs), tuple(choice), m))
        _, choice, m = min(found)
        return choice, m

    def total(self, i, choice, m, costs):
        return self.error(i, self.composition(i, choice, m)).item() + sum(costs[k] for k in choice)

    def loss(self):
        """Loss with gradient, and the choices."""
        choices = [self.best(i) for i in range(len(self.x))]
        errors = [self.error(i, self.composition(i, c, m)) for i, (c, m) in enumerate(choices)]
        return torch.stack(errors).mean(), choices


def tiny(channels=3, size=(7, 6), training=None, sprites=None, **model):
    """A model whose sprites, backgrounds and heads are away from their start."""
    settings = {
        "kind": "sprites", "n_prototypes": 3, "n_hidden_units": 8, "encoder": "resnet20", "padding": "zeros",
        "color_clamp": "soft", "transformation_sequence": "identity_similarity",
        "sprites": {
            "n_layers": 2, "sprite_size": [5, 4], "layer_transformation_sequence": "color_position",
            "background_transformation_sequence": "color", **(sprites or {}),
        },
        **model,
    }  # fmt: skip
    config = RunConfig.from_dict({"model": settings, "training": {"epochs": 10, **(training or {})}})
    built = build_model(config, channels, size)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        heads = [h for s in built.renderer.sequences().values() for h in s.heads.values()]
        if built.renderer.occlusion.head is not None:
            heads.append(built.renderer.occlusion.head)
        for parameter in (p for h in heads for p in h.parameters()):
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.add_(0.1 * noise.to(parameter.dtype))
        if built.renderer.layers is not None and "position" in built.renderer.layers.heads:
            built.renderer.layers.heads["position"].biases[-1][:, 0] -= (
                1.0  # sprites larger than at the start
            )
        for parameter in built.prototype_parameters():
            noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.copy_(1.4 * noise - 0.2)  # also beyond the clamp
    return built


def batch(b=3, channels=3, size=(7, 6), seed=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(b, channels, *size, generator=generator)
    return x, torch.rand(b, 1, *size, generator=generator).round()


@pytest.fixture
def scenes(plain) -> SimpleNamespace:
    """The plain version, and makers of tiny models and batches."""

    def reference(*args, **kwargs):
        return Reference(plain, *args, **kwargs)

    return SimpleNamespace(tiny=tiny, batch=batch, reference=reference, compose=compose)
