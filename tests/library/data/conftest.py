"""Small image files of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def colour() -> np.ndarray:
    """An RGB image (12, 16, 3) with a different colour everywhere."""
    y, x = np.mgrid[0:12, 0:16]
    return np.stack([x * 15, y * 20, 255 - x * 10], axis=-1).astype(np.uint8)


@pytest.fixture
def grey() -> np.ndarray:
    """A grey image (12, 16)."""
    y, x = np.mgrid[0:12, 0:16]
    return (x * 10 + y * 5).astype(np.uint8)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(name, image, **options): save an array or Pillow image below tmp_path/images."""

    def save(name: str, image: np.ndarray | Image.Image, **options) -> Path:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        picture.save(path, **options)
        return path

    return save
