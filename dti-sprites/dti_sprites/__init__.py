"""DTI clustering and DTI-Sprites: discover recurring motifs without labels.

    from dti_sprites import RunConfig, train
    run = train(RunConfig.preset("digits"), "images/", out="runs/a")
    run.labels, run.distances, run.prototypes, run.metrics

Importing the package is quick: PyTorch is loaded when a name that needs it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dti_sprites.waiting import wait_briefly

wait_briefly()  # before PyTorch is loaded

__version__ = "0.1.0"

__all__ = [
    "Assignment",
    "ConfigError",
    "DataError",
    "Run",
    "RunConfig",
    "Start",
    "TrainingError",
    "TrainingStopped",
    "load_run",
    "start_from_clusters",
    "train",
]

if TYPE_CHECKING:
    from dti_sprites.api import Assignment, Run, load_run, train
    from dti_sprites.config import RunConfig
    from dti_sprites.errors import ConfigError, DataError, TrainingError, TrainingStopped
    from dti_sprites.start import Start, start_from_clusters

_HOME = {
    **dict.fromkeys(("Assignment", "Run", "load_run", "train"), "dti_sprites.api"),
    **dict.fromkeys(("ConfigError", "DataError", "TrainingError", "TrainingStopped"), "dti_sprites.errors"),
    "RunConfig": "dti_sprites.config",
    **dict.fromkeys(("Start", "start_from_clusters"), "dti_sprites.start"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
