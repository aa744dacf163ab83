"""Scale and offset of each colour channel."""

from __future__ import annotations

import torch
from torch import Tensor

from dti_sprites.models.transformations.base import Transformation, TransformationOptions
from dti_sprites.ops.clamp import clamp_values


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
        scale, offset = self.scale_offset(parameters)
        colors = torch.addcmul(offset[..., None, None], images[:, : self.channels], scale[..., None, None])
        colors = clamp_values(colors, self.clamp)
        if images.shape[1] == self.channels:
            return colors
        return torch.cat([colors, images[:, self.channels :]], dim=1)

    def matrices(self, parameters: Tensor) -> dict[str, Tensor]:
        """(N, C, 2): scale and offset of each channel."""
        return {self.name: torch.stack(self.scale_offset(parameters), dim=2)}
