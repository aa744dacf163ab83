"""Picking one row per image, with a gradient that is deterministic on every device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class _SelectRows(torch.autograd.Function):
    """table[index]: the backward pass is a product with the one-hot matrix, not an atomic scatter."""

    @staticmethod
    def forward(ctx: FunctionCtx, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = table.shape[0]  # type: ignore[attr-defined]
        return table.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        choice = torch.arange(ctx.rows, device=index.device)[:, None] == index[None]  # rows, N
        flat = gradient.reshape(gradient.shape[0], -1)
        return (choice.to(flat.dtype) @ flat).view(ctx.rows, *gradient.shape[1:]), None


def select_rows(table: Tensor, index: Tensor) -> Tensor:
    """table (K, ...), index (N,) -> (N, ...). Rows that nobody selects get a gradient of zeros, not None."""
    return _SelectRows.apply(table, index)


def select_parameters(parameters: Tensor, heads: Tensor, images: Tensor) -> Tensor:
    """parameters (K or 1, B, p), heads (N,), images (N,) -> (N, p): parameters of head heads[n] for images[n].

    With K = 1 (shared heads) every choice leads to the only head.
    """
    k, b, p = parameters.shape
    if k == 1:
        flat, index = parameters[0], images
    else:
        flat, index = parameters.reshape(k * b, p), heads * b + images
    return flat.gather(0, index[:, None].expand(-1, p))
