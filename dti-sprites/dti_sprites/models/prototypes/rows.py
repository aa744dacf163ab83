"""Copying one row of a stacked parameter onto others, with what the optimiser remembers of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def copy_rows(
    parameter: nn.Parameter,
    optimizer: torch.optim.Optimizer,
    source: int,
    targets: Sequence[int],
    noise: Tensor | None = None,
    moments: bool = True,
) -> None:
    """parameter (K, ...): rows `targets` become row `source` (+ `noise` (len(targets), ...)).

    Adam's moments of the row are copied as values (each row keeps its own memory). A parameter without
    optimiser state, because it never had a gradient, has nothing to copy.
    """
    if not targets:
        return
    index = torch.as_tensor(targets, device=parameter.device)
    row = parameter[source].clone().expand(len(targets), *parameter.shape[1:])
    parameter[index] = row if noise is None else row + noise.to(parameter)
    if not moments:
        return
    for name in ("exp_avg", "exp_avg_sq"):
        moment = optimizer.state.get(parameter, {}).get(name)
        if moment is not None:
            moment[index] = moment[source].clone()
