"""What a sweep suggests, in words: help for a person who chooses, not a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

STABLE = 0.8  # ARI between seeds from which on clusters are called the same
CLOSE = 0.05  # differences of ARI that a few seeds cannot tell apart
FLAT = 0.02  # share of the loss by which one more step of K must improve to count


class Row(Protocol):
    """What advice needs to know of one K."""

    @property
    def n_prototypes(self) -> int: ...
    @property
    def best_loss(self) -> float: ...
    @property
    def used(self) -> float: ...
    @property
    def stability(self) -> float | None: ...


@dataclass(frozen=True)
class Advice:
    """suggested: the number of prototypes to start from; text: why, in a few sentences."""

    suggested: int
    text: str
    knee: int | None  # from which on the loss gains little, None where it has no bend
    most_stable: int | None


def advise(rows: Sequence[Row]) -> Advice:
    """Weigh loss, use and stability of `rows`, one per number of prototypes. Raises ValueError for none."""
    rows = sorted(rows, key=lambda row: row.n_prototypes)
    if not rows:
        raise ValueError("a sweep needs at least one number of prototypes")
    if len(rows) == 1:
        k = rows[0].n_prototypes
        return Advice(k, f"Only K = {k} was tried: there is nothing to compare it with.", None, k)
    ks = [row.n_prototypes for row in rows]
    knee = find_knee(ks, [row.best_loss for row in rows])
    known = [row for row in rows if row.stability is not None]
    said: list[str] = []
    if knee is None:
        said.append(
            f"The loss goes down steadily from K = {ks[0]} to K = {ks[-1]}: it has no bend that would mark a number."
        )
    else:
        said.append(f"Up to K = {knee} the loss goes down quickly, beyond it more slowly.")
    most_stable = None
    if known:
        top = max(row.stability or 0.0 for row in known)
        # Of about equally stable numbers the larger one says more about the images.
        most_stable = max(row.n_prototypes for row in known if (row.stability or 0.0) >= top - CLOSE)
        if top >= STABLE:
            said.append(
                f"Seeds agree best at K = {most_stable} (ARI {_at(known, most_stable):.2f}): "
                "clusters there do not depend on chance."
            )
        else:
            said.append(
                f"No number gives the same clusters with every seed (the best agreement is an ARI of {top:.2f}, at "
                f"K = {most_stable}): use several restarts, or train longer."
            )
    else:
        said.append(
            "With one seed nothing can be said about how stable the clusters are: use at least 2 seeds."
        )
    idle = [row for row in rows if row.used < row.n_prototypes - 0.5]
    if idle:
        first = idle[0]
        said.append(
            f"At K = {first.n_prototypes} only about {first.used:.0f} clusters are really used: more hardly help."
        )
    suggested = _suggest(rows, knee, most_stable, idle[0].n_prototypes if idle else None)
    said.append(
        f"A good start is K = {suggested}. Rather take too many than too few: clusters of one motif can be merged by "
        "hand afterwards, a cluster of two motifs has to be trained again."
    )
    return Advice(suggested, " ".join(said), knee, most_stable)


def find_knee(ks: Sequence[int], losses: Sequence[float]) -> int | None:
    """The K at which a falling curve bends most: farthest below the line from its first to its last point.

    (Satopää et al., "Finding a 'kneedle' in a haystack", 2011.) None with fewer than three points, or where the curve
    hardly bends or does not fall.
    """
    x, y = np.asarray(ks, dtype=float), np.minimum.accumulate(np.asarray(losses, dtype=float))
    if len(x) < 3 or not np.isfinite(y).all() or y[0] - y[-1] <= FLAT * abs(y[0]):
        return None
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / (y[0] - y[-1])
    below = (1.0 - x) - y
    best = int(below.argmax())
    return int(ks[best]) if below[best] > 0.1 else None


def _at(rows: Sequence[Row], k: int) -> float:
    return next(row.stability or 0.0 for row in rows if row.n_prototypes == k)


def _suggest(rows: Sequence[Row], knee: int | None, most_stable: int | None, idle: int | None) -> int:
    """The knee or the most stable number, whichever is larger, but below where clusters stay unused."""
    wanted = max([k for k in (knee, most_stable) if k is not None], default=rows[-1].n_prototypes)
    below = [row.n_prototypes for row in rows if idle is None or row.n_prototypes < idle]
    possible = below or [rows[0].n_prototypes]
    return min(wanted, max(possible))
