"""Challengers: copies of the model with one prototype split and another given up, that train along until judged.

Whether a split is worth its price shows only once prototypes and heads have settled. So a copy of the model, changed
as `split_merge` proposes, learns from the same batches for a while; then the one that fits the images better goes on.
The other is forgotten. This costs an iteration of the copy for each of the model, and never makes the fit worse.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dti_sprites.config import TrainingConfig
from dti_sprites.data.batches import DeviceBatches
from dti_sprites.models.kmeans import DTIKMeans
from dti_sprites.training.checkpoint import optimizer_tensors, restore_optimizer
from dti_sprites.training.optimiser import GroupedAdam
from dti_sprites.training.split_merge import apply, draw_sample, fit_of, pixels_of, propose

DEFEATS = 3  # in a row, after which there is no challenge until the next transformation is active


@dataclass(frozen=True)
class Victory:
    """The challenger won: prototype `split` was split in two, and `merged` given up for it."""

    split: int
    merged: int


class Rival:
    """A copy of a model and its optimiser, and what was changed in it."""

    def __init__(self, model: DTIKMeans, optimizer: GroupedAdam, training: TrainingConfig) -> None:
        self.model = copy.deepcopy(model)
        self.optimizer = GroupedAdam(self.model, training)
        self.optimizer.adam.load_state_dict(copy.deepcopy(optimizer.adam.state_dict()))
        self.split = self.merged = -1
        self.iterations = 0

    def iterate(self, x: Tensor, weight: Tensor | None) -> None:
        self.optimizer.zero_grad()
        self.model.step(x, weight).loss.backward()
        self.optimizer.step()
        self.iterations += 1


class Rivalry:
    """Challenges `model` again and again while it trains: call `iterate`, then `after_iteration`, at each iteration.

    With the state that `state_dict` and `tensors` give, it goes on in another process as if nothing had happened.
    """

    def __init__(
        self,
        model: DTIKMeans,
        optimizer: GroupedAdam,
        images: DeviceBatches,
        training: TrainingConfig,
        generator: torch.Generator,
    ) -> None:
        assert training.split_merge_interval is not None
        self.model, self.optimizer, self.images = model, optimizer, images
        self.training, self.generator = training, generator
        self.length = training.split_merge_interval
        self.end = training.settling_epoch
        seeded = torch.Generator().manual_seed(training.seed)
        self.sample = draw_sample(images, seeded, pixels_of(model)[0].numel())
        self.rival: Rival | None = None
        self.stage = 0  # that of the model when it was last looked at
        self.waited = 0  # iterations without a challenge
        self.defeats = 0  # in a row
        self.refused: set[tuple[int, int]] = set()

    def iterate(self, x: Tensor, weight: Tensor | None) -> None:
        """The challenger, if there is one, learns from a batch."""
        if self.rival is not None:
            self.rival.model.set_stage(self.model.stage)
            self.rival.iterate(x, weight)

    def after_iteration(self, epoch: int) -> Victory | None:
        """Judge the challenger when it is time, or find one."""
        is_open = self.model.stage >= min(2, len(self.model.transformation_names)) and epoch < self.end
        if self.model.stage != self.stage:  # a new transformation: time to settle, and new chances
            self.stage, self.waited, self.defeats = self.model.stage, 0, 0
            self.refused.clear()
        if not is_open:
            self.rival = None  # it had no time to settle
        elif self.rival is not None:
            return self._judge() if self.rival.iterations >= self.length else None
        elif self.defeats < DEFEATS:
            self.waited += 1
            if self.waited >= self.length:
                self._challenge()
        return None

    def _challenge(self) -> None:
        self.waited = 0
        proposal = propose(self.model, self.images, self.sample, self.refused)
        if proposal is None:
            return
        self.rival = Rival(self.model, self.optimizer, self.training)
        self.rival.split, self.rival.merged = proposal.split, proposal.merged
        apply(proposal, self.rival.model, self.images, self.rival.optimizer.adam, self.generator)

    def _judge(self) -> Victory | None:
        rival, self.rival = self.rival, None
        assert rival is not None
        self.waited = self.length  # the next one may come at once
        fits = [fit_of(model, self.images, self.sample) for model in (self.model, rival.model)]
        if fits[1] >= fits[0]:
            self.refused.add((rival.split, rival.merged))
            self.defeats += 1
            return None
        self.refused.clear()
        self.defeats = 0
        self.model.load_state_dict(rival.model.state_dict())
        self.optimizer.adam.load_state_dict(rival.optimizer.adam.state_dict())
        return Victory(rival.split, rival.merged)

    def state_dict(self) -> dict[str, Any]:
        state = {
            "stage": self.stage,
            "waited": self.waited,
            "defeats": self.defeats,
            "refused": sorted(self.refused),
        }
        if self.rival is not None:
            names = ("split", "merged", "iterations")
            state["rival"] = {name: getattr(self.rival, name) for name in names}
        return state

    def tensors(self) -> dict[str, Tensor]:
        """The challenger's, as "rival|...", to be saved beside those of the optimiser."""
        if self.rival is None:
            return {}
        own = {f"model|{name}": value for name, value in self.rival.model.state_dict().items()}
        adam = optimizer_tensors(self.rival.model, self.rival.optimizer.adam)
        own |= {f"adam|{name}": value for name, value in adam.items()}
        return {f"rival|{name}": value for name, value in own.items()}

    def load(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Undo `state_dict` and `tensors`; the model and its optimiser are restored already."""
        self.stage, self.waited, self.defeats = state["stage"], state["waited"], state["defeats"]
        self.refused = {(split, merged) for split, merged in state["refused"]}
        if "rival" not in state:
            return
        self.rival = Rival(self.model, self.optimizer, self.training)
        for name, value in state["rival"].items():
            setattr(self.rival, name, value)
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "adam": {}}
        for key, value in tensors.items():
            prefix, _, rest = key.partition("|")
            if prefix == "rival":
                part, _, name = rest.partition("|")
                parts[part][name] = value
        self.rival.model.load_state_dict(parts["model"])
        restore_optimizer(self.rival.model, self.rival.optimizer.adam, parts["adam"])
