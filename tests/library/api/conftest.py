"""One small trained run that the tests of this folder look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dti_sprites import Run, RunConfig, train

N, SIDE, K = 60, 16, 5


@pytest.fixture(scope="session")
def config() -> RunConfig:
    """A training of two epochs, six iterations, that takes about a second."""
    return RunConfig.from_dict(
        {
            "data": {"image_size": SIDE},
            "model": {"n_prototypes": K, "transformation_sequence": "identity_affine"},
            "training": {"epochs": 2, "batch_size": 20, "curriculum": [1], "log_every": 1, "device": "cpu"},
        }
    )


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `images/` of 60 handwritten digits, and `labels.csv` beside it."""
    folder = tmp_path_factory.mktemp("digits")
    data = load_digits()
    (folder / "images").mkdir()
    lines = ["name,label"]
    for i in range(N):
        picture = Image.fromarray((data.images[i] * 255 / 16).astype(np.uint8))
        picture.save(folder / "images" / f"{i:03d}.png")
        lines.append(f"{i:03d}.png,{data.target[i]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def run(config: RunConfig, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "a"
    return train(config, digits / "images", out, labels=digits / "labels.csv")
