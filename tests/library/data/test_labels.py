"""Known classes from files, folders and arrays."""

from __future__ import annotations

import numpy as np
import pytest

from dti_sprites.data import load_images
from dti_sprites.data.imageset import encode_labels
from dti_sprites.errors import DataError


@pytest.fixture
def folder(write, grey, tmp_path):
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        write(name, grey)
    return tmp_path / "images"


def test_nothing_is_read_unasked(folder):
    (folder / "labels.csv").write_text("name,label\ncat/1.png,a\n")
    assert load_images(folder).labels is None


def test_folders(folder):
    images = load_images(folder, labels="folder")
    assert images.label_names == ["cat", "dog"]
    assert images.labels.tolist() == [0, 0, 1]


def test_folders_need_sub_folders(folder, write, grey):
    write("outside.png", grey)
    with pytest.raises(DataError, match=r"outside\.png"):
        load_images(folder, labels="folder")


@pytest.mark.parametrize("place", [".", ".."])
def test_csv_in_the_folder_or_beside_it(folder, place):
    (folder / place / "labels.csv").write_text("label,file\nx,cat/1.png\ny,cat/2.png\nx,dog/1.png\n")
    images = load_images(folder, labels="csv")
    assert images.label_names == ["x", "y"]
    assert images.labels.tolist() == [0, 1, 0]


def test_csv_by_the_end_of_the_name_only_where_unambiguous(folder):
    (folder / "labels.csv").write_text("\ufeffname,label\n2.png,two\n1.png,which?\n", encoding="utf-8")
    images = load_images(folder, labels="csv")
    assert images.label_names == ["two"]
    assert images.labels.tolist() == [-1, 0, -1]


def test_images_without_a_row_are_unknown(folder, tmp_path):
    (tmp_path / "known.csv").write_text("name,label\ncat/2.png,7\n")
    images = load_images(folder, labels=tmp_path / "known.csv")
    assert images.labels.tolist() == [-1, 0, -1]
    assert images.label_names == ["7"]


@pytest.mark.parametrize(
    "content", ["", "name,label\n", "a,b\n1,2\n", "name,label\nother.png,1\n", "\xff\xfe\x00"]
)
def test_useless_csv(folder, content):
    (folder / "labels.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"labels\.csv"):
        load_images(folder, labels="csv")


def test_missing_csv(folder):
    with pytest.raises(DataError, match=r"no labels\.csv"):
        load_images(folder, labels="csv")
    with pytest.raises(DataError):
        load_images(folder, labels=folder / "missing.csv")


def test_array_of_labels_must_match(folder):
    assert load_images(folder, labels=[400, 400, 9]).label_names == ["9", "400"]
    with pytest.raises(DataError, match="2 labels for 3 images"):
        load_images(folder, labels=np.array([1, 2]))


@pytest.mark.parametrize(
    ("values", "labels", "names"),
    [
        ([0, 2, 1], [0, 2, 1], ["0", "1", "2"]),
        ([1.0, 0.0], [1, 0], ["0", "1"]),
        (np.array([3, -1, 0]), [3, -1, 0], ["0", "1", "2", "3"]),
        ([1000, 7, 1000], [1, 0, 1], ["7", "1000"]),
        (["b", "a10", "a9", "", None], [2, 1, 0, -1, -1], ["a9", "a10", "b"]),
    ],
)
def test_encoding(values, labels, names):
    encoded, found = encode_labels(values)
    assert encoded.tolist() == labels
    assert found == names
