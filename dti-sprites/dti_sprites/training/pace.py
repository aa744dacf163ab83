"""How long the iterations that are left will take."""

from __future__ import annotations

FULL_COST = 3.5  # of an iteration at full resolution beside a coarse one, measured


class Pace:
    """The pace since what is trained last changed, which what came before would falsify.

    While only `identity` is active an iteration costs a tenth of what it costs later: until the first change of the
    curriculum nothing is foretold. Transformations that are activated later still make it slower than foretold. What
    an iteration will cost once it is no longer one of a coarse epoch is known about.
    """

    def __init__(self, first_change: int, coarse: int = 0) -> None:
        self.first_change = first_change  # in completed epochs; 0: there is none
        self.coarse = coarse  # iterations at half the resolution
        self.start(0, 0.0)

    def start(self, iteration: int, now: float) -> None:
        """Forget what was; `now` in seconds of a monotonic clock."""
        self.iteration, self.since = iteration, now

    def left(self, iteration: int, total: int, epoch: int, now: float) -> float | None:
        """Seconds until iteration `total`; None while that cannot be known."""
        if epoch < self.first_change or iteration <= self.iteration:
            return None
        each = (now - self.since) / (iteration - self.iteration)
        cheap = max(self.coarse - iteration, 0)
        return each * (cheap + (total - iteration - cheap) * (FULL_COST if cheap else 1.0))
