"""Gradients of tables of all K prototypes, sprites or heads, computed after everything else in the backward pass.

The backward pass runs what is ready in the reverse order of the forward pass. A table is used after the encoder, so
that its gradient, K rows of which a batch moves but a few, would be there all the while that the encoder's activations
are. Here a table takes its place in the order before it is used: what is needed for its gradient, the gradients of the
rows that were used, waits until then. Values and gradients are those of the plain operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class Owed:
    """What computes gradients of tables, one for each, once their turn comes in the backward pass that is under way."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, Callable[[], Sequence[Tensor]]]] = []

    def add(self, compute: Callable[[], Sequence[Tensor]]) -> None:
        # A pass that did not ask for the tables' gradients never settles: what it left must not count in this one.
        current = torch._C._current_graph_task_id()
        self._kept = [each for each in self._kept if each[0] == current] + [(current, compute)]

    def settle(self) -> list[Tensor]:
        kept, self._kept = self._kept, []
        gradients = [compute() for _, compute in kept]
        return [sum(parts[1:], parts[0]) for parts in zip(*gradients, strict=True)]


class _Place(torch.autograd.Function):
    """tables -> a zero that whatever uses them takes as an input; its backward pass settles what is owed."""

    @staticmethod
    def forward(ctx: FunctionCtx, owed: Owed, *tables: Tensor) -> Tensor:
        ctx.owed = owed  # type: ignore[attr-defined]
        return tables[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.owed.settle()


class Late:
    """Tables that take their place now. `values`: they themselves, without gradient.

    An autograd function that uses them takes `place` as an input, gives zero as the gradient of it, and adds to `owed`
    what computes the tables' gradients.
    """

    def __init__(self, *tables: Tensor) -> None:
        self.values = [table.detach() for table in tables]
        self.owed = Owed()
        self.place: Tensor = _Place.apply(self.owed, *tables)


class LateTable:
    """One table (K, ...) that takes its place now, to be used by `rows`."""

    def __init__(self, table: Tensor) -> None:
        self._late = Late(table)

    @property
    def values(self) -> Tensor:
        """(K, ...) without gradient."""
        return self._late.values[0]

    def rows(self, index: Tensor) -> Tensor:
        """index (N,) -> (N, ...). Rows that nobody selects get a gradient of zeros, not None."""
        return _Rows.apply(self._late.place, self.values, index, self._late.owed)


class _Rows(torch.autograd.Function):
    """table[index]; the gradient is a product with the one-hot matrix, the same everywhere, and no atomic scatter."""

    @staticmethod
    def forward(ctx: FunctionCtx, place: Tensor, table: Tensor, index: Tensor, owed: Owed) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows, ctx.owed = table.shape[0], owed  # type: ignore[attr-defined]
        return table.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (index,) = ctx.saved_tensors
        rows = ctx.rows

        def compute() -> tuple[Tensor]:
            choice = torch.arange(rows, device=index.device)[:, None] == index[None]  # rows, N
            flat = gradient.reshape(len(index), math.prod(gradient.shape[1:]))
            return ((choice.to(flat.dtype) @ flat).view(rows, *gradient.shape[1:]),)

        ctx.owed.add(compute)
        return gradient.new_zeros(()), None, None, None
