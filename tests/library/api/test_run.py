"""Run: opened again, asked about new images, measured, packed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dti_sprites import DataError, Run, RunConfig, load_run, train
from dti_sprites.results import layout

N, SIDE, K = 60, 16, 5


@pytest.fixture
def elsewhere(run: Run, tmp_path: Path) -> Path:
    """The run's tree as `results/` of an experiment on another disk."""
    shutil.copytree(run.out, tmp_path / "experiment" / "results", ignore=shutil.ignore_patterns("checkpoint"))
    return tmp_path / "experiment"


@pytest.mark.parametrize("part", ["", "results"])
def test_a_copied_run_is_the_same(run: Run, elsewhere: Path, part: str) -> None:
    loaded = load_run(elsewhere / part)
    assert loaded.out == elsewhere / "results"
    assert loaded.names == run.names
    assert loaded.metrics == run.metrics
    assert loaded.config == run.config
    assert np.array_equal(loaded.labels, run.labels)
    assert np.array_equal(loaded.distances, run.distances)
    assert np.array_equal(loaded.prototypes, run.prototypes)


def test_training_images_are_assigned_as_in_training(elsewhere: Path, digits: Path) -> None:
    loaded = load_run(str(elsewhere), device="cpu")
    assignment = loaded.assign(digits / "images")
    assert assignment.names == loaded.names
    assert np.array_equal(assignment.labels, loaded.labels)
    assert np.allclose(assignment.distances, loaded.distances, rtol=1e-4, atol=1e-6)
    difference = assignment.reconstructions.astype(int) - loaded.reconstructions()
    assert np.abs(difference).max() <= 1


def test_images_of_another_size_and_colour_are_fitted(run: Run) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (7, 40, 30, 3), dtype=np.uint8)
    assignment = run.assign(pictures, batch_size=3)
    assert assignment.labels.shape == (7,)
    assert assignment.distances.shape == (7, K)
    assert assignment.reconstructions.shape == (7, SIDE, SIDE, 1)
    assert assignment.matrices["affine"].shape[0] == 7
    assert assignment.table().sizes.sum() == 7


def test_pictures_of_some_images(run: Run, digits: Path) -> None:
    some = run.images([3, 50])
    assert some.shape == (2, SIDE, SIDE, 1)
    with Image.open(digits / "images" / "050.png") as original:
        larger = np.asarray(original.resize((SIDE, SIDE), Image.Resampling.NEAREST), float)
    assert np.corrcoef(larger.ravel(), some[1].ravel())[0, 1] > 0.8
    assert run.reconstructions([3]).shape == (1, SIDE, SIDE, 1)


def test_reconstructions_that_were_not_kept_are_made_again(digits: Path, run: Run, tmp_path: Path) -> None:
    config = run.config.replace(results={"transformed": False})
    other = load_run(train(config, digits / "images", tmp_path / "run").out)
    assert not list(other.out.rglob("*_tsf.png"))
    assert np.abs(other.reconstructions([1, 2]).astype(int) - run.reconstructions([1, 2])).max() <= 1


def test_transparent_images_go_through(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, SIDE, SIDE, 4), dtype=np.uint8)
    pictures[..., 3] = (pictures[..., 3] > 100) * 255
    config = RunConfig.from_dict(
        {
            "model": {"n_prototypes": 2, "transformation_sequence": "identity"},
            "training": {"epochs": 1},
            "results": {"transformed": False},
        }
    )
    run = train(config, pictures, tmp_path / "run")
    assert run.images([0]).shape == (1, SIDE, SIDE, 4)
    loaded = load_run(tmp_path / "run")
    assert loaded.reconstructions([4]).shape == (1, SIDE, SIDE, 3)
    assert np.allclose(loaded.assign(pictures).distances, run.distances, rtol=1e-4, atol=1e-6)


def test_evaluate_takes_labels_in_any_form(run: Run, digits: Path) -> None:
    from_file = run.evaluate(digits / "labels.csv")
    known = dict(line.split(",") for line in (digits / "labels.csv").read_text().splitlines()[1:])
    assert run.evaluate(known) == from_file
    assert run.evaluate(list(known.values())) == from_file
    assert run.evaluate(np.array([int(label) for label in known.values()])) == from_file
    assert run.evaluate() == from_file
    assert from_file["accuracy"] == run.metrics["accuracy"]
    some = run.evaluate({name: label for name, label in known.items() if label in "01"})
    assert some["n_labelled"] == sum(label in "01" for label in known.values())
    assert run.evaluate(run.labels)["nmi"] == pytest.approx(1.0)


def test_labels_that_do_not_fit(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 given for 60"):
        run.evaluate([1, 2, 3])
    with pytest.raises(DataError, match="none of the images"):
        run.evaluate({"other.png": "a"})


def test_zip(run: Run, tmp_path: Path) -> None:
    path = run.export(tmp_path / "run.zip")
    names = zipfile.ZipFile(path).namelist()
    assert layout.METRICS in names
    assert sum(name.endswith("_raw.png") for name in names) == N
    zipfile.ZipFile(path).extractall(tmp_path / "unpacked")
    assert load_run(tmp_path / "unpacked").metrics == run.metrics


def test_no_results_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no results"):
        load_run(tmp_path)


@pytest.mark.parametrize("name", [layout.METRICS, layout.TABLE_CSV, layout.WEIGHTS])
def test_damaged_results_are_refused(elsewhere: Path, name: str) -> None:
    (elsewhere / "results" / name).write_bytes(b'"half')
    with pytest.raises(DataError, match="results"):
        load_run(elsewhere)


def test_results_without_metrics_are_incomplete(elsewhere: Path) -> None:
    (elsewhere / "results" / layout.METRICS).unlink()
    with pytest.raises(DataError, match="incomplete"):
        load_run(elsewhere)


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, dti_sprites; dti_sprites.RunConfig; dti_sprites.ConfigError;"
        "assert 'torch' not in sys.modules; assert 'train' in dir(dti_sprites);"
        "dti_sprites.train; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_attribute_errors() -> None:
    import dti_sprites

    with pytest.raises(AttributeError, match="missing"):
        dti_sprites.missing  # noqa: B018
