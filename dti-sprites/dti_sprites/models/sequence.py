"""A sequence of transformations with its heads and its curriculum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from dti_sprites.models.heads import StackedHeads
from dti_sprites.models.transformations import (
    Transformation,
    TransformationOptions,
    Warp,
    build_transformation,
)


class TransformationSequence(nn.Module):
    """T_n(... T_1(image; β_1) ...; β_n) for the active transformations, in the order in which they are named.

    An inactive transformation is not evaluated: its heads have no gradient (None, not zero), hence no Adam
    state and no weight decay before the curriculum reaches it, and it starts from β = 0.
    """

    def __init__(
        self,
        names: Sequence[str],
        options: TransformationOptions,
        *,
        n_heads: int,
        n_features: int,
        hidden: int = 128,
        n_hidden: int = 2,
    ) -> None:
        super().__init__()
        self.names = list(names)
        built = {name: build_transformation(name, options) for name in names}
        self.transformations = nn.ModuleDict(built)
        self.heads = nn.ModuleDict({
            name: StackedHeads(n_heads, n_features, transformation.n_parameters, hidden, n_hidden)
            for name, transformation in built.items()
            if transformation.n_parameters
        })  # fmt: skip
        self.active = len(self.names)

    @property
    def active_names(self) -> list[str]:
        return self.names[: self.active]

    @property
    def needs_features(self) -> bool:
        """Whether an active transformation has parameters to predict."""
        return any(name in self.heads for name in self.active_names)

    @property
    def last_warp(self) -> Warp | None:
        """The last active transformation, if it is a warp with black around the image."""
        last = self._transformation(self.active_names[-1])
        return last if isinstance(last, Warp) and last.padding == "zeros" else None

    def _transformation(self, name: str) -> Transformation:
        return cast(Transformation, self.transformations[name])

    def predict(self, features: Tensor) -> dict[str, Tensor]:
        """features (B, F) -> parameters (n_heads, B, p) of each active transformation that has any."""
        return self.late()(features)

    def no_change(self, device: torch.device | None = None) -> dict[str, Tensor]:
        """Zeros (1, p) for each active transformation that has parameters: what heads predict at the start."""
        active = [name for name in self.active_names if name in self.heads]
        return {
            name: torch.zeros(1, self._transformation(name).n_parameters, device=device) for name in active
        }

    def late(self) -> Callable[[Tensor], dict[str, Tensor]]:
        """`predict`, to be called later: the gradient of the heads is computed after that of all that is computed until
        then (`ops.late`)."""
        active = [name for name in self.active_names if name in self.heads]
        heads = {name: cast(StackedHeads, self.heads[name]).late() for name in active}
        return lambda features: {name: head(features) for name, head in heads.items()}

    def forward(self, images: Tensor, parameters: dict[str, Tensor], spatial_only: bool = False) -> Tensor:
        """images (N, C, h, w), parameters (N, p) each -> (N, C, H, W).

        `spatial_only`: leave out what changes values rather than moving pixels (colour, morphology).
        """
        for name in self.active_names:
            transformation = self._transformation(name)
            if name in parameters and not (spatial_only and not transformation.spatial):
                images = transformation(images, parameters[name])
        return images

    def shared(self, images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        """images (N, K, C, h, w), parameters (N, p) each -> (N, K, C, H, W): the same for all K of an n.

        A warp has one sampling grid for all of them.
        """
        k = images.shape[1]
        for name in self.active_names:
            transformation = self._transformation(name)
            if name not in parameters:
                continue
            if transformation.spatial:
                images = transformation(images.flatten(1, 2), parameters[name]).unflatten(1, (k, -1))
            else:
                values = parameters[name].repeat_interleave(k, dim=0)
                images = transformation(images.flatten(0, 1), values).unflatten(0, (-1, k))
        return images

    def matrices(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """parameters (N, p) -> what they mean: matrices, control points, ... (N, ...), by name."""
        result: dict[str, Tensor] = {}
        for name, values in parameters.items():
            result.update(self._transformation(name).matrices(values))
        return result

    def row_parameters(self) -> list[nn.Parameter]:
        """Tensors whose row k belongs to head k, of all transformations."""
        return [
            tensor
            for heads in self.heads.values()
            for tensor in cast(StackedHeads, heads).copied_parameters()
        ]


def active_count(curriculum: Sequence[int] | None, n: int, completed_epochs: int) -> int:
    """Transformations that are active once `completed_epochs` epochs are over, of a sequence of n.

    The first is active from the start, the next from the m_1-th completed epoch on, and so on; None: all.
    """
    if curriculum is None:
        return n
    count = 1
    for milestone in curriculum:
        if completed_epochs < milestone:
            break
        count += 1
    return min(count, n)
