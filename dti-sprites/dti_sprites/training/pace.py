"""How long the iterations that are left will take."""

from __future__ import annotations


class Pace:
    """The pace since what is trained last changed, which what came before would falsify.

    While only `identity` is active an iteration costs a tenth of what it costs later: until the first change of the
    curriculum nothing is foretold. Transformations that are activated later still make it slower than foretold.
    """

    def __init__(self, first_change: int) -> None:
        self.first_change = first_change  # in completed epochs; 0: there is none
        self.start(0, 0.0)

    def start(self, iteration: int, now: float) -> None:
        """Forget what was; `now` in seconds of a monotonic clock."""
        self.iteration, self.since = iteration, now

    def left(self, iteration: int, total: int, epoch: int, now: float) -> float | None:
        """Seconds until iteration `total`; None while that cannot be known."""
        if epoch < self.first_change or iteration <= self.iteration:
            return None
        return (now - self.since) / (iteration - self.iteration) * (total - iteration)
