"""Fixtures shared by all rooms."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so would the programs that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def require_program(name: str) -> str:
    """Path of a program that a test needs; without it the test is skipped, or fails under CI."""
    path = shutil.which(name)
    if path is None:
        reason = f"the program {name} is not installed (Debian package of the same name)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def redis_server() -> str:
    return require_program("redis-server")


@pytest.fixture(scope="session")
def chromium() -> str:
    return require_program("chromium")


@pytest.fixture(scope="session")
def spiped() -> str:
    return require_program("spiped")


@pytest.fixture(scope="session")
def tiny_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with two real finished runs on the same 36 images, "three" and "four" clusters. Only to read."""
    from dti_service.experiment import Experiment, timestamp
    from dti_service.ids import new_id
    from dti_service.store import Store
    from dti_sprites import RunConfig, train

    random = np.random.default_rng(0)
    images = np.full((36, 24, 24, 3), 235, np.int64)
    for i, colour in zip(range(36), itertools.cycle([(200, 60, 50), (60, 90, 190), (70, 160, 80)])):
        x, y = random.integers(2, 8, 2)
        images[i, y : y + 12, x : x + 12] = colour
    images = np.clip(images + random.integers(-12, 12, images.shape), 0, 255).astype(np.uint8)
    data_dir = tmp_path_factory.mktemp("tiny results") / "data"
    store = Store(data_dir)
    for name, count in (("three", 3), ("four", 4)):
        now = timestamp()
        experiment = Experiment(
            id=new_id(),
            notebook="dti_clustering",
            name=name,
            state="succeeded",
            parameters={"n_prototypes": count},
            **dict.fromkeys(("created_at", "queued_at", "started_at", "finished_at"), now),
            attempt=1,
        )
        store.create(experiment)
        config = {
            "data": {"image_size": 24},
            "model": {"n_prototypes": count, "transformation_sequence": "identity", "encoder": "resnet20"},
            "training": {
                "epochs": 2,
                "batch_size": 16,
                "seed": 1,
                "device": "cpu",
                "threads": 1,
                "log_every": 1,
            },
            "results": {"report": False, "animation": False},
        }
        run = train(RunConfig.from_dict(config), images, out=store.directory(experiment.id) / "results")
        store.save(dataclasses.replace(experiment, metrics=dict(run.metrics)))
    store.index.close()
    return data_dir
