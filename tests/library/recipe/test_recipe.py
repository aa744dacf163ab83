"""From a notebook's flat parameters to a configuration, and from a folder to images with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dti_sprites import ConfigError, DataError, RunConfig
from dti_sprites.recipe import (
    CURRICULA,
    compare_with_kmeans,
    configure,
    known_labels,
    prepare,
    with_iterations,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve small grey images of two kinds, with a table of labels."""
    rng = np.random.default_rng(0)
    rows = ["name,label"]
    for i in range(12):
        pixels = np.full((9, 9), 40 + 160 * (i % 2)) + rng.integers(0, 20, (9, 9))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{'light' if i % 2 else 'dark'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def test_nothing_given_means_the_preset() -> None:
    assert configure({}, sample=True) == RunConfig.preset("digits")
    assert configure({"lr": None, "preset": "auto"}) == RunConfig.preset("crops")
    assert configure({"preset": "mnist-test"}) == RunConfig.preset("mnist-test")


def test_given_values_replace_the_preset_s() -> None:
    config = configure({"n_prototypes": 7, "lr": 0.01, "image_size": 32, "seed": 3, "device": "cpu"})
    assert (config.model.n_prototypes, config.training.lr, config.data.image_size) == (7, 0.01, 32)
    assert (config.training.seed, config.training.device) == (3, "cpu")


@pytest.mark.parametrize("sequence", ["identity", "identity_color", "identity_color_affine_morpho_tps"])
def test_another_sequence_gets_a_curriculum_of_its_own(sequence: str) -> None:
    config = configure({"transformation_sequence": sequence, "epochs": 200})
    count = len(sequence.split("_"))
    assert config.training.curriculum == tuple(round(share * 200) for share in CURRICULA[count])


@pytest.mark.parametrize(("sequence", "coarse"), [("identity_affine", 300), ("identity_affine_morpho", None)])
def test_another_sequence_is_coarse_only_where_it_can_be(sequence: str, coarse: int | None) -> None:
    config = configure({"preset": "fast", "transformation_sequence": sequence})
    assert config.training.coarse_epochs == coarse


@pytest.mark.parametrize(
    ("sequence", "strength"), [("identity_projective", 0.1), ("identity_color_morpho", 0.0)]
)
def test_another_sequence_moves_images_only_where_it_can(sequence: str, strength: float) -> None:
    config = configure({"preset": "characters", "transformation_sequence": sequence})
    assert config.training.augmentation == strength


def test_another_length_keeps_the_proportions() -> None:
    preset = RunConfig.preset("digits").training
    config = configure({"epochs": preset.epochs * 2}, sample=True)
    assert config.training.milestones == tuple(2 * epoch for epoch in preset.milestones)
    assert config.training.curriculum == tuple(2 * epoch for epoch in preset.curriculum or ())


def test_a_share_fixed_for_few_clusters_does_not_hinder_many() -> None:
    config = configure({"preset": "platform-newer", "n_prototypes": 100})
    assert config.training.empty_cluster_threshold is None


def test_problems_are_told_by_the_flat_names() -> None:
    with pytest.raises(ConfigError) as caught:
        configure({"n_prototypes": 0, "transformation_sequence": "identity_wobble", "lr": -1.0})
    assert {name for name, _ in caught.value.errors} == {"n_prototypes", "transformation_sequence", "lr"}
    with pytest.raises(ConfigError, match="colour: unknown"):
        configure({"colour": 1})
    with pytest.raises(ConfigError, match="preset"):
        configure({"preset": "no-such"})


@pytest.mark.parametrize(("n_images", "epochs"), [(20, 400), (300, 300), (100_000, 20)])
def test_small_sets_get_more_passes(n_images: int, epochs: int) -> None:
    assert with_iterations(RunConfig.preset("crops"), n_images).training.epochs == epochs


def test_images_are_loaded_with_their_sources(folder: Path) -> None:
    (folder / "notes.txt").write_text("no image")
    sources = {"3.png": {"document": "Ms. 12", "page": "4v"}}
    images, config = prepare(folder, {"n_prototypes": 2, "epochs": 5, "image_size": 8}, sources=sources)
    assert len(images) == 12
    assert images.sources is not None
    assert images.sources[images.names.index("3.png")]["page"] == "4v"
    assert config.training.batch_size == 12
    assert config.training.epochs == 5


def test_what_was_left_out_is_reported(folder: Path) -> None:
    class Listener:
        def __init__(self) -> None:
            self.warnings: list[str] = []
            self.steps: list[int] = []

        def progress(self, step: int, total: int, *, unit: str, phase: str) -> None:
            self.steps.append(step)

        def warn(self, message: str) -> None:
            self.warnings.append(message)

    (folder / "torn.png").write_bytes((folder / "0.png").read_bytes()[:40])
    listener = Listener()
    parameters = {"n_prototypes": 2, "unreadable": "skip"}
    prepare(folder, parameters, reporter=listener)
    assert listener.steps[-1] == 13
    assert "torn.png" in listener.warnings[0]
    with pytest.raises(DataError, match=r"torn\.png"):
        prepare(folder, {"n_prototypes": 2})


def test_too_few_images(folder: Path) -> None:
    with pytest.raises(DataError, match="13 prototypes"):
        prepare(folder, {"n_prototypes": 13})


def test_labels_are_found_beside_the_images_or_where_told(folder: Path, tmp_path: Path) -> None:
    images, config = prepare(folder, {"n_prototypes": 2})
    labels = known_labels(folder, images)
    assert labels is not None
    assert set(labels) == {"light", "dark"}
    assert compare_with_kmeans(images, labels, config) == {
        "kmeans_accuracy": 1.0,
        "kmeans_nmi": pytest.approx(1.0),
    }
    (folder / "labels.csv").rename(folder / "truth.csv")
    assert known_labels(folder, images) is None
    assert compare_with_kmeans(images, None, config) == {}
    assert known_labels(folder, images, folder / "truth.csv") == labels
    with pytest.raises(DataError):
        known_labels(folder, images, folder / "missing.csv")


def test_checking_a_request_does_not_load_pytorch() -> None:
    code = (
        "import sys; from dti_sprites.recipe import configure; configure({}); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
