"""Picking one row per image, with a gradient that is deterministic on every device."""

from __future__ import annotations

from torch import Tensor

from dti_sprites.ops.late import LateTable


def select_rows(table: Tensor | LateTable, index: Tensor) -> Tensor:
    """table (K, ...), index (N,) -> (N, ...). Rows that nobody selects get a gradient of zeros, not None."""
    return (table if isinstance(table, LateTable) else LateTable(table)).rows(index)


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
