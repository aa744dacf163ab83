"""DeviceBatches: shuffled batches from images that stay on the device as 8-bit values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dti_sprites.data.imageset import ImageSet

Batch = tuple[Tensor, Tensor | None, Tensor]


class DeviceBatches:
    """Iterate over one epoch: (x float32 (B, C, H, W) in [0, 1], weight (B, 1, H, W) or None, indices (B,)).

    The last batch may be short. Images move to `device` once, as uint8, unless they would take more than half of
    its free memory: then each batch does. An interrupted epoch goes on where it stopped, also in another process
    through `state_dict`.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
        shuffle: bool = True,
    ) -> None:
        self.device = torch.device(device)
        self.batch_size = min(batch_size, len(images))
        self.shuffle = shuffle
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)
        size = images.images.numel() + (0 if images.alpha is None else images.alpha.numel())
        self.resident = self.device.type != "cuda" or size < torch.cuda.mem_get_info(self.device)[0] // 2
        self._images = self._place(images.images)
        self._alpha = None if images.alpha is None else self._place(images.alpha)
        self._n = len(images)
        self._position = 0  # images already given in this epoch
        self._epoch_state = self.generator.get_state()  # from which the order of this epoch is drawn
        self._order: Tensor | None = None

    def _place(self, values: Tensor) -> Tensor:
        if self.resident:
            return values.to(self.device)
        return values.pin_memory()

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return -(-self._n // self.batch_size)

    @property
    def n_images(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Batch]:
        if self._order is None:
            self._epoch_state = self.generator.get_state()
            self._order = self._draw_order()
        while self._position < self._n:
            indices = self._order[self._position : self._position + self.batch_size]
            # Counted before the batch is given: a state taken while it is in use is that of the next one.
            self._position += len(indices)
            yield (*self.take(indices), indices)
        self._position, self._order = 0, None

    def _draw_order(self) -> Tensor:
        if not self.shuffle:
            return torch.arange(self._n)
        return torch.randperm(self._n, generator=self.generator, device=self.generator.device)

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """(x, weight) of these images, on the device, as floats in [0, 1]."""
        return self._float(self._images, indices), None if self._alpha is None else self._float(
            self._alpha, indices
        )

    def _float(self, values: Tensor, indices: Tensor) -> Tensor:
        batch = values[indices.to(values.device)]
        return batch.to(self.device, non_blocking=True).to(torch.float32).div_(255)

    def state_dict(self) -> dict[str, Any]:
        """Where the epoch stands: {"position", "epoch_state", "state"}, the last two states of the generator."""
        return {
            "position": self._position,
            "epoch_state": self._epoch_state.clone(),
            "state": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()` of an equal set of images. Raises ValueError for a position beyond it."""
        position = int(state["position"])
        if not 0 <= position <= self._n:
            raise ValueError(f"the position {position} is not within the {self._n} images")
        self._position = position
        self._epoch_state = state["epoch_state"].clone()
        self._order = None
        if position > 0:
            self.generator.set_state(state["epoch_state"])
            self._order = self._draw_order()
        self.generator.set_state(state["state"])
