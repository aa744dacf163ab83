"""load_images: folders, lists, arrays, datasets; what is skipped, refused, cached and labelled."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image

from dti_sprites.config import DataConfig
from dti_sprites.data import ImageSet, load_images
from dti_sprites.errors import DataError


def test_folder_in_natural_order_with_folders_in_names(write, grey, tmp_path):
    for name in (
        "p10/a.png",
        "p2/b.png",
        "p2/a10.png",
        "p2/a9.PNG",
        "z.png",
        ".hidden.png",
        "__MACOSX/p2/b.png",
    ):
        write(name, grey)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    images = load_images(tmp_path / "images")
    assert images.names == ["p2/a9.PNG", "p2/a10.png", "p2/b.png", "p10/a.png", "z.png"]
    assert [path.name for path in images.paths] == ["a9.PNG", "a10.png", "b.png", "a.png", "z.png"]
    assert images.images.shape == (5, 1, 12, 16)
    assert torch.equal(images.images[0, 0], torch.from_numpy(grey))


def test_one_colour_image_makes_three_channels(write, grey, colour, tmp_path):
    write("a.png", grey)
    write("b.png", colour)
    folder = tmp_path / "images"
    assert load_images(folder).channels == 3
    assert torch.equal(load_images(folder).images[0, 2], torch.from_numpy(grey))
    assert load_images(folder, DataConfig(channels="grey")).channels == 1
    assert load_images(folder, DataConfig(channels="rgb")).channels == 3


def test_size_is_the_images_own_only_when_they_agree(write, grey, tmp_path):
    write("a.png", grey)
    assert load_images(tmp_path / "images").size == (12, 16)
    write("b.png", grey.T)
    images = load_images(tmp_path / "images")
    assert images.size == (128, 128)
    assert images.original_sizes == [(12, 16), (16, 12)]
    assert load_images(tmp_path / "images", DataConfig(image_size=(8, 10))).size == (8, 10)


def test_alpha_plane_exists_when_any_image_has_one(write, grey, tmp_path):
    write("a.png", grey)
    write("b.png", Image.new("LA", (16, 12), (0, 40)))
    images = load_images(tmp_path / "images")
    assert images.alpha[:, 0, 0, 0].tolist() == [255, 40]
    assert load_images(tmp_path / "images", DataConfig(alpha="ignore")).alpha is None


@pytest.fixture
def with_broken(write, grey, tmp_path):
    """A folder of two good images and three damaged ones."""
    write("a.png", grey)
    write("e.png", grey)
    folder = tmp_path / "images"
    (folder / "b.png").write_bytes(b"")
    (folder / "c.jpg").write_bytes(b"no image at all")
    whole = (folder / "a.png").read_bytes()
    (folder / "d.png").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.mark.parametrize("size", [None, 12])
def test_unreadable_files_are_all_named(with_broken, size):
    with pytest.raises(DataError, match=r"3 of 5 images cannot be read .*skip") as caught:
        load_images(with_broken, DataConfig(image_size=size))
    assert [name for name, _ in caught.value.files] == ["b.png", "c.jpg", "d.png"]
    assert str(with_broken) not in str(caught.value)


@pytest.mark.parametrize("size", [None, 12])
def test_unreadable_files_are_skipped_when_asked(with_broken, size):
    images = load_images(with_broken, DataConfig(image_size=size, unreadable="skip"))
    assert images.names == ["a.png", "e.png"]
    assert [path.name for path in images.paths] == ["a.png", "e.png"]
    assert [name for name, _ in images.skipped] == ["b.png", "c.jpg", "d.png"]


def test_nothing_readable_is_an_error_even_when_skipping(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="none of the 1 images"):
        load_images(tmp_path, DataConfig(unreadable="skip"))


def test_postscript_is_no_image(tmp_path):
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n%%EndComments\n")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.eps").read_bytes())  # by any name
    with pytest.raises(DataError, match="not an image") as caught:
        load_images(tmp_path)
    assert [name for name, _ in caught.value.files] == ["b.png"]


@pytest.mark.parametrize("source", ["missing", "empty", "list", "array", "dataset"])
def test_no_images(tmp_path, source):
    (tmp_path / "empty").mkdir()
    sources = {
        "list": [],
        "array": np.zeros((0, 4, 4), np.uint8),
        "dataset": torch.utils.data.TensorDataset(),
    }
    if source == "dataset":
        sources["dataset"] = torch.utils.data.TensorDataset(torch.zeros(0, 1, 4, 4))
    with pytest.raises(DataError, match=r"no images|not a folder"):
        load_images(sources.get(source, tmp_path / source))


def test_list_of_paths_keeps_its_order(write, grey):
    paths = [write("b/x.png", grey), write("a/x.png", 255 - grey)]
    images = load_images(paths)
    assert images.names == ["b/x.png", "a/x.png"]
    assert images.images[0, 0, 0, 0] == 0
    with pytest.raises(DataError, match="more than once"):
        load_images([paths[0], str(paths[0])])


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((5, 8, 6), np.uint8, (5, 1, 8, 6)),
        ((5, 8, 6, 1), np.uint8, (5, 1, 8, 6)),
        ((5, 8, 6, 3), np.uint8, (5, 3, 8, 6)),
        ((5, 3, 8, 6), np.uint8, (5, 3, 8, 6)),
        ((5, 8, 6), np.float32, (5, 1, 8, 6)),
        ((5, 8, 6, 3), np.float64, (5, 3, 8, 6)),
        ((5, 8, 6), np.uint16, (5, 1, 8, 6)),
        ((5, 8, 6), bool, (5, 1, 8, 6)),
        ((5, 8, 6), np.int64, (5, 1, 8, 6)),
    ],
)
def test_arrays(shape, dtype, expected):
    rng = np.random.default_rng(0)
    values = rng.random(shape) if np.dtype(dtype).kind == "f" else rng.integers(0, 256, shape)
    images = load_images(values.astype(dtype))
    assert images.images.shape == expected
    assert images.names[:2] == ["000000", "000001"]


def test_array_values():
    levels = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3).repeat(4, axis=1)
    for values in (levels, levels / 255.0, levels.astype(np.uint16) * 257, levels.astype(np.int32)):
        assert load_images(values).images[0, 0, 0].tolist() == [0, 51, 255]


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 4)),
        np.zeros((2, 5, 5, 7)),
        np.full((2, 4, 4), 255.0),
        np.full((2, 4, 4), np.nan),
        np.full((2, 4, 4), -1),
        np.full((2, 4, 4), 300),
        np.full((2, 4, 4), "a"),
        {"a": 1},
        17,
    ],
)
def test_arrays_that_are_no_images(values):
    with pytest.raises(DataError):
        load_images(values)


def test_tensors_are_channels_first():
    values = torch.rand(4, 3, 8, 3)
    images = load_images(values)
    assert torch.equal(images.images, (values * 255).round().to(torch.uint8))
    assert load_images(torch.zeros(2, 8, 8, dtype=torch.uint8)).images.shape == (2, 1, 8, 8)


def test_array_with_alpha_is_resized_with_it():
    values = np.full((2, 8, 8, 4), 200, np.uint8)
    values[:, :, :4, 3] = 0
    images = load_images(values, DataConfig(image_size=4))
    assert images.alpha[0, 0, 0].tolist()[::3] == [0, 200]
    assert images.images.shape == (2, 1, 4, 4)


@pytest.mark.parametrize("key", ["x", "images", "arr_0"])
def test_npz(tmp_path, key):
    values = np.arange(2 * 16, dtype=np.uint8).reshape(2, 4, 4)
    np.savez(tmp_path / "a.npz", **{key: values, "labels": [3, 1]})
    images = load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(images.images[:, 0].numpy(), values)
    assert images.labels.tolist() == [3, 1]


def test_npy_and_damaged_npz(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 4), np.uint8))
    assert len(load_images(tmp_path / "a.npy")) == 2
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 damaged")
    np.savez(tmp_path / "c.npz", other=np.zeros(3))
    np.savez(tmp_path / "d.npz", x=np.array([{"a": 1}], dtype=object))  # would need unpickling
    for name in ("b.npz", "c.npz", "d.npz", "missing.npz"):
        with pytest.raises(DataError):
            load_images(tmp_path / name)


class Pairs(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int):
        return Image.new("RGB", (8, 6), (i * 10, 0, 0)), i % 2


def test_datasets():
    images = load_images(Pairs())
    assert images.images.shape == (3, 3, 6, 8)
    assert images.images[2, 0, 0, 0] == 20
    assert images.labels.tolist() == [0, 1, 0]
    tensors = torch.utils.data.TensorDataset(torch.ones(2, 1, 4, 4), torch.tensor([5, 7]))
    images = load_images(tensors)
    assert (images.images == 255).all()
    assert images.labels.tolist() == [5, 7]


def test_image_set_passes_through_or_is_refitted():
    images = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), ["a", "b"], labels=np.array([0, 1]))
    assert load_images(images) is images
    small = load_images(images, DataConfig(image_size=4, channels="grey"))
    assert small.images.shape == (2, 1, 4, 4)
    assert small.names == ["a", "b"]
    assert small.labels.tolist() == [0, 1]
    assert small.original_sizes == [(8, 8), (8, 8)]


def test_progress_reaches_the_total(write, grey, tmp_path):
    for i in range(4):
        write(f"{i}.png", grey)
    seen: list[tuple[int, int]] = []
    load_images(tmp_path / "images", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_error_in_progress_stops_loading(write, grey, tmp_path):
    write("a.png", grey)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_images(tmp_path / "images", progress=stop)


def test_cache(write, grey, tmp_path):
    path = write("a.png", grey)
    write("b.png", Image.new("LA", (16, 12), (0, 40)))
    folder, cache = tmp_path / "images", tmp_path / "cache"
    first = load_images(folder, cache_dir=cache)
    kept = list(cache.iterdir())
    assert len(kept) == 1

    # Same size and time, other content: only a cached copy still has the old pixels.
    stat = path.stat()
    path.write_bytes(b"\0" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second = load_images(folder, cache_dir=cache)
    assert second.fingerprint() == first.fingerprint()
    assert (second.names, second.paths, second.original_sizes) == (
        first.names,
        first.paths,
        first.original_sizes,
    )

    with pytest.raises(DataError):  # another option is another entry
        load_images(folder, DataConfig(image_size=8), cache_dir=cache)
    Image.fromarray(255 - grey).save(path)  # a changed file too
    assert load_images(folder, cache_dir=cache).fingerprint() != first.fingerprint()


def test_damaged_cache_is_decoded_again(write, grey, tmp_path):
    write("a.png", grey)
    folder, cache = tmp_path / "images", tmp_path / "cache"
    first = load_images(folder, cache_dir=cache)
    (entry,) = cache.iterdir()
    for damage in (b"", b"\xff" * 100, entry.read_bytes()[:-50]):
        entry.write_bytes(damage)
        assert load_images(folder, cache_dir=cache).fingerprint() == first.fingerprint()
        assert entry.stat().st_size > 100


def test_unwritable_cache_is_no_error(write, grey, tmp_path):
    write("a.png", grey)
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(load_images(tmp_path / "images", cache_dir=tmp_path / "cache")) == 1
