"""Which layer hides which."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dti_sprites.models.heads import StackedHeads
from dti_sprites.models.sprites.composition import fixed_occlusion


class Occlusion(nn.Module):
    """features (B, F) -> δ (B or 1, L, L), hiding layer first, or None for the fixed order.

    "fixed": a layer hides those before it; "none": layers add up; "predicted": for i > j the probability that
    layer i hides layer j is the sigmoid of a head's output, ½ at first, and that of the reverse its complement.
    """

    order: Tensor
    nothing: Tensor
    below: Tensor  # positions of (i, j) with i > j in a flat matrix, and of (j, i)
    above: Tensor

    def __init__(self, kind: str, n_layers: int, n_features: int, hidden: int, n_hidden: int) -> None:
        super().__init__()
        self.n_layers = n_layers
        self.kind = kind if n_layers > 1 else "fixed"
        self.head: StackedHeads | None = None
        if self.kind == "predicted":
            self.head = StackedHeads(1, n_features, n_layers * (n_layers - 1) // 2, hidden, n_hidden)
        self.register_buffer("order", fixed_occlusion(n_layers), persistent=False)
        self.register_buffer("nothing", torch.zeros_like(self.order), persistent=False)
        rows, columns = torch.tril_indices(n_layers, n_layers, -1)
        self.register_buffer("below", rows * n_layers + columns, persistent=False)
        self.register_buffer("above", columns * n_layers + rows, persistent=False)

    @property
    def needs_features(self) -> bool:
        return self.head is not None

    def forward(self, features: Tensor | None) -> Tensor | None:
        if self.kind == "fixed":
            return None
        if self.head is None:
            return self.nothing
        assert features is not None
        later_hides = torch.sigmoid(self.head(features)[0])  # B, pairs
        delta = later_hides.new_zeros(len(later_hides), self.n_layers**2)
        delta = delta.index_copy(1, self.below, later_hides).index_copy(1, self.above, 1.0 - later_hides)
        return delta.view(-1, self.n_layers, self.n_layers)

    def matrix(self, occlusion: Tensor | None, batch: int) -> Tensor:
        """δ of each image of a batch, (batch, L, L)."""
        return (self.order if occlusion is None else occlusion).expand(batch, -1, -1)
