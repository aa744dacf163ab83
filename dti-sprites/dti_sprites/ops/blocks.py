"""How K·B candidates are cut into blocks: small enough for the cache of a CPU or for the memory of a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import torch

CPU_ELEMENTS = 2**18  # of one block of candidates: 1 MiB of float32, about a core's second-level cache
GPU_ELEMENTS = 2**26  # 256 MiB; a few such tensors exist at a time
# Of the candidates of all layers, which several steps visit: 96 MiB. Small images, whose candidates would fit into a
# cache one by one, are faster many at a time: there are some thirty operators per layer and visit.
CPU_SEARCH_ELEMENTS = 3 * 2**23
CPU_LAYER_ELEMENTS = 2**20  # of what each layer leaves of each other one: 4 MiB


def blocks(n_rows: int, n_columns: int, elements: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Slices (rows, columns) that cover an (n_rows, n_columns) table whose cells have so many `elements`.

    A block has one row, or whole rows: one row needs no copy of its prototype.
    """
    budget = CPU_ELEMENTS if device.type == "cpu" else GPU_ELEMENTS
    cells = max(1, budget // elements)
    columns = min(n_columns, cells)
    rows = max(1, cells // n_columns) if columns == n_columns else 1
    for row in range(0, n_rows, rows):
        for column in range(0, n_columns, columns):
            yield slice(row, min(row + rows, n_rows)), slice(column, min(column + columns, n_columns))


def search_block(elements: int, batch: int, device: torch.device) -> int:
    """Images at a time whose candidates, `elements` each, are kept during a search over layers, of a batch."""
    return _images_at_a_time(CPU_SEARCH_ELEMENTS if device.type == "cpu" else GPU_ELEMENTS, elements, batch)


def layer_block(elements: int, batch: int, device: torch.device) -> int:
    """Images at a time whose layers are composed, with `elements` for the pairs of layers of an image."""
    return _images_at_a_time(CPU_LAYER_ELEMENTS if device.type == "cpu" else GPU_ELEMENTS, elements, batch)


def _images_at_a_time(budget: int, elements: int, batch: int) -> int:
    count = max(1, -(-batch // max(1, budget // elements)))
    return max(1, -(-batch // count))  # blocks of about the same size
