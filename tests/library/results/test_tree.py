"""The tree that a model writes, and what viewers expect of it."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dti_sprites.config import RunConfig
from dti_sprites.data import ImageSet, load_images
from dti_sprites.models import build_model
from dti_sprites.results import layout
from dti_sprites.results.archive import pack
from dti_sprites.results.inference import infer_batches
from dti_sprites.results.snapshots import Snapshots
from dti_sprites.results.tables import read_assignments
from dti_sprites.results.tree import TrainingRecord, export, one_per_cluster
from dti_sprites.results.weights import load_weights, read_metadata, save_weights

K, SIDE = 4, 16


def make_images(n: int = 30, channels: int = 1, alpha: bool = False) -> ImageSet:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (3, channels, SIDE, SIDE))
    pictures = (base[np.arange(n) % 3] * 0.9 + rng.integers(0, 25, (n, channels, SIDE, SIDE))).astype(
        np.uint8
    )
    return ImageSet(
        images=torch.from_numpy(pictures),
        alpha=torch.from_numpy(rng.integers(0, 2, (n, 1, SIDE, SIDE), dtype=np.uint8) * 255)
        if alpha
        else None,
        names=[f"box/{i}.png" for i in range(n)],
        labels=np.arange(n) % 3,
        label_names=["a", "b", "c"],
        sources=[{"document": f"ms{i % 2}"} for i in range(n)],
        skipped=[("broken.png", "not an image")],
    )


def make_config(**sections: Any) -> RunConfig:
    model = {"n_prototypes": K, "transformation_sequence": "identity_affine"}
    return RunConfig.from_dict({"model": model, "training": {"batch_size": 8}}).replace(**sections)


def make_model(images: ImageSet, config: RunConfig) -> Any:
    model = build_model(config, images.channels, images.size)
    model.initialise(images.images, torch.Generator().manual_seed(0))
    with torch.no_grad():  # no image chooses the last prototype
        model.prototype_parameters()[0][K - 1] = 40.0
    return model


def make_record() -> TrainingRecord:
    film = Snapshots()
    for iteration in range(5):
        film.add(iteration, np.full((K, SIDE, SIDE, 1), 50 * iteration, np.uint8))
    columns = {"iteration": [10, 20], "epoch": [0, 1], "loss": [0.5, 0.25]}
    return TrainingRecord(curves=columns, film=film, iterations=20, epochs=2, duration_s=1.5)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "results"
    images, config = make_images(), make_config()
    export(make_model(images, config), images, config, out, make_record())
    return out


def test_every_prototype_has_its_picture_and_the_folder_holds_nothing_else(tree: Path) -> None:
    assert {path.name for path in (tree / "prototypes").iterdir()} == {f"prototype{k}.png" for k in range(K)}
    assert {path.name for path in (tree / "animations").iterdir()} == {f"prototype{k}.gif" for k in range(K)}


def test_a_cluster_without_prototype_gets_a_blank_picture() -> None:
    pictures = np.full((3, 2, 2, 4), 9, np.uint8)
    assert one_per_cluster(pictures, 3) is pictures
    padded = one_per_cluster(pictures, 5)
    assert padded.shape == (5, 2, 2, 4)
    assert padded[:3].min() == 9
    assert padded[3:].max() == 0


def test_each_image_is_in_the_folder_of_its_cluster_once(tree: Path) -> None:
    entries = json.loads((tree / layout.TABLE_JSON).read_text(encoding="utf-8"))
    assert set(entries) == {str(i) for i in range(30)}
    found = {
        match[2]: int(match[1])
        for path in tree.glob("clusters/*/*_raw.png")
        if (match := re.fullmatch(r"clusters/cluster(\d+)/(\d+)_raw\.png", path.relative_to(tree).as_posix()))
    }
    assert found == {i: entry["cluster_id"] for i, entry in entries.items()}
    assert len(list(tree.glob("clusters/*/*_raw.png"))) == len(list(tree.glob("clusters/*/*_tsf.png"))) == 30
    assert all("distance" in entry and entry["path"] == f"box/{i}.png" for i, entry in entries.items())


def test_pictures_are_what_the_model_saw_and_made(tree: Path) -> None:
    images, config = make_images(), make_config()
    batches = list(infer_batches(make_model(images, config), images, 30))
    for i in (0, 17):
        k = int(batches[0].labels[i])
        with (
            Image.open(tree / layout.raw(k, i)) as raw,
            Image.open(tree / layout.transformed(k, i)) as fitted,
        ):
            assert np.array_equal(np.asarray(raw), images.images[i, 0].numpy())
            difference = np.asarray(fitted).astype(int) - batches[0].reconstructions[i, ..., 0]
        assert np.abs(difference).max() <= 1


def test_distances_agree_with_the_pictures(tree: Path) -> None:
    table = read_assignments(tree)
    for i in (3, 11):
        k = int(table.labels[i])
        with (
            Image.open(tree / layout.raw(k, i)) as raw,
            Image.open(tree / layout.transformed(k, i)) as fitted,
        ):
            difference = (np.asarray(raw, float) - np.asarray(fitted, float)) / 255
        assert table.best[i] == pytest.approx((difference**2).mean(), rel=0.05, abs=1e-4)
        assert table.best[i] == table.distances[i].min()


def test_metrics(tree: Path) -> None:
    metrics = json.loads((tree / layout.METRICS).read_text(encoding="utf-8"))
    table = read_assignments(tree)
    assert metrics["loss"] == pytest.approx(table.best.mean())
    assert (metrics["n_images"], metrics["n_prototypes"], metrics["iterations"], metrics["epochs"]) == (
        30,
        K,
        20,
        2,
    )
    assert metrics["cluster_sizes"] == table.sizes.tolist()
    assert metrics["used_clusters"] == int((table.sizes > 0).sum()) < K
    assert metrics["partial"] is False
    assert {"accuracy", "nmi", "ari"} <= metrics.keys()
    assert metrics["n_labelled"] == 30


def test_beside_the_pictures(tree: Path) -> None:
    assert RunConfig.from_yaml(tree / layout.CONFIG) == make_config()
    rows = list(csv.DictReader((tree / layout.HISTORY).open(), delimiter="\t"))
    assert [row["loss"] for row in rows] == ["0.5", "0.25"]
    originals = json.loads((tree / layout.ORIGINALS).read_text(encoding="utf-8"))
    assert originals["images"]["7"] == {"name": "box/7.png", "width": SIDE, "height": SIDE}
    environment = json.loads((tree / layout.ENVIRONMENT).read_text(encoding="utf-8"))
    assert environment["packages"]["torch"].startswith(torch.__version__.split("+")[0])
    assert environment["skipped"] == [["broken.png", "not an image"]]
    report = (tree / layout.REPORT).read_text(encoding="utf-8")
    for expected in ("box/7.png", "broken.png", "model.n_prototypes", "ms1", "mostly"):
        assert expected in report
    table = read_assignments(tree)
    assert table.known_labels == ["abc"[i % 3] for i in range(30)]
    assert table.sources is not None
    assert table.sources[3] == {"document": "ms1"}


def test_weights_are_enough_to_build_the_model_again(tree: Path) -> None:
    known = read_metadata(tree / layout.WEIGHTS)
    assert known == {"config": make_config(), "channels": 1, "image_size": (SIDE, SIDE), "stage": 2}
    images = make_images()
    model = load_weights(tree / layout.WEIGHTS)
    assert not model.training
    again = np.concatenate([batch.distances for batch in infer_batches(model, images, 8)])
    assert np.allclose(again, read_assignments(tree).distances, rtol=1e-4, atol=1e-6)


def test_stage_of_the_curriculum_is_kept(tmp_path: Path) -> None:
    images, config = make_images(), make_config(training={"epochs": 10, "curriculum": [5]})
    model = make_model(images, config)
    model.set_stage(1)
    save_weights(tmp_path / "model.safetensors", model, config, 1, (SIDE, SIDE))
    assert load_weights(tmp_path / "model.safetensors").stage == 1


@pytest.mark.parametrize("content", [b"", b"damaged", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_damaged_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_weights(path)


def test_weights_of_another_size_are_refused(tree: Path, tmp_path: Path) -> None:
    images, config = make_images(), make_config(model={"n_prototypes": K + 1})
    path = tmp_path / "model.safetensors"
    save_weights(path, load_weights(tree / layout.WEIGHTS), config, images.channels, images.size)
    with pytest.raises(ValueError, match="do not fit"):
        load_weights(path)


def test_options_leave_out_what_is_not_wanted(tmp_path: Path) -> None:
    images = make_images(n=10)
    options = {"transformed": False, "report": False, "animation": False, "image_format": "jpeg"}
    config = make_config(results=options)
    export(make_model(images, config), images, config, tmp_path / "out", make_record())
    assert not list(tmp_path.rglob("*_tsf.*"))
    assert not list(tmp_path.rglob("*.gif"))
    assert not (tmp_path / "out" / layout.REPORT).exists()
    assert len(list(tmp_path.rglob("*_raw.jpg"))) == 10
    assert (tmp_path / "out" / "prototypes" / "prototype0.png").is_file()


def test_transparency_is_kept_in_what_the_model_saw(tmp_path: Path) -> None:
    images, config = make_images(n=10, channels=3, alpha=True), make_config()
    assignments, _ = export(make_model(images, config), images, config, tmp_path / "out", TrainingRecord())
    with Image.open(tmp_path / "out" / layout.raw(int(assignments.labels[2]), 2)) as raw:
        assert raw.mode == "RGBA"
        assert np.array_equal(np.asarray(raw)[..., 3], images.alpha[2, 0].numpy())  # type: ignore[index]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    images = make_images(n=10)
    names = ["\udce9t\udce9.png", *images.names[1:]]
    config = make_config()
    export(
        make_model(images, config),
        dataclasses.replace(images, names=names),
        config,
        tmp_path,
        TrainingRecord(),
    )
    entries = json.loads((tmp_path / layout.TABLE_JSON).read_text(encoding="utf-8"))
    assert entries["0"]["path"] == names[0]


def test_original_files_are_named(tmp_path: Path) -> None:
    for name in ("x/a.png", "y/b.png", "y/c.png", "y/d.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 20), 100).save(tmp_path / "in" / name)
    config = make_config(data={"image_size": SIDE})
    images = load_images(tmp_path / "in", config.data)
    export(make_model(images, config), images, config, tmp_path / "out", TrainingRecord())
    originals = json.loads((tmp_path / "out" / layout.ORIGINALS).read_text(encoding="utf-8"))
    assert originals["root"] == (tmp_path / "in").as_posix()
    assert originals["images"]["1"] == {
        "name": images.names[1],
        "path": (tmp_path / "in" / "y" / "b.png").as_posix(),
        "relative_path": "y/b.png",
        "width": 40,
        "height": 20,
    }


def test_zip_holds_the_tree_and_only_the_tree(tree: Path, tmp_path: Path) -> None:
    (tree / "checkpoint").mkdir()
    (tree / "checkpoint" / "state.json").write_text("{}")
    archive = zipfile.ZipFile(pack(tree, tmp_path / "deep" / "run.zip"))
    names = archive.namelist()
    assert archive.testzip() is None
    assert "clusters/" in names
    assert {"metrics.json", "prototypes/prototype0.png"} <= set(names)
    assert not any(name.startswith("checkpoint") for name in names)
    assert not {"log.txt", "results.zip", "summary.zip"} & set(names)
    weights = Path(archive.extract(layout.WEIGHTS, tmp_path))
    assert load_weights(weights).prototype_images()["prototypes"].shape == (K, 1, SIDE, SIDE)
