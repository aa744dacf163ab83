"""What training, evaluation and results need of a model, whatever its kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dti_sprites.config import RunConfig, TrainingConfig


@dataclass(frozen=True)
class StepOutput:
    """One training step of B images and K prototypes. Everything but `loss` is without gradient."""

    loss: Tensor  # scalar, mean over the batch
    terms: dict[str, Tensor]  # named scalars worth plotting
    distances: Tensor  # (B, K)
    labels: Tensor  # (B,) int64
    proportions: Tensor  # (K,) share of the batch won by each prototype (or what the model counts instead)


@dataclass(frozen=True)
class Inference:
    """What a trained model says of B images."""

    distances: Tensor  # (B, K)
    labels: Tensor  # (B,) int64
    reconstruction: Tensor  # (B, C, H, W), not clamped
    parameters: dict[str, Tensor]  # of the chosen prototype: transformation -> (B, p)
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Restart:
    """Prototypes `empty` that became copies of `source`."""

    source: int
    empty: list[int]


class DTIModel(nn.Module, ABC):
    """x is (B, C, H, W) in [0, 1]; weight (B, 1, H, W) in [0, 1] says how much a pixel counts, None: all 1.

    The curriculum belongs to the model: `set_epoch` activates what is due once so many epochs are complete.
    """

    n_prototypes: int
    transformation_names: list[str]

    def __init__(self, config: RunConfig, channels: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.image_size = image_size
        self.n_prototypes = config.model.n_prototypes
        self.transformation_names = config.model.transformations

    @property
    @abstractmethod
    def stage(self) -> int:
        """Number of active transformations."""

    @abstractmethod
    def set_stage(self, stage: int) -> None:
        """Activate the first `stage` transformations."""

    @abstractmethod
    def set_epoch(self, completed: int) -> list[str]:
        """Follow the curriculum after `completed` epochs; returns the names that this activated."""

    @abstractmethod
    def initialise(self, images: Tensor, generator: torch.Generator) -> None:
        """Set the prototypes from the training images, uint8 (N, C, H, W)."""

    @abstractmethod
    def step(self, x: Tensor, weight: Tensor | None = None) -> StepOutput:
        """Loss of a batch, with gradient."""

    @abstractmethod
    def infer(self, x: Tensor, weight: Tensor | None = None) -> Inference:
        """Evaluate a batch with running statistics and without gradient."""

    @abstractmethod
    def prototype_images(self) -> dict[str, Tensor]:
        """Under "prototypes" (K, C, H, W), and whatever else the kind has, in [0, 1]."""

    @abstractmethod
    def matrices(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Meaning of `Inference.parameters`: named tensors (B, ...)."""

    @abstractmethod
    def prototype_parameters(self) -> list[nn.Parameter]:
        """What is learnt of the prototypes themselves: no weight decay."""

    @abstractmethod
    def reassign(
        self, source: int, empty: list[int], optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> None:
        """Make prototypes `empty` copies of `source`, with what the optimiser remembers of it."""

    memory_field = "training.batch_size"  # the setting that memory depends on most

    def activation_bytes(self, batch_size: int) -> int:
        """Memory that a step must hold for its gradient, about, without the encoder; 0: not worth asking."""
        return 0

    def parameter_groups(self, training: TrainingConfig) -> list[dict[str, Any]]:
        """Groups "prototypes", "encoder", "heads" (everything else) for Adam, each with lr and weight_decay."""
        prototypes = self.prototype_parameters()
        encoder = list(self.encoder.parameters()) if isinstance(self.encoder, nn.Module) else []
        known = {id(p) for p in (*prototypes, *encoder)}
        heads = [p for p in self.parameters() if id(p) not in known]
        networks = {"lr": training.lr, "weight_decay": training.weight_decay}
        return [
            {
                "name": "prototypes",
                "params": prototypes,
                "lr": training.sprite_lr or training.lr,
                "weight_decay": 0.0,
            },
            {"name": "encoder", "params": encoder, **networks},
            {"name": "heads", "params": heads, **networks},
        ]

    def restart_unused(
        self,
        proportions: Tensor,
        threshold: float,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        keep: int = 0,
    ) -> Restart | None:
        """Reassign the prototypes whose share of the images is below `threshold` to the most used one.

        The first `keep` prototypes are left alone.

        proportions: (K,) on the CPU, averaged over the batches since the last check. `generator` is on the CPU.
        """
        source = int(proportions.argmax())
        empty = [k for k in range(keep, self.n_prototypes) if k != source and proportions[k] < threshold]
        if not empty:
            return None
        self.reassign(source, empty, optimizer, generator)
        return Restart(source, empty)
