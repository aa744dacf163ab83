"""DTI-Sprites: which sprite is in each layer of an image, how it is transformed, and what hides what.

The loss of a batch is the mean squared error of the best composition found. As only the chosen sprites have a
gradient, candidates are compared without one, in blocks of images, and the chosen are rendered again with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

import torch
from torch import Tensor, nn

from dti_sprites.config import RunConfig
from dti_sprites.config.checks import as_pair
from dti_sprites.errors import ConfigError
from dti_sprites.models.base import DTIModel, Inference, Restart, StepOutput
from dti_sprites.models.encoder import Encoder
from dti_sprites.models.prototypes.pixels import PixelPrototypes
from dti_sprites.models.prototypes.rows import copy_rows
from dti_sprites.models.sprites.bank import Backgrounds, SpriteBank
from dti_sprites.models.sprites.composition import compose
from dti_sprites.models.sprites.labelmaps import instance_shares, label_maps, semantic_shares
from dti_sprites.models.sprites.renderer import Renderer, ScenePrediction
from dti_sprites.models.sprites.schedule import Schedule, frozen
from dti_sprites.models.sprites.search import (
    Candidates,
    Choice,
    Scene,
    best_background,
    exhaustive,
    greedy,
    join,
)
from dti_sprites.models.sprites.single import best_sprite
from dti_sprites.ops.blocks import search_block
from dti_sprites.ops.distance import gaussian_window, pixel_weight, squared_error
from dti_sprites.ops.expansion import n_maps
from dti_sprites.ops.late import LateTable
from dti_sprites.ops.layering import compose_layers
from dti_sprites.ops.select import select_rows

Solver = Callable[
    [Scene, slice], Tensor
]  # fills the layers of a scene of these images of the batch: cost (B,)


class DTISprites(DTIModel):
    """K sprites in L layers on one of M backgrounds; see the package.

    Choices run from 0 to K - 1; with `empty_sprite`, K means that a layer shows nothing, and it is one more
    column of distances. Distances are errors of the image's decomposition with each choice in its most visible
    layer, whose sprite is the image's label.
    """

    window: Tensor | None

    def __init__(self, config: RunConfig, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__(config, channels, image_size)
        model = config.model
        self.options = sprites = model.sprites
        self.n_layers = sprites.n_layers
        self.sprite_size = as_pair(sprites.sprite_size) or image_size
        if any(a > b for a, b in zip(self.sprite_size, image_size)):
            reason = f"must not exceed the images' size {list(image_size)}, not {list(self.sprite_size)}"
            raise ConfigError([("model.sprites.sprite_size", reason)])
        self.encoder = Encoder(model.encoder, channels, image_size, model.encoder_pool, model.encoder_size)
        self.renderer = Renderer(config, channels, self.sprite_size, image_size, self.encoder.n_features)
        self.bank = SpriteBank(model, channels, self.sprite_size)
        self.backgrounds = Backgrounds(model, channels, image_size) if sprites.n_backgrounds else None
        std = model.gaussian_window_std
        window = None if std is None else gaussian_window(image_size, std, torch.get_default_dtype())
        self.register_buffer("window", window, persistent=False)
        self.schedule = Schedule(config)
        self.completed = self.schedule.starts[-1]

    memory_field = "model.sprites.n_layers"

    @property
    def rendered(self) -> int:
        """Sprites per image that are rendered with gradient."""
        return self.n_layers

    def activation_bytes(self, batch_size: int) -> int:
        height, width = self.image_size
        share = self.sprite_size[0] * self.sprite_size[1] / (height * width)
        own = share * len(self.transformation_names)
        # Saved for the gradient, measured: some four maps per channel and two per transformation.
        maps = self.rendered * (self.channels + 2) * (4 + 2 * own) + self.composing
        return int(4 * batch_size * height * width * maps)

    @property
    def composing(self) -> int:
        """Maps of an image that are saved for composing its layers."""
        return 0

    # Phases

    @property
    def stage(self) -> int:
        """Phase of the schedule: what is active and what is frozen."""
        return self.schedule.phase(self.completed)

    def set_stage(self, stage: int) -> None:
        self.set_epoch(self.schedule.start(stage))

    def set_epoch(self, completed: int) -> list[str]:
        self.completed = completed
        activated = self.renderer.set_epoch(completed)
        options = self.options
        self.bank.frozen_colours = self.frozen or frozen(options.freeze_foreground, completed)
        self.bank.frozen_masks = self.frozen or frozen(options.freeze_mask, completed)
        if self.backgrounds is not None:
            self.backgrounds.frozen = frozen(options.freeze_background, completed)
        return activated

    @property
    def frozen(self) -> bool:
        """Whether sprites wait for the rest to learn: not learnt, never empty and never restarted."""
        return frozen(self.options.freeze_sprite, self.completed)

    # Start and restart

    def initialise(self, images: Tensor, generator: torch.Generator) -> None:
        self.bank.initialise(images, generator, self.renderer.first_extent(self.sprite_size))
        if self.backgrounds is not None:
            self.backgrounds.initialise(images, generator)

    def check_startable(self) -> None:
        """Raise ConfigError unless sprites can begin from clusters of whole images: one in each, as large as it."""
        if self.n_layers > 1:
            reason = "must be 1 to begin from given clusters: they do not say what lies in which layer"
            raise ConfigError([("model.sprites.n_layers", reason)])
        if self.sprite_size != self.image_size:
            reason = "must be the images' size to begin from given clusters"
            raise ConfigError([("model.sprites.sprite_size", reason)])
        if not isinstance(self.bank.colours, PixelPrototypes):
            raise ConfigError([("model.source", "must be pixels to begin from given prototypes")])

    def start_from(self, prototypes: Tensor, masks: Mapping[int, Tensor]) -> None:
        """Colours (k, C, H, W) of the first k sprites, and their masks (1, H, W) where they are known."""
        self.bank.begin(prototypes, masks)

    def fix(self, count: int, masked: Set[int]) -> None:
        """From now on the first `count` sprites take part in training, but do not change; of those that are not in
        `masked` only the colours are known, and their masks are learnt."""
        self.bank.fix(count, masked)

    def prototype_parameters(self) -> list[nn.Parameter]:
        backgrounds = [] if self.backgrounds is None else list(self.backgrounds.parameters())
        return [*self.bank.parameters(), *backgrounds]

    def restart_unused(
        self,
        proportions: Tensor,
        threshold: float,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        keep: int = 0,
    ) -> Restart | None:
        """As for other models, by the proportions (L, K or K + 1) in one layer drawn at random.

        With an empty sprite the proportions are relative to the most used other one.
        """
        if self.frozen:
            return None
        layer = int(torch.randint(self.n_layers, (), generator=generator))
        used = proportions[layer, : self.n_prototypes]
        if self.options.empty_sprite:
            if used.max() <= 0:
                return None
            used = used / used.max()
        return super().restart_unused(used, threshold, optimizer, generator, keep)

    def reassign(
        self, source: int, empty: list[int], optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> None:
        self.bank.restart(source, empty, optimizer, generator)
        if self.config.model.shared_heads:
            return
        for parameter in self.renderer.sprites.row_parameters():
            for first in range(0, len(parameter), self.n_prototypes):  # each layer has a head for each sprite
                copy_rows(parameter, optimizer, first + source, [first + k for k in empty])

    # Search

    @property
    def n_choices(self) -> int:
        return self.n_prototypes + int(self.options.empty_sprite)

    def costs(self, like: Tensor) -> Tensor:
        """(K or K + 1,) what each choice costs in the search besides its error."""
        costs = like.new_zeros(self.n_choices)
        if self.options.empty_sprite:
            if self.frozen:
                costs[-1] = torch.inf
            else:
                costs[:-1] = self.options.empty_penalty
        return costs

    def weight_of(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """(B or 1, 1, H, W): how much each pixel counts, normalisation included."""
        pixels = pixel_weight(weight, self.window, self.channels, self.image_size)
        return x.new_full((1, 1, *self.image_size), 1.0 / x[0].numel()) if pixels is None else pixels

    @torch.no_grad()
    def search(
        self,
        x: Tensor,
        pixels: Tensor,
        stack: Tensor,
        backgrounds: Tensor | None,
        prediction: ScenePrediction,
        noise: Tensor | None,
        solve: Solver,
        revisit: bool = False,
    ) -> Choice:
        """The sprites for x (B, C, H, W) that `solve` finds, block by block of images."""
        prediction = prediction.detach()
        layers, channels = self.n_layers, self.channels
        per_image = layers * self.n_prototypes * n_maps(channels) * x[0, 0].numel()
        size = search_block(per_image, len(x), x.device)
        costs, choices = self.costs(x), []
        for start in range(0, len(x), size):
            images = slice(start, min(start + size, len(x)))
            part, n = prediction.block(images), images.stop - start
            candidates = [Candidates.of(*each) for each in self.renderer.windows(stack, part, n, noise)]
            scenes, totals = [], []
            for m in range(max(1, self.options.n_backgrounds)):
                background = None
                if backgrounds is not None:
                    chosen = torch.full((n,), m, device=x.device)
                    background = self.background(backgrounds, part, chosen)
                weight = pixels if len(pixels) == 1 else pixels[images]
                scene = Scene(x[images], candidates, background, part.occlusion, weight, costs)
                totals.append(solve(scene, images))
                scenes.append(scene)
            choices.append(best_background(scenes, totals, revisit))
        return join(choices)

    def choose(
        self,
        x: Tensor,
        pixels: Tensor,
        stack: Tensor,
        backgrounds: Tensor | None,
        prediction: ScenePrediction,
        noise: Tensor | None,
        revisit: bool = False,
        pins: Tensor | None = None,
    ) -> Choice:
        """The sprites that explain x best; with one layer those that `pins` (B,) says, -1: the best."""
        if self.n_layers > 1:
            return self.search(x, pixels, stack, backgrounds, prediction, noise, self.solve, revisit)
        with torch.no_grad():
            prediction, behind = prediction.detach(), None
            if backgrounds is not None:
                every = torch.arange(len(backgrounds), device=x.device)
                behind = [self.background(backgrounds, prediction, m.expand(len(x))) for m in every]
            costs = self.costs(x)
            return best_sprite(x, pixels, stack, behind, self.renderer, prediction, noise, costs, pins)

    def solve(self, scene: Scene, images: slice) -> Tensor:
        """Fill the layers of a scene with what fits best; returns the cost (B,)."""
        options = self.options
        if options.estimate_minimum is False:
            return exhaustive(scene)
        return greedy(scene, options.greedy_iterations)

    # Rendering with gradient

    def draw_noise(self, like: Tensor) -> Tensor | None:
        """(K, 1, H, W) uniform in ±inject_noise, in training: one map per sprite for the whole batch."""
        half_width = self.options.inject_noise
        if not self.training or not half_width:
            return None
        shape = (self.n_prototypes, 1, *self.image_size)
        return torch.rand(shape, dtype=like.dtype, device=like.device).mul_(2.0).sub_(1.0).mul_(half_width)

    def background(self, backgrounds: Tensor, prediction: ScenePrediction, chosen: Tensor) -> Tensor:
        """Background chosen[b] for image b, transformed: (B, C, H, W)."""
        assert self.renderer.backgrounds is not None
        parameters = self.renderer.choose_background(prediction, chosen)
        return self.renderer.backgrounds(select_rows(backgrounds, chosen), parameters)

    def layers(
        self, stack: Tensor | LateTable, prediction: ScenePrediction, sprites: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Chosen sprites (B, L) as transformed: colours (B, L, C, H, W), masks (B, L, 1, H, W).

        Where a layer shows nothing its mask is zero, and nothing of it has a gradient.
        """
        batch, layers = sprites.shape
        index = sprites.clamp_max(self.n_prototypes - 1)
        own, placed = self.renderer.choose(prediction, index)
        images = self.renderer.place(select_rows(stack, index.flatten()), own, placed)
        drawn = None if noise is None else noise[index.flatten()]
        colours, masks = self.renderer.finish(images, drawn)
        masks = masks.unflatten(0, (batch, layers))
        if self.options.empty_sprite:
            masks = masks * (sprites < self.n_prototypes).to(masks)[..., None, None, None]
        return colours.unflatten(0, (batch, layers)), masks

    def features(self, x: Tensor) -> Tensor | None:
        """(B, F), or None while nothing is predicted."""
        return self.encoder(x) if self.renderer.needs_features else None

    def step(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> StepOutput:
        """As every model; `pins` (B,), with one layer: the sprite that an image must show; -1: the best."""
        noise, pixels = self.draw_noise(x), self.weight_of(x, weight)
        stack, predict = LateTable(self.bank.stack(noise is not None)), self.renderer.late()
        prediction = predict(self.features(x))
        backgrounds = None if self.backgrounds is None else self.backgrounds()
        choice = self.choose(x, pixels, stack.values, backgrounds, prediction, noise, pins=pins)
        colours, masks = self.layers(stack, prediction, choice.sprites, noise)
        del stack  # all K sprites, of which nothing is needed any more
        behind = None if backgrounds is None else self.background(backgrounds, prediction, choice.background)
        occlusion = self.renderer.occlusion.order if prediction.occlusion is None else prediction.occlusion
        reconstruction, areas = compose_layers(masks, colours, behind, occlusion)
        loss = squared_error(x, reconstruction, pixels).mean()
        labels, distances = self.summary(choice, areas)
        return StepOutput(loss, {}, distances, labels, self.proportions(choice.sprites))

    def proportions(self, sprites: Tensor) -> Tensor:
        """sprites (B, L) -> (L, K or K + 1) share of the batch with each choice in each layer."""
        choices = torch.arange(self.n_choices, device=sprites.device)
        return (sprites[..., None] == choices).float().mean(0)

    def summary(self, choice: Choice, areas: Tensor) -> tuple[Tensor, Tensor]:
        """Labels (B,) and distances (B, K or K + 1), from how much of each layer shows (B, L), in pixels."""
        # Of layers of which nothing shows, one that shows nothing on purpose counts least.
        area = areas - (choice.sprites == self.n_prototypes).to(areas)
        layer = area.argmax(1)
        rows = torch.arange(len(layer), device=layer.device)
        return choice.sprites[rows, layer], choice.errors[rows, layer]

    # Evaluation

    @torch.no_grad()
    def infer(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> Inference:
        """The decomposition of each image, with `pins` as in `step`.

        `extras`: "choices" (B, L) sprite of each layer, K for none; "background_choices" (B,); "occlusion"
        (B, L, L), [i, j] how surely layer i hides layer j; "masks" (B, L, H, W); "layers" (B, L, C + 1, H, W)
        colours and mask, as placed; "background" (B, C, H, W) if there is any; "instance" (B, H, W) with 0 for
        the background and l for layer l, "semantic" (B, H, W) with k + 1 for sprite k, and their soft versions
        "instance_shares" (B, 1 + L, H, W) and "semantic_shares" (B, 1 + K, H, W).
        """
        training = self.training
        self.eval()
        features = self.features(x)
        found = self.decompose(x, self.weight_of(x, weight), features, None, self.n_layers > 1, pins)
        self.train(training)
        return found

    def decompose(
        self,
        x: Tensor,
        pixels: Tensor,
        features: Tensor | None,
        solve: Solver | None,
        revisit: bool,
        pins: Tensor | None = None,
    ) -> Inference:
        """What `infer` returns, with the sprites that `solve` finds; None: the best."""
        prediction = self.renderer.predict(features)
        stack = self.bank.stack(noise=False)
        backgrounds = None if self.backgrounds is None else self.backgrounds()
        if solve is None:
            choice = self.choose(x, pixels, stack, backgrounds, prediction, None, revisit, pins)
        else:
            choice = self.search(x, pixels, stack, backgrounds, prediction, None, solve, revisit)
        return self.describe(stack, backgrounds, prediction, choice)

    def describe(
        self, stack: Tensor, backgrounds: Tensor | None, prediction: ScenePrediction, choice: Choice
    ) -> Inference:
        """What `infer` returns of a choice."""
        colours, masks = self.layers(stack, prediction, choice.sprites, None)
        shares = instance_shares(masks, prediction.occlusion)
        labels, distances = self.summary(choice, shares[:, 1:].flatten(2).sum(2))
        instance, semantic = label_maps(masks, prediction.occlusion, choice.sprites)
        extras: dict[str, Tensor] = {
            "choices": choice.sprites,
            "background_choices": choice.background,
            "occlusion": self.renderer.occlusion.matrix(prediction.occlusion, len(labels)),
            "masks": masks[:, :, 0],
            "layers": torch.cat([colours, masks], dim=2),
            "instance": instance,
            "semantic": semantic,
            "instance_shares": shares,
            "semantic_shares": semantic_shares(shares, choice.sprites, self.n_prototypes),
        }
        behind = None
        if backgrounds is not None:
            behind = extras["background"] = self.background(backgrounds, prediction, choice.background)
        reconstruction = compose(masks, masks * colours, behind, prediction.occlusion)
        parameters = self.named_parameters_of(prediction, choice)
        return Inference(distances, labels, reconstruction, parameters, extras)

    def named_parameters_of(self, prediction: ScenePrediction, choice: Choice) -> dict[str, Tensor]:
        """Parameters (B, p) of what was chosen. Layers count from 1: "affine" or "sprite2_affine", "layer2_color",
        "background_color"."""
        own, placed = self.renderer.choose(prediction, choice.sprites.clamp_max(self.n_prototypes - 1))
        result: dict[str, Tensor] = {}
        for prefix, group in (("sprite", own), ("layer", placed)):
            for name, values in group.items():
                for layer, part in enumerate(values.unflatten(0, choice.sprites.shape).unbind(1), start=1):
                    plain = prefix == "sprite" and self.n_layers == 1
                    result[name if plain else f"{prefix}{layer}_{name}"] = part
        if self.backgrounds is not None:
            chosen = self.renderer.choose_background(prediction, choice.background)
            result |= {f"background_{name}": values for name, values in chosen.items()}
        return result

    def matrices(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        sequences = self.renderer.sequences()
        result: dict[str, Tensor] = {}
        for key, values in parameters.items():
            prefix, _, name = key.rpartition("_")
            group = {"": "sprites", "s": "sprites", "l": "layers", "b": "backgrounds"}[prefix[:1]]
            found = sequences[group].matrices({name: values})
            result |= {f"{prefix}_{each}" if prefix else each: matrix for each, matrix in found.items()}
        return result

    @torch.no_grad()
    def prototype_images(self) -> dict[str, Tensor]:
        """Also "masked_prototypes" (K, 4, h, w) with the mask as alpha, "masks" (K, 1, h, w), "backgrounds"
        (M, C, H, W) if there are any."""
        training = self.training
        self.eval()  # looking must not move a generator's statistics
        colours, masks = (values.clamp(0.0, 1.0) for values in self.bank.shown())
        rgb = colours.expand(-1, 3, -1, -1) if self.channels == 1 else colours
        images = {"prototypes": colours, "masked_prototypes": torch.cat([rgb, masks], dim=1), "masks": masks}
        if self.backgrounds is not None:
            images["backgrounds"] = self.backgrounds().clamp(0.0, 1.0)
        self.train(training)
        return images
