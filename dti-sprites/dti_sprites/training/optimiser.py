"""Adam with L2 (not AdamW), in groups, and the learning rate of each epoch."""

from __future__ import annotations

import torch

from dti_sprites.config import TrainingConfig
from dti_sprites.models import DTIModel


class GroupedAdam:
    """Adam over the model's groups.

    The L2 penalty is part of the gradient, as in the published runs: Adam rescales it, so a parameter whose
    data gradient is zero still moves.
    """

    def __init__(self, model: DTIModel, training: TrainingConfig) -> None:
        groups = [group for group in model.parameter_groups(training) if group["params"]]
        device = groups[0]["params"][0].device
        fused = device.type in ("cpu", "cuda")
        self.adam = torch.optim.Adam(groups, lr=training.lr, fused=fused)
        self.updates = training.encoder_updates
        self.training = training
        self.start = [group["lr"] for group in self.adam.param_groups]

    def set_epoch(self, completed: int) -> list[float]:
        """Learning rates once `completed` epochs are over: each milestone multiplies them by the group's gamma."""
        drops = sum(milestone <= completed for milestone in self.training.milestones)
        gamma = self.training.gamma
        for group, lr in zip(self.adam.param_groups, self.start):
            if isinstance(gamma, tuple):
                factor = gamma[0] if group["name"] == "prototypes" else gamma[1]
            else:
                factor = gamma
            group["lr"] = lr * factor**drops
        return self.rates()

    def rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.adam.param_groups]

    def zero_grad(self) -> None:
        """Gradients become None: a parameter that takes no part in a step is not touched by Adam."""
        self.adam.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One update; `training.encoder_updates` successive ones, with the same gradient, for the encoder.

        Published DTI-Sprites runs listed the encoder several times among the parameters, which does just
        that. Gradients of the other groups are gone afterwards if there is more than one.
        """
        self.adam.step()
        if self.updates == 1:
            return
        for group in self.adam.param_groups:
            if group["name"] != "encoder":
                for parameter in group["params"]:
                    parameter.grad = None
        for _ in range(self.updates - 1):
            self.adam.step()
