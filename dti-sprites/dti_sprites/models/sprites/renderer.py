"""Sprites and backgrounds, transformed as the features of each image say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dti_sprites.config import RunConfig
from dti_sprites.models.sequence import TransformationSequence, active_count
from dti_sprites.models.sprites.occlusion import Occlusion
from dti_sprites.models.transformations import TransformationOptions
from dti_sprites.ops.clamp import clamp_in_place, clamp_values
from dti_sprites.ops.select import select_parameters
from dti_sprites.ops.warp import sample, supports

Parameters = dict[str, Tensor]
Window = tuple[slice, slice]  # rows and columns


@dataclass(frozen=True)
class ScenePrediction:
    """What the features of B images say about their layers."""

    sprites: Parameters  # (L·K, B, p) of each layer's own version of each sprite; (L, B, p) with shared heads
    layers: Parameters  # (L, B, p), the same for all sprites
    backgrounds: Parameters  # (M, B, p)
    occlusion: Tensor | None  # (B or 1, L, L)

    def detach(self) -> ScenePrediction:
        return self._each(torch.Tensor.detach, None if self.occlusion is None else self.occlusion.detach())

    def block(self, images: slice) -> ScenePrediction:
        """The same for these images of the batch."""
        occlusion = self.occlusion
        if occlusion is not None and len(occlusion) > 1:
            occlusion = occlusion[images]
        return self._each(lambda values: values[:, images], occlusion)

    def _each(self, change: Callable[[Tensor], Tensor], occlusion: Tensor | None) -> ScenePrediction:
        sprites, layers, backgrounds = (
            {name: change(values) for name, values in group.items()}
            for group in (self.sprites, self.layers, self.backgrounds)
        )
        return ScenePrediction(sprites, layers, backgrounds, occlusion)


class Renderer(nn.Module):
    """Heads and transformations of sprites, layers and backgrounds.

    With a layer sequence, a sprite is first transformed on its own canvas (h, w), by heads of its own for each
    layer, then placed in the image by that of the layer, which does not depend on the sprite.
    """

    def __init__(
        self,
        config: RunConfig,
        channels: int,
        sprite_size: tuple[int, int],
        size: tuple[int, int],
        n_features: int,
    ) -> None:
        super().__init__()
        model, sprites = config.model, config.model.sprites
        self.channels, self.size, self.clamp = channels, size, sprites.clamp
        self.k, self.n_layers, self.n_backgrounds = (
            model.n_prototypes,
            sprites.n_layers,
            sprites.n_backgrounds,
        )
        self.shared_heads = model.shared_heads
        self.curricula = {
            "sprites": config.training.curriculum,
            "layers": sprites.layer_curriculum,
            "backgrounds": config.background_curriculum,
        }
        options = TransformationOptions(
            size=size,
            channels=channels,
            padding=model.padding,
            grid=model.grid,
            tps_grid_size=model.tps_grid_size,
            morpho_kernel_size=model.morpho_kernel_size,
            color_clamp=model.color_clamp,
        )
        heads = {"n_features": n_features, "hidden": model.n_hidden_units, "n_hidden": model.n_hidden_layers}
        self.sprites = TransformationSequence(
            model.transformations,
            replace(options, size=sprite_size) if sprites.layer_transformations else options,
            n_heads=self.n_layers * (1 if model.shared_heads else self.k),
            **heads,
        )
        self.layers: TransformationSequence | None = None
        if sprites.layer_transformations:
            self.layers = TransformationSequence(
                sprites.layer_transformations, options, n_heads=self.n_layers, **heads
            )
        self.backgrounds: TransformationSequence | None = None
        if self.n_backgrounds:
            self.backgrounds = TransformationSequence(
                config.background_transformations,
                replace(options, padding="border"),
                n_heads=self.n_backgrounds,
                **heads,
            )
        self.occlusion = Occlusion(
            sprites.occlusion, self.n_layers, n_features, model.n_hidden_units, model.n_hidden_layers
        )

    def sequences(self) -> dict[str, TransformationSequence]:
        """By name: "sprites", and "layers" and "backgrounds" where there are any."""
        named = {"sprites": self.sprites, "layers": self.layers, "backgrounds": self.backgrounds}
        return {name: sequence for name, sequence in named.items() if sequence is not None}

    def set_epoch(self, completed: int) -> list[str]:
        """Follow the three curricula; returns what this activated, such as "tps" or "backgrounds: tps"."""
        activated = []
        for name, sequence in self.sequences().items():
            before = sequence.active
            sequence.active = active_count(self.curricula[name], len(sequence.names), completed)
            prefix = "" if name == "sprites" else f"{name}: "
            activated += [prefix + each for each in sequence.names[before : sequence.active]]
        return activated

    @property
    def needs_features(self) -> bool:
        """Whether anything active is predicted."""
        return self.occlusion.needs_features or any(s.needs_features for s in self.sequences().values())

    def predict(self, features: Tensor | None) -> ScenePrediction:
        """features (B, F), or None when nothing needs them."""
        return self.late()(features)

    def late(self) -> Callable[[Tensor | None], ScenePrediction]:
        """`predict`, to be called later: the gradient of the heads is computed after that of all that is computed until
        then (`ops.late`)."""
        heads = {name: sequence.late() for name, sequence in self.sequences().items()}

        def predict(features: Tensor | None) -> ScenePrediction:
            groups: dict[str, Parameters] = {"sprites": {}, "layers": {}, "backgrounds": {}}
            if features is not None:
                groups |= {name: head(features) for name, head in heads.items()}
            return ScenePrediction(**groups, occlusion=self.occlusion(features))

        return predict

    def finish(self, images: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """images (..., C + 1 or C + 2, H, W) -> colours (..., C, H, W) and masks (..., 1, H, W).

        noise (..., 1, H, W) is added to the raw masks where the warped canvas allows, before the clamp.
        """
        colours, masks, *canvas = images.split(
            [self.channels, *[1] * (images.shape[-3] - self.channels)], dim=-3
        )
        if noise is not None:
            masks = torch.addcmul(masks, canvas[0], noise)
            if torch.is_grad_enabled():
                masks = clamp_values(masks, self.clamp)
            else:
                clamp_in_place(masks, self.clamp)
        return colours, masks

    def candidates(
        self, stack: Tensor, prediction: ScenePrediction, batch: int, noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """stack (K, C + 1 or 2, h, w), noise (K, 1, H, W) -> colours (L, B, K, C, H, W), masks (L, B, K, 1, H, W).

        Every sprite in every layer of every image of the batch.
        """
        images = self.own(stack, prediction, batch)
        if self.layers is not None:
            chosen = {name: values.flatten(0, 1) for name, values in prediction.layers.items()}
            images = self.layers.shared(images, chosen)
        return self.finish(images.unflatten(0, (self.n_layers, batch)), noise)

    def own(self, stack: Tensor, prediction: ScenePrediction, batch: int) -> Tensor:
        """stack (K, C', h, w) -> (L·B, K, C', h, w): every sprite as each layer of each image transforms it itself."""
        layers, k = self.n_layers, len(stack)
        images = stack.expand(layers * batch, *stack.shape)
        if not prediction.sprites:
            return images
        chosen = {}
        for name, values in prediction.sprites.items():
            by_layer = values.unflatten(0, (layers, -1)).transpose(1, 2)  # L, B, K or 1, p
            chosen[name] = by_layer.expand(-1, -1, k, -1).flatten(0, 2)
        return self.sprites(images.flatten(0, 1), chosen).unflatten(0, (-1, k))

    def windows(
        self, stack: Tensor, prediction: ScenePrediction, batch: int, noise: Tensor | None
    ) -> Iterator[tuple[Window, Tensor, Tensor]]:
        """As `candidates`, layer by layer: a window, colours (B, K, C, h, w) and masks (B, K, 1, h, w) within it.

        Outside of its window a layer shows nothing. On the CPU that is the part of the image where the layers of
        this batch place anything, if a warp with black around it does so last; else it is the whole image.
        """
        warp, size = None if self.layers is None else self.layers.last_warp, self.size
        if self.layers is None or warp is None or stack.device.type != "cpu":
            every = (slice(0, size[0]), slice(0, size[1]))
            for colours, masks in zip(*self.candidates(stack, prediction, batch, noise)):
                yield every, colours, masks
            return
        images = self.own(stack, prediction, batch)
        chosen = {name: values.flatten(0, 1) for name, values in prediction.layers.items()}
        placing = chosen.pop(warp.name)
        images = self.layers.shared(images, chosen).unflatten(0, (self.n_layers, batch))
        coords = warp.coords(placing).unflatten(2, size).unflatten(0, (self.n_layers, batch))
        source = (images.shape[-2], images.shape[-1])
        for layer, window in enumerate(supports(coords, source, warp.corners)):
            grid = coords[layer, ..., window[0], window[1]]
            part = sample(
                images[layer].flatten(1, 2),
                grid.flatten(2),
                (grid.shape[-2], grid.shape[-1]),
                padding=warp.padding,
                align_corners=warp.corners,
            ).unflatten(1, (len(stack), -1))
            yield window, *self.finish(part, None if noise is None else noise[..., window[0], window[1]])

    def candidate_block(
        self, stack: Tensor, prediction: ScenePrediction, ks: slice, bs: slice, noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As `candidates` with one layer, of sprites `ks` for images `bs`: (k, b, C, H, W) and (k, b, 1, H, W)."""
        source = stack[ks, None]
        n_k, n_b = source.shape[0], bs.stop - bs.start

        def chosen(group: Parameters) -> Parameters:
            parts = {
                name: values[ks if len(values) > 1 else slice(0, 1), bs] for name, values in group.items()
            }
            return {name: part.expand(n_k, -1, -1).flatten(0, 1) for name, part in parts.items()}

        source = source.expand(n_k, n_b, *stack.shape[1:]).flatten(0, 1)
        images = self.place(source, chosen(prediction.sprites), chosen(prediction.layers))
        return self.finish(images.unflatten(0, (n_k, n_b)), None if noise is None else noise[ks, None])

    def choose(self, prediction: ScenePrediction, sprites: Tensor) -> tuple[Parameters, Parameters]:
        """Parameters (B·L, p) of sprites (B, L) in the layers they are in: of the sprites, and of the layers."""
        batch, layers = sprites.shape
        images = torch.arange(batch, device=sprites.device)[:, None].expand(-1, layers).flatten()
        layer = torch.arange(layers, device=sprites.device).expand(batch, -1)
        heads = layer if self.shared_heads else layer * self.k + sprites
        own = {
            name: select_parameters(values, heads.flatten(), images)
            for name, values in prediction.sprites.items()
        }
        placed = {name: values.transpose(0, 1).flatten(0, 1) for name, values in prediction.layers.items()}
        return own, placed

    def place(self, images: Tensor, own: Parameters, placed: Parameters) -> Tensor:
        """images (N, C', h, w) -> (N, C', H, W): the sprites' own transformations, then those of the layers."""
        images = self.sprites(images, own)
        return images if self.layers is None else self.layers(images, placed)

    @torch.no_grad()
    def first_extent(self, sprite_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width, in pixels of the image, that a sprite covers before anything is learnt."""
        device = next((tensor.device for tensor in self.parameters()), None)  # none: nothing is predicted
        canvas = torch.ones(1, self.channels + 1, *sprite_size, device=device)
        nothing = {name: each.no_change(device) for name, each in self.sequences().items()}
        covered = self.place(canvas, nothing["sprites"], nothing.get("layers", {}))[0, -1] > 0.5
        return int(covered.any(1).sum()), int(covered.any(0).sum())

    def choose_background(self, prediction: ScenePrediction, chosen: Tensor) -> Parameters:
        """Parameters (B, p) of backgrounds chosen (B,)."""
        images = torch.arange(len(chosen), device=chosen.device)
        return {
            name: select_parameters(values, chosen, images) for name, values in prediction.backgrounds.items()
        }
