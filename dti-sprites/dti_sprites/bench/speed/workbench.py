"""One case on one device: a training step, its encoder alone, and the plain reference, ready to be called."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dti_sprites.bench.speed.cases import Case
from dti_sprites.bench.speed.reference_kmeans import ReferenceKMeans
from dti_sprites.bench.speed.reference_sprites import ReferenceSprites
from dti_sprites.models import DTIModel, build_model
from dti_sprites.models.coarse import coarse_model, halve
from dti_sprites.models.encoder import Encoder
from dti_sprites.models.heads import StackedHeads
from dti_sprites.models.kmeans import DTIKMeans
from dti_sprites.models.sprites import DTISprites
from dti_sprites.training.device import prepare_encoder
from dti_sprites.training.optimiser import GroupedAdam

EVERYTHING_ACTIVE = 1_000_000  # completed epochs
HEAD_NOISE = (
    0.01  # on the last layers of heads: images differ in their parameters, as in the midst of a training
)


class Workbench:
    """A model in the midst of a training, a batch, and what is timed of them.

    With `training.coarse_epochs` a step is one of those epochs, at half the resolution.
    """

    def __init__(self, case: Case, device: torch.device, overrides: Sequence[str] = ()) -> None:
        self.case, self.device = case, device
        self.config = case.config(overrides)
        generator = torch.Generator().manual_seed(0)
        size = (case.size, case.size)
        self.model = build_model(self.config, case.channels, size)
        images = draw_images(4 * case.batch, case.channels, size, generator)
        self.model.initialise(images, generator)
        disturb_heads(self.model, generator)
        self.model.to(device).train()
        self.model.set_epoch(EVERYTHING_ACTIVE)
        prepare_encoder(self.model, self.config.training.fast, device)
        self.x = self.encoded = images[: case.batch].to(device).float().div_(255.0)
        self.coarse: DTIModel | None = None
        if self.config.training.coarse_epochs is not None:
            self.coarse = coarse_model(self.model).train()
            self.coarse.set_epoch(EVERYTHING_ACTIVE)
            prepare_encoder(self.coarse, self.config.training.fast, device)
            self.encoded = halve(self.x)[0]
        encoder = (self.coarse or self.model).encoder
        assert isinstance(encoder, Encoder)
        self.encoder = encoder
        self.gradient = torch.ones(case.batch, encoder.n_features, device=device)
        self.use_library()

    def use_library(self) -> None:
        """Start with the optimiser that trains the library's models."""
        self.optimizer = GroupedAdam(self.model, self.config.training)

    def step(self) -> None:
        """What the training loop does with a batch."""
        self.optimizer.zero_grad()
        model, x = (self.model, self.x) if self.coarse is None else (self.coarse, halve(self.x)[0])
        model.step(x).loss.backward()
        self.optimizer.step()

    def encoder_step(self) -> None:
        """Forward and backward of the encoder alone."""
        self.encoder.zero_grad(set_to_none=True)
        self.encoder(self.encoded).backward(self.gradient)

    def use_reference(self) -> None:
        """Start with the reference, and an Adam that visits one parameter after the other."""
        self.reference = reference_of(self.model)
        groups = [group for group in self.model.parameter_groups(self.config.training) if group["params"]]
        self.plain_adam = torch.optim.Adam(groups, lr=self.config.training.lr, foreach=False, fused=False)

    def reference_step(self) -> None:
        self.plain_adam.zero_grad(set_to_none=True)
        self.reference.loss(self.x).backward()
        self.plain_adam.step()

    def reference_bytes(self) -> int:
        """Memory that a step of the reference needs at least, about: some twelve images of every candidate."""
        layers = self.config.model.sprites.n_layers if self.config.model.kind == "sprites" else 1
        candidates = layers * self.model.n_prototypes * self.case.batch
        return 12 * 4 * candidates * (self.case.channels + 1) * self.case.size**2

    def held_bytes(self, optimizer: torch.optim.Optimizer) -> int:
        """Memory of parameters, buffers, the optimiser's state and the batch."""
        tensors = [*self.model.parameters(), *self.model.buffers(), self.x]
        for state in optimizer.state.values():
            tensors += [value for value in state.values() if isinstance(value, Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def reference_of(model: DTIModel) -> ReferenceKMeans | ReferenceSprites:
    if isinstance(model, DTIKMeans):
        return ReferenceKMeans(model)
    assert isinstance(model, DTISprites)
    return ReferenceSprites(model)


@torch.no_grad()
def disturb_heads(model: DTIModel, generator: torch.Generator, std: float = HEAD_NOISE) -> None:
    """Move the last layers of all heads away from zero."""
    for module in model.modules():
        if isinstance(module, StackedHeads):
            last = module.weights[-1]
            last.add_(std * torch.randn(last.shape, generator=generator).to(last))


def draw_images(n: int, channels: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(n, C, H, W) uint8: smooth random shapes."""
    coarse = torch.rand(n, channels, 5, 5, generator=generator, dtype=torch.float32)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=False)
    return smooth.clamp_(0.0, 1.0).mul_(255.0).to(torch.uint8)
