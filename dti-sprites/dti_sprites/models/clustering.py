"""What DTI K-means and DTI GMM share: prototypes of the images' size, one chain of heads for each of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Set

import torch
from torch import Tensor, nn

from dti_sprites.config import RunConfig
from dti_sprites.errors import ConfigError
from dti_sprites.models.base import DTIModel, Inference, StepOutput
from dti_sprites.models.encoder import Encoder
from dti_sprites.models.prototypes.build import build_prototypes
from dti_sprites.models.prototypes.initialisation import initial_prototypes
from dti_sprites.models.prototypes.pixels import PixelPrototypes
from dti_sprites.models.prototypes.rows import copy_rows
from dti_sprites.models.sequence import TransformationSequence, active_count
from dti_sprites.models.transformations import TransformationOptions
from dti_sprites.ops.distance import gaussian_window
from dti_sprites.ops.late import LateTable
from dti_sprites.ops.select import select_parameters, select_rows


class ClusteringModel(DTIModel):
    """K prototypes, transformed to fit each image, one of which explains it."""

    window: Tensor | None

    def __init__(self, config: RunConfig, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__(config, channels, image_size)
        model = config.model
        self.encoder = Encoder(model.encoder, channels, image_size, model.encoder_pool, model.encoder_size)
        options = TransformationOptions(
            size=image_size,
            channels=channels,
            padding=model.padding,
            grid=model.grid,
            tps_grid_size=model.tps_grid_size,
            morpho_kernel_size=model.morpho_kernel_size,
            color_clamp=model.color_clamp,
        )
        self.sequence = TransformationSequence(
            self.transformation_names,
            options,
            n_heads=1 if model.shared_heads else self.n_prototypes,
            n_features=self.encoder.n_features,
            hidden=model.n_hidden_units,
            n_hidden=model.n_hidden_layers,
        )
        self.prototypes = build_prototypes(model, channels, image_size)
        std = model.gaussian_window_std
        window = None if std is None else gaussian_window(image_size, std, torch.get_default_dtype())
        self.register_buffer("window", window, persistent=False)
        self.curriculum = config.training.curriculum

    @property
    def stage(self) -> int:
        return self.sequence.active

    def set_stage(self, stage: int) -> None:
        self.sequence.active = stage

    def start_from(self, prototypes: Tensor, masks: Mapping[int, Tensor] | None = None) -> None:
        """Prototypes (k, C, H, W) for the first k; these models have no masks. Raises ConfigError when prototypes are
        not learnt as pixels."""
        if not isinstance(self.prototypes, PixelPrototypes):
            raise ConfigError([("model.source", "must be pixels to begin from given prototypes")])
        for k, image in enumerate(prototypes):
            self.prototypes.begin(k, image)

    def fix(self, count: int, masked: Set[int] = frozenset()) -> None:
        """From now on the first `count` prototypes take part in training, but do not change."""
        if not isinstance(self.prototypes, PixelPrototypes):
            raise ConfigError([("model.source", "must be pixels to keep prototypes fixed")])
        self.prototypes.fix(range(count))

    def set_epoch(self, completed: int) -> list[str]:
        before = self.stage
        self.set_stage(active_count(self.curriculum, len(self.transformation_names), completed))
        return self.transformation_names[before : self.stage]

    def initialise(self, images: Tensor, generator: torch.Generator) -> None:
        model = self.config.model
        if model.source != "pixels" and model.init == "random":
            return  # the generator's own start
        start = initial_prototypes(
            model.init,
            images,
            self.n_prototypes,
            self.image_size,
            generator,
            value=model.init_value,
            std=model.init_std,
        )
        if isinstance(self.prototypes, PixelPrototypes):
            self.prototypes.initialise(start)
        else:
            self.prototypes.start_from(start[0], constant=model.init == "constant")

    @abstractmethod
    def step(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> StepOutput:
        """As every model; `pins` (B,): the prototype that an image must belong to; -1: free to choose."""

    @abstractmethod
    def infer(self, x: Tensor, weight: Tensor | None = None, pins: Tensor | None = None) -> Inference:
        """As every model, with `pins` as in `step`."""

    @property
    def needs_features(self) -> bool:
        """Whether anything is predicted from the image at this stage."""
        return self.sequence.needs_features

    def encode(self, x: Tensor) -> Tensor | None:
        """x (B, C, H, W) -> features (B, F), or None when nothing needs them.

        While only `identity` is active the encoder is not run at all. It would not learn then anyway; the
        one difference is that its BatchNorm statistics start moving at the first activation, which a few
        dozen iterations make good.
        """
        return self.encoder(x) if self.needs_features else None

    def predict(self, features: Tensor | None) -> dict[str, Tensor]:
        """features (B, F) -> parameters (K or 1, B, p) of each active transformation that has any."""
        return {} if features is None else self.sequence.predict(features)

    def parameters_for(self, x: Tensor) -> dict[str, Tensor]:
        """x (B, C, H, W) -> what `predict` says of its features; the heads' gradient comes after the encoder's."""
        predict, features = self.sequence.late(), self.encode(x)
        return {} if features is None else predict(features)

    def transform_block(
        self, images: Tensor, parameters: dict[str, Tensor], ks: slice, bs: slice, spatial_only: bool = False
    ) -> Tensor:
        """images (K, C, H, W) -> (k, b, C, H, W): prototypes `ks` transformed for images `bs` of the batch."""
        source = images[ks, None]
        n_k, n_b = source.shape[0], bs.stop - bs.start
        source = source.expand(n_k, n_b, *images.shape[1:]).flatten(0, 1)
        chosen = {}
        for name, values in parameters.items():
            part = values[ks, bs] if len(values) > 1 else values[:, bs].expand(n_k, -1, -1)
            chosen[name] = part.flatten(0, 1)
        return self.sequence(source, chosen, spatial_only).unflatten(0, (n_k, n_b))

    def choose(self, parameters: dict[str, Tensor], ks: Tensor, bs: Tensor) -> dict[str, Tensor]:
        """Parameters (N, p) of prototype ks[n] for image bs[n] of the batch, with gradient."""
        return {name: select_parameters(values, ks, bs) for name, values in parameters.items()}

    def render(
        self, prototypes: Tensor | LateTable, labels: Tensor, parameters: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Prototype labels[i] transformed for image i: (B, C, H, W), and its parameters (B, p), with gradient."""
        chosen = self.choose(parameters, labels, torch.arange(len(labels), device=labels.device))
        return self.sequence(select_rows(prototypes, labels), chosen), chosen

    @torch.no_grad()
    def prototype_images(self) -> dict[str, Tensor]:
        training = self.prototypes.training
        self.prototypes.eval()  # looking must not move a generator's statistics
        images = self.prototypes().clamp(0.0, 1.0)
        self.prototypes.train(training)
        return {"prototypes": images}

    def matrices(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.sequence.matrices(parameters)

    def prototype_parameters(self) -> list[nn.Parameter]:
        return list(self.prototypes.parameters())

    def reassign(
        self, source: int, empty: list[int], optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> None:
        # The source also takes noise, so that no copy keeps exactly what the original had.
        self.prototypes.restart(source, [*empty, source], optimizer, generator)
        if not self.config.model.shared_heads:
            for parameter in self.sequence.row_parameters():
                copy_rows(parameter, optimizer, source, empty)


def pinned_labels(labels: Tensor, pins: Tensor | None) -> Tensor:
    """labels (B,) with those that `pins` (B,) says; -1 leaves the choice."""
    return labels if pins is None else torch.where(pins >= 0, pins, labels)


def only_pinned(p: Tensor, pins: Tensor | None) -> Tensor:
    """Probabilities (B, K), all of them on what `pins` (B,) says; rows of -1 stay."""
    if pins is None:
        return p
    certain = torch.zeros_like(p).scatter_(1, pins.clamp_min(0)[:, None], 1.0)
    return torch.where((pins >= 0)[:, None], certain, p)


def shares(labels: Tensor, k: int) -> Tensor:
    """labels (B,) -> (k,) share of the batch with each label, without waiting for the device."""
    return (labels[:, None] == torch.arange(k, device=labels.device)).float().mean(0)
