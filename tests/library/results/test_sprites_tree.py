"""What a model with layers leaves for each image."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dti_sprites.config import RunConfig
from dti_sprites.data import ImageSet
from dti_sprites.models import build_model
from dti_sprites.results import layout
from dti_sprites.results.decompositions import write_label_map
from dti_sprites.results.inference import infer_batches
from dti_sprites.results.report_sprites import typical
from dti_sprites.results.tables import Assignments, read_assignments
from dti_sprites.results.tree import TrainingRecord, export

N, K, SIDE = 12, 3, 20


def make(n_layers: int, channels: int = 3) -> tuple[Any, ImageSet, RunConfig]:
    """An untrained model whose sprites differ, and random images."""
    rng = np.random.default_rng(0)
    images = ImageSet(
        images=torch.from_numpy(rng.integers(0, 256, (N, channels, SIDE, SIDE), dtype=np.uint8)),
        names=[f"{i}.png" for i in range(N)],
    )
    several = {"layer_transformation_sequence": "color_position", "sprite_size": 10, "empty_sprite": True}
    sprites = {
        "n_layers": n_layers,
        "gaussian_std": 3.0,
        "empty_penalty": 0.0,
        **(several if n_layers > 1 else {}),
    }
    model = {"kind": "sprites", "n_prototypes": K, "transformation_sequence": "affine", "sprites": sprites}
    config = RunConfig.from_dict({"model": model, "training": {"batch_size": 5}})
    network = build_model(config, channels, images.size)
    network.initialise(images.images, torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.bank.colours.pixels.copy_(torch.rand_like(network.bank.colours.pixels))
    return network.eval(), images, config


@pytest.fixture(scope="module", params=[1, 2])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any, ImageSet, int]:
    model, images, config = make(request.param)
    out = tmp_path_factory.mktemp("sprites") / "results"
    export(model, images, config, out, TrainingRecord())
    return out, model, images, request.param


def test_layers_and_label_maps_are_those_of_the_model(made: tuple[Path, Any, ImageSet, int]) -> None:
    out, model, images, n_layers = made
    [batch] = infer_batches(model, images, N)
    found = batch.decomposition
    assert found is not None
    for i in range(N):
        for layer in range(n_layers):
            picture = np.asarray(Image.open(out / layout.layer(i, layer + 1)))
            assert picture.shape == (SIDE, SIDE, 4)  # colours, and the mask as transparency
            assert np.array_equal(picture, found.layers[i, layer])
        for kind, labels in (("instance", found.instance), ("semantic", found.semantic)):
            with Image.open(out / layout.label_map(i, kind)) as picture:
                assert picture.mode == "P"
                assert np.array_equal(np.asarray(picture), labels[i])
        assert found.background is not None
        assert np.array_equal(np.asarray(Image.open(out / layout.background(i))), found.background[i])


def test_the_table_names_the_sprite_of_each_layer(made: tuple[Path, Any, ImageSet, int]) -> None:
    out, model, images, n_layers = made
    rows = list(csv.DictReader((out / layout.TABLE_CSV).open()))
    table = read_assignments(out)
    if n_layers == 1:
        assert "layers" not in rows[0]
        assert table.layers is None
        assert len(json.loads(rows[0]["matrix_affine"])) == 6
        return
    [batch] = infer_batches(model, images, N)
    assert batch.decomposition is not None
    choices = batch.decomposition.choices
    assert table.layers is not None
    assert np.array_equal(table.layers, np.where(choices < K, choices, -1))
    shown = json.loads(rows[0]["layers"])
    assert shown == [k if k < K else None for k in choices[0]]
    assert {"matrix_sprite1_affine", "matrix_layer2_position", "matrix_layer2_color"} <= rows[0].keys()


def test_sprites_are_cut_out_and_images_aligned(made: tuple[Path, Any, ImageSet, int]) -> None:
    out, _, _, n_layers = made
    for folder, mode in (
        ("masked_prototypes/prototype", "RGBA"),
        ("masks/mask", "L"),
        ("prototypes/prototype", "RGB"),
    ):
        for k in range(K):
            with Image.open(out / f"{folder}{k}.png") as picture:
                assert picture.mode == mode
    assert (out / "backgrounds" / "background0.png").is_file()
    aligned = sorted(out.glob("clusters/cluster*/*_aligned.png"))
    assert len(aligned) == N
    with Image.open(aligned[0]) as picture:
        assert picture.size == ((SIDE, SIDE) if n_layers == 1 else (SIDE // 2, SIDE // 2))


def test_the_report_takes_images_apart(made: tuple[Path, Any, ImageSet, int]) -> None:
    out, _, _, n_layers = made
    page = (out / layout.REPORT).read_text()
    assert 'id="layers"' in page
    assert 'id="parts"' in page
    assert ("by layer" in page) is (n_layers > 1)
    assert 'id="unfit"' not in page


def test_what_is_not_wanted_is_not_written(tmp_path: Path) -> None:
    model, images, config = make(1, channels=1)
    config = config.replace(results={"decompositions": False, "aligned_side": 0})
    export(model, images, config, tmp_path / "out", TrainingRecord())
    assert not (tmp_path / "out" / layout.DECOMPOSITIONS).exists()
    assert not list(tmp_path.rglob("*_aligned*"))
    assert 'id="layers"' not in (tmp_path / "out" / layout.REPORT).read_text()


def test_a_label_map_of_many_sprites(tmp_path: Path) -> None:
    labels = np.arange(400).reshape(20, 20)
    write_label_map(tmp_path / "map.png", labels)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "map.png")), labels)


def test_typical_images_are_taken_from_each_cluster_in_turn() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    distances = np.full((6, 3), 9.0, np.float32)
    distances[np.arange(6), labels] = [0.1, 0.2, 0.3, 0.5, 0.4, 0.6]
    table = Assignments([str(i) for i in range(6)], labels, distances)
    assert typical(table, [0, 1, 2], 3) == [1, 3, 5]
    assert sorted(typical(table, [0, 1, 2], 99)) == list(range(6))
