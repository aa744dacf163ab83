"""New images onto a finished model of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dti_sprites import DataError, Run, RunConfig, load_run, train
from dti_sprites.cli import main
from dti_sprites.results import layout
from dti_sprites.results.limits import training_limits
from dti_sprites.results.tables import Assignments

SIDE, N = 16, 40
LAYERED = {
    "n_layers": 2, "layer_transformation_sequence": "color_position", "sprite_size": 8, "gaussian_std": 2.0,
    "empty_sprite": True, "occlusion": "predicted",
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "kmeans": {},
    "gmm": {"kind": "gmm"},
    "sprites": {"kind": "sprites", "sprites": {"gaussian_std": 3.0}},
    "layers": {"kind": "sprites", "sprites": LAYERED},
}


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Run]:
    rng = np.random.default_rng(0)
    kinds = rng.integers(60, 200, (2, SIDE, SIDE))
    pictures = np.clip(kinds[np.arange(N) % 2] + rng.integers(-15, 16, (N, SIDE, SIDE)), 0, 255).astype(
        np.uint8
    )
    model = {"n_prototypes": 2, "transformation_sequence": "identity_affine", **MODELS[request.param]}
    config = RunConfig.from_dict(
        {"model": model, "training": {"epochs": 2, "batch_size": 20, "curriculum": [1], "device": "cpu"}}
    )
    out = tmp_path_factory.mktemp(request.param) / "results"
    return request.param, load_run(train(config, pictures, out).out, device="cpu")


def test_training_images_fit_and_others_do_not(trained: tuple[str, Run]) -> None:
    kind, run = trained
    same = run.assign(run.images())
    assert np.array_equal(same.labels, run.labels)
    assert same.fits.all()
    strange = np.indices((4, SIDE, SIDE)).sum(0)[..., None] % 2 * 255
    found = run.assign(strange.astype(np.uint8))
    assert not found.fits.any()
    assert (found.decomposition is not None) is kind.startswith(("sprites", "layers"))
    if found.decomposition is not None:
        layers = 2 if kind == "layers" else 1
        assert found.decomposition.layers.shape == (4, layers, SIDE, SIDE, 2)
        assert found.decomposition.semantic.shape == (4, SIDE, SIDE)
        assert (found.layers is None) is (layers == 1)


def test_the_results_of_new_images_are_a_tree_like_any(trained: tuple[str, Run], tmp_path: Path) -> None:
    _, run = trained
    pictures = run.images()[:6].copy()
    pictures[0] = np.indices((SIDE, SIDE)).sum(0)[..., None] % 2 * 255
    result = run.assign_into(tmp_path / "new", pictures, labels=["a", "b"] * 3)
    assert result.metrics["unfit"] == 1
    assert result.metrics["n_labelled"] == 6
    assert "epochs" not in result.metrics
    again = load_run(tmp_path / "new", device="cpu")
    assert again.assignments.fits is not None
    assert again.assignments.fits.tolist() == [False, *[True] * 5]
    assert len(list((tmp_path / "new").glob("clusters/*/*_raw.png"))) == 6
    assert 'id="unfit"' in (again.out / layout.REPORT).read_text()
    # The limits stay those of the training: a model that was applied once labels further images alike.
    assert np.allclose(again.limits, run.limits)
    assert again.assign(run.images()).fits.all()


def test_a_small_cluster_takes_the_limit_of_all() -> None:
    labels = np.array([0] * 12 + [1] * 3)
    distances = np.full((15, 3), 9.0, np.float32)
    distances[np.arange(15), labels] = np.linspace(0.1, 1.5, 15)
    table = Assignments([str(i) for i in range(15)], labels, distances)
    assert training_limits(table).tolist() == pytest.approx([1.2, 1.5, 1.5])


def test_the_command_writes_the_same_tree(run: Run, digits: Path, tmp_path: Path, capsys: Any) -> None:
    new = tmp_path / "new"
    assert main(["assign", str(run.out), "--images", str(digits / "images"), "--results", str(new)]) == 0
    assert capsys.readouterr().out == ""
    assert load_run(new).metrics["unfit"] == 0
    assert main(["assign", str(run.out), "--images", str(digits / "images"), "--results", str(run.out)]) == 2
    assert "holds the run itself" in capsys.readouterr().err


def test_unreadable_files_among_new_images(run: Run, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes((digits / "images" / "000.png").read_bytes())
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b\.png"):
        run.assign(tmp_path)
    images = run.load_new(tmp_path, unreadable="skip", sources={"a.png": {"document": "ms 1"}})
    assert images.sources == [{"document": "ms 1"}]
    assert run.assign(images).names == ["a.png"]
