"""Training: fit a model to images, with curriculum, reassignment and checkpoints."""

from dti_sprites.training.callbacks import Callback, FitResult, Progress, TrainingInfo
from dti_sprites.training.device import resolve_device
from dti_sprites.training.fit import fit

__all__ = ["Callback", "FitResult", "Progress", "TrainingInfo", "fit", "resolve_device"]
