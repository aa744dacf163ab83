"""Heads: the small networks that predict transformation parameters from an image's features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class StackedHeads(nn.Module):
    """n independent MLPs F -> hidden -> ... -> p evaluated together: features (B, F) -> (n, B, p).

    One tensor per layer holds all heads, so that a step is a few batched products whatever n. The last layer
    starts at zero (weight and bias), hence all parameters do; the others as `nn.Linear` does.
    """

    def __init__(self, n: int, n_features: int, n_outputs: int, hidden: int = 128, n_hidden: int = 2) -> None:
        super().__init__()
        self.n = n
        widths = [n_features, *[hidden] * n_hidden, n_outputs]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            weight, bias = torch.zeros(n, fan_out, fan_in), torch.zeros(n, fan_out)
            if i < n_hidden:
                bound = 1.0 / math.sqrt(fan_in)
                weight.uniform_(-bound, bound)
                bias.uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(bias))

    def forward(self, features: Tensor) -> Tensor:
        # All heads see the same input: the first layers are one product F -> n·hidden.
        first = nn.functional.linear(features, self.weights[0].flatten(0, 1), self.biases[0].flatten())
        x = first.view(features.shape[0], self.n, -1).transpose(0, 1)  # n, B, hidden
        for weight, bias in zip(self.weights[1:], self.biases[1:]):
            x = torch.baddbmm(bias.unsqueeze(1), torch.relu(x), weight.transpose(1, 2))
        return x

    def copied_parameters(self) -> Sequence[nn.Parameter]:
        """Tensors whose row k belongs to head k."""
        return [*self.weights, *self.biases]
