"""Models: what is learnt, and the distances and renderings it gives."""

from dti_sprites.models.base import DTIModel, Inference, Restart, StepOutput
from dti_sprites.models.build import build_model

__all__ = ["DTIModel", "Inference", "Restart", "StepOutput", "build_model"]
