"""The model of a finished run is asked about single images: prototypes that a person chose, layers of a scene."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dti_service.experiment import Experiment
from dti_sprites import RunConfig, load_run, train

Make = Callable[..., Experiment]
Fetch = Callable[..., Any]
TRAINING = {"epochs": 1, "batch_size": 8, "seed": 1, "device": "cpu", "threads": 1}
SMALL = {"n_prototypes": 3, "encoder": "resnet20"}
PLAIN = {"report": False, "animation": False}


def images(count: int = 12) -> np.ndarray:
    """(N, 16, 16, 3) uint8 squares of two colours on a dark ground."""
    random = np.random.default_rng(0)
    found = np.full((count, 16, 16, 3), 30, np.uint8)
    for number in range(count):
        y, x = random.integers(1, 9, 2)
        found[number, y : y + 6, x : x + 6] = (200, 60, 60) if number % 2 else (60, 60, 200)
    return found


@pytest.fixture(scope="module")
def clustering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = {**SMALL, "transformation_sequence": "identity_affine"}
    config = {"data": {"image_size": 16}, "model": model, "training": TRAINING, "results": PLAIN}
    out = tmp_path_factory.mktemp("clustering") / "results"
    train(RunConfig.from_dict(config), images(), out)
    return out


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sprites = {
        "n_layers": 2,
        "n_backgrounds": 1,
        "sprite_size": 8,
        "layer_transformation_sequence": "position",
    }
    model = {**SMALL, "kind": "sprites", "transformation_sequence": "identity", "sprites": sprites}
    config = {"data": {"image_size": 16}, "model": model, "training": TRAINING, "results": PLAIN}
    out = tmp_path_factory.mktemp("scenes") / "results"
    train(RunConfig.from_dict(config), images(), out)
    return out


def put(make: Make, results: Path) -> Experiment:
    files = {f"results/{path.relative_to(results)}": path.read_bytes() for path in results.rglob("*.*")}
    return make("succeeded", files={name: data for name, data in files.items() if data})


def pixels(answer: Any) -> np.ndarray:
    assert answer.code == 200, answer.body
    return np.asarray(Image.open(io.BytesIO(answer.body)))


async def test_a_moved_image_is_fitted_by_the_model(
    make: Make, fetch: Fetch, clustering: Path, context: Any, service: Any
) -> None:
    """For its own prototype the model gives what the run kept; for another one, something else of the same kind."""
    experiment = put(make, clustering)
    run = load_run(clustering, device="cpu")
    own = int(run.labels[3])
    other = int(np.argsort(run.distances[3])[1])
    own_picture = pixels(await fetch("GET", "experiments", experiment.id, "fits/3", f"{own}.png"))
    assert (own_picture == run.reconstructions([3])[0]).all()
    other_picture = pixels(await fetch("GET", "experiments", experiment.id, "fits/3", f"{other}.png"))
    assert other_picture.shape == own_picture.shape
    # What the picture differs from the image by is the distance that the run wrote into its table.
    difference = (other_picture.astype(float) - run.images([3])[0]) / 255.0
    assert (difference**2).mean() == pytest.approx(run.distances[3, other], rel=0.02)
    small = await fetch(
        "GET", "experiments", experiment.id, "fits/3", f"{other}.png", params={"thumbnail": 64}
    )
    assert small.headers["Content-Type"] == "image/webp"
    assert "max-age" in small.headers["Cache-Control"]
    answer = await fetch("GET", "experiments", experiment.id, "layers/0")
    assert answer.code == 404
    assert "only runs with sprites" in json.loads(answer.body)["message"]
    # The process dies, the picture is lost: both are made again.
    process = context.fitter._process.process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (service.store.directory(experiment.id) / "fits" / f"3_{other}.png").unlink()
    again = pixels(await fetch("GET", "experiments", experiment.id, "fits/3", f"{other}.png"))
    assert (again == other_picture).all()


async def test_what_cannot_be_asked_is_not_found(make: Make, fetch: Fetch, clustering: Path) -> None:
    experiment = put(make, clustering)
    for path, word in (("fits/99/0.png", "no image 99"), ("fits/0/7.png", "no prototype 7")):
        answer = await fetch("GET", "experiments", experiment.id, path)
        assert answer.code == 404, path
        assert word in json.loads(answer.body)["message"]


async def test_a_result_without_its_model_says_so(
    make: Make, fetch: Fetch, clustering: Path, service: Any
) -> None:
    experiment = put(make, clustering)
    (service.store.directory(experiment.id) / "results" / "model.safetensors").unlink()
    answer = await fetch("GET", "experiments", experiment.id, "fits/0/1.png")
    assert answer.code == 404
    assert "no model" in json.loads(answer.body)["message"]


async def test_scenes_are_taken_apart(make: Make, fetch: Fetch, scenes: Path) -> None:
    experiment = put(make, scenes)
    run = load_run(scenes, device="cpu")
    answer = await fetch("GET", "experiments", experiment.id, "layers/2")
    facts = json.loads(answer.body)
    assert facts["background"] == 0
    assert len(facts["layers"]) == 2
    background = pixels(await fetch("GET", "experiments", experiment.id, "layers/2/background.png"))
    whole = background.astype(float)
    for number, _ in enumerate(facts["layers"], start=1):
        picture = pixels(await fetch("GET", "experiments", experiment.id, f"layers/2/layer{number}.png"))
        assert picture.shape == (16, 16, 4)
        if number == 1:
            first = picture
    second = picture
    # Layer 1 is hidden by layer 2, as the fixed order says; put together they are the reconstruction.
    for layer in (first, second):
        mask = layer[..., 3:].astype(float) / 255.0
        whole = whole * (1 - mask) + layer[..., :3] * mask
    assert np.abs(whole - run.reconstructions([2])[0]).mean() < 3
    other = (int(run.labels[2]) + 1) % 3
    forced = pixels(await fetch("GET", "experiments", experiment.id, "fits/2", f"{other}.png"))
    assert forced.shape == (16, 16, 3)
    answer = await fetch("GET", "experiments", experiment.id, "layers/2/layer9.png")
    assert answer.code == 404
