"""Heads: the small networks that predict transformation parameters from an image's features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from dti_sprites.ops.late import Late, Owed


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
        return self.late()(features)

    def late(self) -> Callable[[Tensor], Tensor]:
        """The heads, to be called later: the gradient of their parameters is computed after that of all that is
        computed until then (`ops.late`)."""
        late = Late(*self.weights, *self.biases)
        return lambda features: _Heads.apply(features, late.place, late.owed, len(self.weights), *late.values)

    def copied_parameters(self) -> Sequence[nn.Parameter]:
        """Tensors whose row k belongs to head k."""
        return [*self.weights, *self.biases]


class _Heads(torch.autograd.Function):
    """All heads of features (B, F) with weights (n, out, in) and biases (n, out) layer by layer: (n, B, p)."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, features: Tensor, place: Tensor, owed: Owed, n_layers: int, *parameters: Tensor
    ) -> Tensor:
        weights, biases = parameters[:n_layers], parameters[n_layers:]
        # All heads see the same input: the first layers are one product F -> n·hidden.
        first = F.linear(features, weights[0].flatten(0, 1), biases[0].flatten())
        x = first.unflatten(1, (len(weights[0]), -1)).transpose(0, 1)  # n, B, hidden
        hidden = []
        for weight, bias in zip(weights[1:], biases[1:]):
            hidden.append(x.relu_())
            x = torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
        ctx.save_for_backward(features, *hidden, *weights)
        ctx.owed, ctx.n_layers = owed, n_layers  # type: ignore[attr-defined]
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, *saved = ctx.saved_tensors
        hidden, weights = saved[: ctx.n_layers - 1], saved[ctx.n_layers - 1 :]
        outputs = [gradient]  # gradients of what each layer gives (n, B, out), the last layer first
        for x, weight in zip(reversed(hidden), reversed(weights)):
            outputs.append(torch.bmm(outputs[-1], weight).masked_fill_(x <= 0.0, 0.0))
        outputs.reverse()
        flat = outputs[0].transpose(0, 1).flatten(1)  # B, n·hidden

        def compute() -> list[Tensor]:
            first = (flat.T @ features).view(weights[0].shape)
            others = [torch.bmm(y.transpose(1, 2), x) for y, x in zip(outputs[1:], hidden)]
            return [first, *others, *(y.sum(1) for y in outputs)]

        needs_features, needs_parameters = ctx.needs_input_grad[:2]
        if needs_parameters:
            ctx.owed.add(compute)
        of_features = flat @ weights[0].flatten(0, 1) if needs_features else None
        return of_features, gradient.new_zeros(()), *[None] * (2 + 2 * ctx.n_layers)
