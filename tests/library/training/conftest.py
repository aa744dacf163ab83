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


STUCK_SIZE = (8, 8)


def motifs():
    """Three motifs (3, 1, 8, 8) in [0, 1]; the first two resemble each other most."""
    bars = torch.zeros(3, 1, *STUCK_SIZE)
    bars[0, :, :, 1], bars[1, :, :, 3], bars[2, :, 5:7] = 1.0, 1.0, 1.0
    return bars * 200 / 255 + 0.1


def motif_images(n=30, alpha=False):
    """Motifs 0, 1, 2, 0, 1, 2, ... with noise."""
    noise = 20 / 255 * torch.randn(n, 1, *STUCK_SIZE, generator=torch.Generator().manual_seed(1))
    values = ((motifs().repeat(n // 3, 1, 1, 1) + noise) * 255).clamp(0, 255).to(torch.uint8)
    opaque = torch.full((n, 1, *STUCK_SIZE), 255, dtype=torch.uint8) if alpha else None
    return ImageSet(values, [f"{i:03d}" for i in range(n)], alpha=opaque)


def motif_configuration(names="identity", **training):
    model = {"n_prototypes": 3, "transformation_sequence": names, "n_hidden_units": 8}
    schedule = {"epochs": 12, "batch_size": 10, "lr": 0.02, "milestones": [10], "device": "cpu", **training}
    return RunConfig.from_dict({"model": model, "training": schedule})


def fresh_model(config, images):
    model = model_for(config, images)
    model.set_epoch(100)
    model.initialise(images.images, torch.Generator().manual_seed(0))
    return model


def begun_from(config, images, prototypes):
    model = fresh_model(config, images)
    with torch.no_grad():
        model.prototypes.pixels.copy_(prototypes)
    return model


def stuck_model(config, images):
    """One prototype stands for motifs 0 and 1, two for motif 2: no gradient step leaves that."""
    first = motifs()
    return begun_from(config, images, torch.stack([first[:2].mean(0), first[2], first[2] + 0.01]))


def right_model(config, images):
    return begun_from(config, images, motifs())


def labels_of(model, images):
    """(n / 3, 3): of each motif in turn."""
    return model.infer(images.images.float() / 255).labels.view(-1, 3)


@pytest.fixture
def stuck() -> SimpleNamespace:
    """Makers of a training that has ended in the wrong optimum."""
    return SimpleNamespace(
        images=motif_images, configuration=motif_configuration, model=stuck_model, right=right_model,
        fresh=fresh_model, labels=labels_of,
    )  # fmt: skip
