"""Images in: folders, arrays and known sets to uint8 tensors decoded once, and batches of them."""

from dti_sprites.data.batches import DeviceBatches
from dti_sprites.data.imageset import ImageSet, check_enough
from dti_sprites.data.load import load_images
from dti_sprites.data.samples import write_digits

__all__ = ["DeviceBatches", "ImageSet", "check_enough", "load_images", "write_digits"]
