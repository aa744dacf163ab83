"""Asks the model of a finished run about one image: a prototype that a person chose, or the layers of a scene.

The answers are files in `fits/` of the experiment, made once; like thumbnails they can be deleted and are made again.
"""

from dti_service.fitting.pictures import fitted_picture, layers_of, part_picture
from dti_service.fitting.process import Fitter

__all__ = ["Fitter", "fitted_picture", "layers_of", "part_picture"]
