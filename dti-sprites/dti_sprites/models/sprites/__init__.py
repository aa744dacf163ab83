"""DTI-Sprites: images as layers of transformed sprites on a background.

(Monnier, Vincent, Ponce and Aubry, "Unsupervised Layered Image Decomposition into Object Prototypes", ICCV 2021.)
"""

from dti_sprites.models.sprites.model import DTISprites
from dti_sprites.models.sprites.predicted import PredictedSprites

__all__ = ["DTISprites", "PredictedSprites"]
