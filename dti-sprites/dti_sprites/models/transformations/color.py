"""Scale and offset of each colour channel."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import Transformation, TransformationOptions
from dti_sprites.ops.clamp import clamp_in_place, clamp_values


class Color(Transformation):
    """β (C, 2) = (w, b) per channel: (1 + w)·v + b, no mixing of channels. Identity at zero (inside [0, 1]).

    Only the first `channels` channels change; a mask behind them is left alone.
    """

    name = "color"

    def __init__(self, options: TransformationOptions) -> None:
        super().__init__()
        self.channels = options.channels
        self.clamp = options.color_clamp
        self.n_parameters = 2 * self.channels

    def scale_offset(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """(N, p) -> scales (N, C), offsets (N, C)."""
        pairs = parameters.view(-1, self.channels, 2)
        return 1.0 + pairs[..., 0], pairs[..., 1]

    def forward(self, images: Tensor, parameters: Tensor) -> Tensor:
        scale, offset = (values[..., None, None] for values in self.scale_offset(parameters))
        colors, rest = images[:, : self.channels], images[:, self.channels :]
        if not torch.is_grad_enabled():  # written where they stay
            result = images.new_empty(images.shape)
            torch.addcmul(offset, colors, scale, out=result[:, : self.channels])
            clamp_in_place(result[:, : self.channels], self.clamp)
            result[:, self.channels :] = rest
            return result
        colors = clamp_values(torch.addcmul(offset, colors, scale), self.clamp)
        return torch.cat([colors, rest], dim=1) if rest.shape[1] else colors

    def matrices(self, parameters: Tensor) -> dict[str, Tensor]:
        """(N, C, 2): scale and offset of each channel."""
        return {self.name: torch.stack(self.scale_offset(parameters), dim=2)}
