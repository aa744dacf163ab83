"""Choosing among trainings: restarts with several seeds, and a sweep over the number of prototypes.

from dti_sprites.choose import sweep, train_best
run = train_best(config, "images/", "runs/a", restarts=5)       # the seed of the lowest loss
found = sweep(config, "images/", "runs/k", ks=[5, 10, 20])      # a table, a picture and a suggestion
print(found.advice.text)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Advice", "Sweep", "SweepRow", "Trial", "advise", "stability", "sweep", "train_best", "train_one"]

if TYPE_CHECKING:
    from dti_sprites.choose.advice import Advice, advise
    from dti_sprites.choose.restarts import train_best
    from dti_sprites.choose.sweeping import Sweep, SweepRow, sweep
    from dti_sprites.choose.trial import Trial, stability, train_one

# Loaded when first used: a benchmark needs `train_one` where nothing that writes results is installed.
_HOME = {
    **dict.fromkeys(("Advice", "advise"), "advice"),
    "train_best": "restarts",
    **dict.fromkeys(("Sweep", "SweepRow", "sweep"), "sweeping"),
    **dict.fromkeys(("Trial", "stability", "train_one"), "trial"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
