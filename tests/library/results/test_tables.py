"""Tables of the result tree."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dti_sprites.results import layout
from dti_sprites.results.files import dump_json
from dti_sprites.results.report_training import shares_of
from dti_sprites.results.tables import (
    Assignments,
    common_root,
    curves,
    curves_tsv,
    originals,
    read_assignments,
    write_assignments,
)


def make_assignments(n: int = 7, k: int = 3) -> Assignments:
    rng = np.random.default_rng(0)
    distances = rng.random((n, k), dtype=np.float32)
    return Assignments(
        names=[f'folder/é "{i}",=x.png' for i in range(n)],
        labels=distances.argmin(1),
        distances=distances,
        matrices={"affine": rng.normal(size=(n, 2, 3)), "tps": rng.normal(size=(n, 32))},
        sources=[{"document": f"ms{i % 2}", "page": i} if i else {} for i in range(n)],
        known_labels=["a" if i % 2 else None for i in range(n)],
    )


def test_assignments_survive_the_round_trip_exactly(tmp_path: Path) -> None:
    written = make_assignments()
    write_assignments(tmp_path, written)
    read = read_assignments(tmp_path)
    assert read.names == written.names
    assert np.array_equal(read.labels, written.labels)
    assert read.distances.dtype == np.float32
    assert np.array_equal(read.distances, written.distances)
    assert np.allclose(read.matrices["affine"], written.matrices["affine"].reshape(7, 6), atol=5.1e-5)
    assert read.known_labels == written.known_labels
    assert read.sources is not None
    assert read.sources[3] == {"document": "ms1", "page": "3"}


def test_csv_begins_with_the_columns_that_viewers_read(tmp_path: Path) -> None:
    write_assignments(tmp_path, make_assignments())
    with (tmp_path / layout.TABLE_CSV).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [
        *("image_id", "path", "cluster_id", "distance", "dist_cluster_0", "dist_cluster_1", "dist_cluster_2"),
        *("matrix_affine", "matrix_tps", "known_label", "document", "page"),
    ]
    assert len(rows) == 7
    assert all(len(row) == len(header) for row in rows)


def test_json_is_keyed_by_image_number(tmp_path: Path) -> None:
    assignments = make_assignments()
    write_assignments(tmp_path, assignments)
    entries = json.loads((tmp_path / layout.TABLE_JSON).read_text(encoding="utf-8"))
    assert list(entries) == [str(i) for i in range(7)]
    entry = entries["4"]
    assert entry["path"] == assignments.names[4]
    assert entry["cluster_id"] == assignments.labels[4]
    assert np.float32(entry["distance"]) == assignments.best[4]
    assert len(entry["matrix_affine"]) == 6


def test_json_holds_null_instead_of_nan() -> None:
    text = dump_json({"a": float("nan"), "b": [np.float32("inf")], "c": np.arange(2), 3: Path("x")})
    assert json.loads(text) == {"a": None, "b": [None], "c": [0, 1], "3": "x"}


def test_runner_up_is_the_nearest_other_cluster() -> None:
    assignments = Assignments(
        ["a", "b", "c"],
        np.array([0, 2, 1]),
        np.array([[1.0, 4.0, 2.0], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]], dtype=np.float32),
    )
    second, margin = assignments.runner_up()
    assert second.tolist() == [2, 1, 0]
    assert margin == pytest.approx([0.5, 0.75, 0.0])


def test_runner_up_of_signed_distances() -> None:
    distances = np.array([[-10.0, 10.0], [9.0, 10.0]], dtype=np.float32)
    _, margin = Assignments(["a", "b"], np.array([0, 0]), distances).runner_up()
    assert margin == pytest.approx([1.0, 0.05])


def test_an_image_nearer_to_another_cluster_is_doubtful() -> None:
    _, margin = Assignments(["a"], np.array([0]), np.array([[2.0, 1.0]], np.float32)).runner_up()
    assert margin.tolist() == [0.0]


def test_runner_up_of_a_single_cluster() -> None:
    second, margin = Assignments(["a"], np.array([0]), np.ones((1, 1), np.float32)).runner_up()
    assert second.tolist() == [-1]
    assert margin.tolist() == [1.0]


def test_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / layout.TABLE_CSV).write_text("path,cluster\na,1\n")
    with pytest.raises(ValueError, match="image_id"):
        read_assignments(tmp_path)


def test_originals_name_the_file_and_its_size(tmp_path: Path) -> None:
    paths: list[Path | None] = [tmp_path / "a" / "x.png", tmp_path / "b" / "y.png"]
    root = common_root(paths)
    assert root == tmp_path
    content = originals(["a/x.png", "b/y.png"], paths, [(10, 20), (30, 40)], root)
    assert content["images"]["1"] == {
        "name": "b/y.png",
        "path": (tmp_path / "b" / "y.png").as_posix(),
        "relative_path": "b/y.png",
        "width": 40,
        "height": 30,
    }


def test_originals_of_an_array_have_names_only() -> None:
    assert common_root([None]) is None
    assert originals(["000000"], [None], None, None) == {"root": None, "images": {"0": {"name": "000000"}}}


def test_curves_have_the_columns_of_earlier_tables() -> None:
    history = {
        "lr": [0.1, 0.1],
        "loss": [0.5, 0.25],
        "iteration": [10, 20],
        "epoch": [0, 1],
        "batch": [9, 4],
        "time_per_image": [0.001, 0.002],
        "proportions": [[0.25, 0.75], [0.5, 0.5]],
        "epoch_loss": [0.4],
    }
    columns = curves(history)
    assert curves_tsv(columns).splitlines() == [
        "iteration\tepoch\tbatch\ttime/img\tloss\tlr\tprop_clus0\tprop_clus1",
        "10\t0\t9\t0.001\t0.5\t0.1\t0.25\t0.75",
        "20\t1\t4\t0.002\t0.25\t0.1\t0.5\t0.5",
    ]
    assert shares_of(columns) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))


def test_curves_of_nothing() -> None:
    assert curves({}) == {"iteration": []}
    assert curves_tsv(curves({})) == "iteration\n"
