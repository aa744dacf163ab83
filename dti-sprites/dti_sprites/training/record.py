"""What happened so far: losses and proportions, read from the device only now and then."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dti_sprites.models import StepOutput

MAX_POINTS = 4000  # of the history; beyond, every second point is dropped, again and again


class NotFinite(ArithmeticError):
    """The loss of iteration `iteration` is not a finite number."""

    def __init__(self, iteration: int, value: float) -> None:
        self.iteration, self.value = iteration, value
        super().__init__(f"loss {value} at iteration {iteration}")


class Record:
    """Rows (loss, terms, proportions) of every iteration, averaged over different spans.

    `add` never waits for the device; `read` does. When `read` is called has no influence on any average.
    """

    def __init__(self) -> None:
        self.iteration = 0
        self.history: dict[str, list[Any]] = {}
        self.terms: list[str] = []
        self.shape: tuple[int, ...] = ()  # of the proportions
        self.last_loss: float | None = None
        self._unread: list[Tensor] = []
        self._rows: list[np.ndarray] = []  # the latest rows, enough for both spans below
        self._since_point = 0
        self._since_check = 0
        self._epoch: list[tuple[float, int]] = []  # loss and size of each batch of this epoch
        self._sizes: list[int] = []  # of unread batches
        self._points = 0
        self._stride = 1

    def add(self, out: StepOutput, batch_size: int) -> None:
        self.iteration += 1
        self.terms = list(out.terms)
        self.shape = tuple(out.proportions.shape)
        values = [out.loss.detach().reshape(1), *(term.detach().reshape(1) for term in out.terms.values())]
        self._unread.append(torch.cat([*values, out.proportions.reshape(-1).to(out.loss.dtype)]))
        self._sizes.append(batch_size)
        self._since_point += 1
        self._since_check += 1

    def read(self) -> None:
        """Fetch what the device has computed. Raises NotFinite."""
        if not self._unread:
            return
        rows = torch.stack(self._unread).double().cpu().numpy()
        first = self.iteration - len(rows) + 1
        for i, scalars in enumerate(rows[:, : 1 + len(self.terms)]):
            if not np.isfinite(scalars).all():
                raise NotFinite(first + i, float(scalars[0]))
        self._rows.extend(rows)
        self._epoch.extend(zip(rows[:, 0].tolist(), self._sizes))
        self.last_loss = float(rows[-1, 0])
        self._unread, self._sizes = [], []
        del self._rows[: -max(self._since_point, self._since_check)]

    def point(self, **more: Any) -> dict[str, float]:
        """Close the span of a point of the curves: the means, also appended to the history with `more`."""
        self.read()
        n_scalars = 1 + len(self.terms)
        mean = np.mean(self._rows[-self._since_point :], axis=0)
        self._since_point = 0
        metrics = dict(zip(["loss", *self.terms], mean[:n_scalars].tolist()))
        if self._points % self._stride == 0:
            values = {
                "iteration": self.iteration,
                **more,
                **metrics,
                "proportions": mean[n_scalars:].tolist(),
            }
            for name, value in values.items():
                self.history.setdefault(name, []).append(value)
            if len(self.history["iteration"]) > MAX_POINTS:
                self._stride *= 2
                for name, series in self.history.items():
                    if name != "epoch_loss":
                        self.history[name] = series[::2]
        self._points += 1
        return metrics

    @property
    def open_iterations(self) -> int:
        """Iterations since the last point."""
        return self._since_point

    @property
    def epoch_is_new(self) -> bool:
        """Whether no batch of the epoch was seen yet."""
        return not self._epoch and not self._unread

    def start_epoch(self) -> None:
        """Forget the batches of the epoch in progress: it is seen from its start again."""
        self._epoch = []

    def proportions(self) -> Tensor:
        """Close the span of a check for unused prototypes: mean proportions over its batches, on the CPU."""
        self.read()
        n_scalars = 1 + len(self.terms)
        mean = np.mean(self._rows[-self._since_check :], axis=0)[n_scalars:]
        self._since_check = 0
        return torch.from_numpy(mean).view(self.shape)

    def end_epoch(self) -> float:
        """Mean loss over the images of the epoch, also appended to the history."""
        self.read()
        loss = sum(value * size for value, size in self._epoch) / sum(size for _, size in self._epoch)
        self._epoch = []
        self.history.setdefault("epoch_loss", []).append(loss)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Plain values, after a `read`."""
        self.read()
        return {
            "iteration": self.iteration,
            "history": self.history,
            "terms": self.terms,
            "shape": list(self.shape),
            "last_loss": self.last_loss,
            "rows": [row.tolist() for row in self._rows],
            "since_point": self._since_point,
            "since_check": self._since_check,
            "epoch": [list(pair) for pair in self._epoch],
            "points": self._points,
            "stride": self._stride,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.iteration = state["iteration"]
        self.history = state["history"]
        self.terms, self.shape = state["terms"], tuple(state["shape"])
        self.last_loss = state["last_loss"]
        self._rows = [np.array(row) for row in state["rows"]]
        self._since_point, self._since_check = state["since_point"], state["since_check"]
        self._epoch = [(value, size) for value, size in state["epoch"]]
        self._points, self._stride = state["points"], state["stride"]
        self._unread, self._sizes = [], []
