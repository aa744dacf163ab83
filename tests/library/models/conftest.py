"""A plain DTI K-means to compare with: loops over prototypes and images, gradient through all candidates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from dti_sprites.config import RunConfig
from dti_sprites.data.imageset import ImageSet
from dti_sprites.models import build_model
from dti_sprites.models.prototypes.pixels import PixelPrototypes
from dti_sprites.training import Callback


@pytest.fixture
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def warp(image, x, y, padding):
    """image (C, h, w), pixel positions x, y (H, W) -> (C, H, W): four gathers."""
    _c, h, w = image.shape
    if padding == "border":
        x, y = x.clamp(0, w - 1), y.clamp(0, h - 1)
    x0, y0 = x.detach().floor().long(), y.detach().floor().long()
    out = 0
    for px, py in ((x0, y0), (x0 + 1, y0), (x0, y0 + 1), (x0 + 1, y0 + 1)):
        inside = (px >= 0) & (px < w) & (py >= 0) & (py < h)
        value = image[:, py.clamp(0, h - 1), px.clamp(0, w - 1)] * inside
        out = out + value * (1 - (x - px).abs()) * (1 - (y - py).abs())
    return out


def pixels(coordinate, n, corners):
    return (coordinate + 1) / 2 * (n - 1) if corners else ((coordinate + 1) * n - 1) / 2


def axes(h, w, corners):
    if corners:
        return torch.linspace(-1, 1, h), torch.linspace(-1, 1, w)
    return (2 * torch.arange(h) + 1.0) / h - 1, (2 * torch.arange(w) + 1.0) / w - 1


def affine_matrix(name, b):
    one, zero = torch.ones(()), torch.zeros(())
    rows = {
        "affine": lambda: [1 + b[0], b[1], b[2], b[3], 1 + b[4], b[5]],
        "position": lambda: [b[0].exp() + 1, zero, b[1], zero, b[0].exp() + 1, b[2]],
        "similarity": lambda: [1 + b[0], -b[1], b[2], b[1], 1 + b[0], b[3]],
        "rotation": lambda: [one, -b[0], zero, b[0], one, zero],
        "translation": lambda: [2 * one, zero, b[0], zero, 2 * one, b[1]],
        "isotranslation": lambda: [1 + b[0], zero, b[1], zero, 1 + b[0], b[2]],
    }[name]()
    return torch.stack(rows).view(2, 3)


def transform(name, image, b, padding="border", grid="legacy", g=4, k=7, clamp="none"):
    """One image (C, H, W) by the written definition of each transformation."""
    c, h, w = image.shape
    if name == "identity":
        return image
    if name in ("color", "linearcolor"):
        pairs = b.view(c, 2) if name == "color" else torch.stack([b, torch.zeros_like(b)], 1)
        out = torch.stack([(1 + pairs[i, 0]) * image[i] + pairs[i, 1] for i in range(c)])
        if clamp == "soft":
            out = out.clamp(0, 1) + 0.01 * out.clamp(max=0) + 0.01 * (out - 1).clamp(min=0)
        return out.clamp(0, 1) if clamp == "hard" else out
    if name == "morpho":
        a = torch.full((k * k,), -5.0)
        a[k * k // 2] = 5.0
        a = torch.sigmoid(a + b[1:])[:, None]
        channels = []
        for i in range(c):
            near = F.unfold(image[i][None, None], k, padding=k // 2)[0]
            factor = a * torch.exp(b[0] * near)
            channels.append(((factor * near).sum(0) / factor.sum(0)).view(h, w))
        return torch.stack(channels)
    if name == "tps":
        ys, xs = axes(h, w, corners=grid == "legacy")
        side = torch.linspace(-1, 1, g)
        control = torch.stack([torch.stack([side[i % g], side[i // g]]) for i in range(g * g)])
        n = g * g

        def kernel(p, q):
            r2 = (p[:, None] - q[None]).square().sum(-1)
            return torch.where(r2 > 0, 0.5 * r2 * torch.log(r2.clamp_min(1e-300)), 0.0)

        system = torch.zeros(n + 3, n + 3)
        affine = torch.cat([torch.ones(n, 1), control], 1)
        system[:n, :n], system[:n, n:], system[n:, :n] = kernel(control, control), affine, affine.T
        weights = torch.linalg.solve(system, torch.cat([control + b.view(2, n).T, torch.zeros(3, 2)]))
        u = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], -1).view(-1, 2)
        moved = torch.cat([kernel(u, control), torch.ones(len(u), 1), u], 1) @ weights
        x, y = moved.view(h, w, 2).unbind(-1)
        return warp(image, pixels(x, w, False), pixels(y, h, False), padding)
    corners = name == "projective" and grid == "legacy"
    ys, xs = axes(h, w, corners)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    if name == "projective":
        m = torch.eye(3) + b.view(3, 3)
        z = m[2, 0] * x + m[2, 1] * y + m[2, 2]
        x, y = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / z, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / z
    else:
        m = affine_matrix(name, b)
        x, y = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
        padding = "zeros" if name == "translation" else padding
    return warp(image, pixels(x, w, corners), pixels(y, h, corners), padding)


def head(heads, k, feature):
    """One head of a stack on one feature vector (F,)."""
    x = feature
    for i, (weight, bias) in enumerate(zip(heads.weights, heads.biases)):
        x = (torch.relu(x) if i else x) @ weight[k].T + bias[k]
    return x


def candidates(model, images, x):
    """images (K, C, H, W) -> list of K lists of B transformed images."""
    options = model.config.model
    features = model.encoder(x)
    table = []
    for k in range(model.n_prototypes):
        row = []
        for i in range(len(x)):
            image = images[k]
            for name in model.transformation_names[: model.stage]:
                if name == "identity":
                    continue
                stack = model.sequence.heads[name]
                beta = head(stack, 0 if options.shared_heads else k, features[i])
                image = transform(
                    name, image, beta, options.padding, options.grid, options.tps_grid_size,
                    options.morpho_kernel_size, options.color_clamp,
                )  # fmt: skip
            row.append(image)
        table.append(row)
    return table


def kmeans_distances(model, x, weight=None):
    """(B, K), with gradient through every candidate."""
    _, c, h, w = x.shape
    window = torch.ones(h, w)
    std = model.config.model.gaussian_window_std
    if std is not None:
        gy = torch.exp(-0.5 * ((torch.arange(h) - (h - 1) / 2) / std) ** 2)
        gx = torch.exp(-0.5 * ((torch.arange(w) - (w - 1) / 2) / std) ** 2)
        window = gy[:, None] * gx[None]
    columns = []
    for row in candidates(model, model.prototypes.pixels, x):
        column = []
        for i, image in enumerate(row):
            squared = (x[i] - image) ** 2 * window
            if weight is None:
                column.append(squared.mean())
            else:
                column.append((squared * weight[i]).sum() / (c * weight[i].sum().clamp(min=1)))
        columns.append(torch.stack(column))
    return torch.stack(columns, 1)


def tiny_model(channels=1, size=(6, 5), training=None, **model):
    """A model with prototypes and heads away from their start, so that nothing is trivially zero."""
    settings = {
        "n_prototypes": 3, "n_hidden_units": 8, "encoder": "resnet20", "transformation_sequence": "identity_affine",
        "morpho_kernel_size": 3, **model,
    }  # fmt: skip
    config = RunConfig.from_dict({"model": settings, "training": {"epochs": 10, **(training or {})}})
    built = build_model(config, channels, size)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for heads in built.sequence.heads.values():
            for parameter in heads.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
                parameter.add_(0.05 * noise.to(parameter.dtype))
        if isinstance(built.prototypes, PixelPrototypes):
            noise = torch.rand(built.prototypes.pixels.shape, generator=generator, dtype=torch.float32)
            built.prototypes.pixels.copy_(noise)
    return built


class StopAt(Callback):
    """Asks to stop after so many iterations."""

    def __init__(self, iteration):
        self.left = iteration

    def should_stop(self):
        self.left -= 1
        return self.left <= 0


def enlarge(images, size):
    """The set with every image repeated to `size`."""
    return dataclasses.replace(images, images=F.interpolate(images.images, size), original_sizes=[])


@pytest.fixture
def small_images() -> ImageSet:
    """Fourteen noisy images of 8 x 8."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (14, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(images, [f"{i:06d}" for i in range(14)])


@pytest.fixture
def plain() -> SimpleNamespace:
    """The plain versions, and a maker of tiny models."""
    return SimpleNamespace(
        transform=transform,
        affine_matrix=affine_matrix,
        head=head,
        candidates=candidates,
        kmeans_distances=kmeans_distances,
        tiny_model=tiny_model,
        StopAt=StopAt,
        enlarge=enlarge,
    )
