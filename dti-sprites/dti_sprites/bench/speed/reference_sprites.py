"""DTI-Sprites as the paper writes it: every sprite in every layer is rendered with gradient, and the search for the
best composition composes each candidate anew."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.bench.speed.reference_kmeans import one_head
from dti_sprites.bench.speed.reference_transformations import Size, soft_clamp, transform
from dti_sprites.models.sequence import TransformationSequence
from dti_sprites.models.sprites import DTISprites


class ReferenceSprites:
    """The parameters of a library model, used plainly. One background or none, pixels for sprites."""

    def __init__(self, model: DTISprites) -> None:
        if model.options.n_backgrounds > 1 or model.config.model.source != "pixels":
            raise ValueError("the reference knows at most one background, and sprites learnt as pixels")
        self.model = model

    def loss(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), noise (K, 1, H, W) on the masks (None: drawn as in training) -> mean squared error."""
        model = self.model
        features = model.encoder(x)
        noise = model.draw_noise(x) if noise is None else noise
        masks, colours = [], []
        for layer in range(model.n_layers):
            for k in range(model.n_prototypes):
                mask, colour = self.sprite(features, layer, k, noise)
                masks.append(mask)
                colours.append(colour)
            if model.options.empty_sprite:
                masks.append(torch.zeros_like(mask))
                colours.append(torch.zeros_like(colour))
        shape = (model.n_layers, model.n_choices)
        all_masks, all_colours = (
            torch.stack(masks).unflatten(0, shape),
            torch.stack(colours).unflatten(0, shape),
        )
        background, delta = self.background(features), self.occlusion(features)
        with torch.no_grad():
            chosen = self.search(x, all_masks, all_colours, background, delta)
        one_hot = torch.nn.functional.one_hot(chosen, model.n_choices).to(x)  # B, L, K
        weights = one_hot.permute(1, 2, 0)[..., None, None, None]
        found = self.compose((all_masks * weights).sum(1), (all_colours * weights).sum(1), background, delta)
        return (x - found).square().mean()

    def transformed(
        self,
        sequence: TransformationSequence,
        head: int,
        features: Tensor,
        images: Tensor,
        size: Size,
        padding: str,
    ) -> Tensor:
        settings = self.model.config.model
        for name in sequence.active_names:
            if name != "identity":
                beta = one_head(sequence.heads[name], head, features)
                images = transform(name, images, beta, size, padding, self.model.channels, settings)
        return images

    def sprite(self, features: Tensor, layer: int, k: int, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mask (B, 1, H, W) and colours (B, C, H, W) of sprite k in this layer."""
        model, renderer = self.model, self.model.renderer
        colours, mask = model.bank.colours()[k], model.bank.masks()[k]
        parts = [soft_clamp(colours), mask, torch.ones_like(mask)]
        if noise is None:
            parts = [soft_clamp(colours), soft_clamp(mask)]
        images = torch.cat(parts).expand(len(features), -1, -1, -1)
        own_size = model.image_size if renderer.layers is None else model.sprite_size
        padding = model.config.model.padding
        head = layer * model.n_prototypes + k
        images = self.transformed(renderer.sprites, head, features, images, own_size, padding)
        if renderer.layers is not None:
            images = self.transformed(renderer.layers, layer, features, images, model.image_size, padding)
        warped = images[:, model.channels, None]
        if noise is not None:
            warped = soft_clamp(warped + images[:, model.channels + 1, None] * noise[k])
        return warped, images[:, : model.channels]

    def background(self, features: Tensor) -> Tensor | None:
        """(B, C, H, W)."""
        model, sequence = self.model, self.model.renderer.backgrounds
        if model.backgrounds is None or sequence is None:
            return None
        images = soft_clamp(model.backgrounds.images()).expand(len(features), -1, -1, -1)
        return self.transformed(sequence, 0, features, images, model.image_size, "border")

    def occlusion(self, features: Tensor) -> list[list[Tensor | float]]:
        """How much layer i hides layer j, [i][j]: numbers, or (B, 1, 1, 1) where predicted."""
        occlusion, n = self.model.renderer.occlusion, self.model.n_layers
        table: list[list[Tensor | float]] = [[float(i > j) for j in range(n)] for i in range(n)]
        if occlusion.head is None:
            return table if occlusion.kind == "fixed" else [[0.0] * n for _ in range(n)]
        predicted = torch.sigmoid(one_head(occlusion.head, 0, features))
        pairs = [(i, j) for i in range(n) for j in range(i)]
        for value, (i, j) in zip(predicted.unbind(1), pairs):
            table[i][j] = value.view(-1, 1, 1, 1)
            table[j][i] = 1.0 - value.view(-1, 1, 1, 1)
        return table

    def compose(
        self, masks: Tensor, colours: Tensor, background: Tensor | None, delta: list[list[Tensor | float]]
    ) -> Tensor:
        """masks (L, B, 1, H, W), colours (L, B, C, H, W) -> (B, C, H, W)."""
        image = torch.zeros_like(colours[0])
        behind = torch.ones_like(masks[0])
        for i in range(len(masks)):
            visible = masks[i]
            for j in range(len(masks)):
                if j != i:
                    visible = visible * (1.0 - delta[j][i] * masks[j])
            image = image + visible * colours[i]
            behind = behind * (1.0 - masks[i])
        return image if background is None else image + behind * background

    def search(
        self,
        x: Tensor,
        masks: Tensor,
        colours: Tensor,
        background: Tensor | None,
        delta: list[list[Tensor | float]],
    ) -> Tensor:
        """From layers that show nothing, the best sprite (B, L) for one layer after the other, several times."""
        model, rows = self.model, torch.arange(len(x), device=x.device)
        options, n = model.options, model.n_prototypes
        now_masks = torch.zeros_like(masks[:, 0])
        now_colours = torch.zeros_like(colours[:, 0])
        chosen = torch.zeros(len(x), model.n_layers, dtype=torch.int64, device=x.device)
        for _ in range(options.greedy_iterations if model.n_layers > 1 else 1):
            for layer in range(model.n_layers):
                costs = []
                for k in range(model.n_choices):
                    tried_masks, tried_colours = now_masks.clone(), now_colours.clone()
                    tried_masks[layer], tried_colours[layer] = masks[layer, k], colours[layer, k]
                    tried = self.compose(tried_masks, tried_colours, background, delta)
                    penalty = options.empty_penalty if options.empty_sprite and k < n else 0.0
                    costs.append((x - tried).square().mean((1, 2, 3)) + penalty)
                chosen[:, layer] = torch.stack(costs, dim=1).argmin(1)
                now_masks[layer] = masks[layer, chosen[:, layer], rows]
                now_colours[layer] = colours[layer, chosen[:, layer], rows]
        return chosen
