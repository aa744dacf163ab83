"""Small images and configurations that train in well under a second."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dti_sprites.config import RunConfig
from dti_sprites.data.imageset import ImageSet
from dti_sprites.models import build_model
from dti_sprites.training import Callback


def image_set(n=11, channels=1, size=(8, 8), alpha=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, channels, *size), generator=generator, dtype=torch.uint8)
    planes = torch.randint(0, 256, (n, 1, *size), generator=generator, dtype=torch.uint8) if alpha else None
    return ImageSet(images, [f"{i:06d}" for i in range(n)], alpha=planes)


def configuration(model=None, **training):
    """Three prototypes; batches of 4; a curriculum, a drop of the rate and restarts within 4 epochs."""
    settings = {
        "n_prototypes": 3,
        "n_hidden_units": 8,
        "transformation_sequence": "identity_affine_tps",
        **(model or {}),
    }
    schedule = {
        "epochs": 4, "batch_size": 4, "curriculum": [1, 2], "milestones": [3], "check_cluster_interval": 2,
        "empty_cluster_threshold": 0.3, "log_every": 2, "device": "cpu", "checkpoint_every_s": 1000.0, **training,
    }  # fmt: skip
    return RunConfig.from_dict({"model": settings, "training": schedule})


def model_for(config, images):
    return build_model(config, images.channels, images.size)


class Watcher(Callback):
    """Notes all calls; asks to stop after `stop_at` iterations seen in `should_stop`."""

    def __init__(self, stop_at=None):
        self.stop_at, self.calls, self.polled = stop_at, [], 0

    def named(self, name):
        return [values for kind, values in self.calls if kind == name]

    def on_start(self, info):
        self.calls.append(("start", info))

    def on_progress(self, progress):
        self.calls.append(("progress", progress))

    def on_metrics(self, iteration, metrics):
        self.calls.append(("metrics", (iteration, dict(metrics))))

    def on_prototypes(self, iteration, images):
        self.calls.append(("prototypes", (iteration, images)))

    def on_event(self, kind, **data):
        self.calls.append(("event", (kind, data)))

    def on_checkpoint(self, path, iteration):
        self.calls.append(("checkpoint", (path, iteration)))

    def should_stop(self):
        self.polled += 1
        return self.stop_at is not None and self.polled >= self.stop_at

    def on_end(self, result):
        self.calls.append(("end", result))


@pytest.fixture
def small() -> SimpleNamespace:
    """Makers of small things."""
    return SimpleNamespace(
        image_set=image_set, configuration=configuration, model_for=model_for, Watcher=Watcher
    )
