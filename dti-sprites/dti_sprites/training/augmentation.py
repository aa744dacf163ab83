"""Augmentation: images that are moved a little whenever they are trained on.

The encoder of some hundred images learns by heart how each of them has to be transformed for the prototype that it
happens to belong to, so that no other prototype ever fits it better. An image that looks a little different each time
cannot be learnt by heart. Of no published DTI run.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dti_sprites.config import RunConfig

STRIDE = 1_000_003  # between seeds: PyTorch's generator on the CPU looks at 32 bits only


class Augmentation:
    """A random affine map of each image: [I | 0] + β, β (2, 3) drawn from a normal distribution around zero.

    `training.augmentation` is its standard deviation, in the unit of the affine transformation's own parameters: 0.1
    turns and stretches by a tenth and moves by a twentieth of a side. From the epoch in which the model learns to move
    pixels until what it has learnt settles (`TrainingConfig.settling_epoch`): before, prototypes would only be blurred,
    and in the end they are fitted to the images as they are.
    """

    def __init__(self, config: RunConfig) -> None:
        self.strength = config.training.augmentation
        self.seed = config.training.seed
        self.first = min(config.warp_epochs(), default=config.training.epochs)
        self.end = config.training.settling_epoch

    def active(self, epoch: int) -> bool:
        """Whether images are moved once so many epochs are completed."""
        return self.strength > 0 and self.first <= epoch < self.end

    def __call__(self, x: Tensor, weight: Tensor | None, iteration: int) -> tuple[Tensor, Tensor | None]:
        """x (B, C, H, W) and weight (B, 1, H, W) or None, moved alike; their rims are continued outside.

        The maps depend on seed and iteration alone, so that a training goes on from a checkpoint as if nothing had
        happened.
        """
        generator = torch.Generator().manual_seed((self.seed * STRIDE + iteration) % 2**32)
        beta = torch.randn(len(x), 2, 3, generator=generator) * self.strength
        maps = (torch.eye(2, 3) + beta).to(x.device, non_blocking=True)
        grid = F.affine_grid(maps, [len(x), 1, *x.shape[2:]], align_corners=False)
        both = x if weight is None else torch.cat([x, weight], dim=1)
        moved = F.grid_sample(both, grid, padding_mode="border", align_corners=False)
        channels = x.shape[1]
        return moved[:, :channels], None if weight is None else moved[:, channels:]
