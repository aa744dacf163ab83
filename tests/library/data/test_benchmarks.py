"""Known sets, from small files in the layouts they are published in."""

from __future__ import annotations

import bz2
import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from dti_sprites.config import DataConfig
from dti_sprites.data.benchmarks import ROOT_VARIABLE, benchmark_info, list_benchmarks, load_benchmark
from dti_sprites.data.benchmarks.digits import colourise
from dti_sprites.errors import DataError
from dti_sprites.presets import list_presets

RNG = np.random.default_rng(0)


def random_images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def mnist(tmp_path):
    """A root with MNIST in miniature: (root, arrays)."""
    arrays = {
        "x_train": random_images(20, 6, 6),
        "y_train": np.arange(20, dtype=np.uint8) % 10,
        "x_test": random_images(1100, 6, 6),
        "y_test": np.arange(1100, dtype=np.uint8) % 10,
    }
    (tmp_path / "mnist").mkdir()
    np.savez(tmp_path / "mnist" / "mnist.npz", **arrays)
    return tmp_path, arrays


def test_mnist_is_the_test_part_and_then_the_train_part(mnist):
    root, arrays = mnist
    images = load_benchmark("mnist", root)
    np.testing.assert_array_equal(
        images.images[:, 0].numpy(), np.concatenate([arrays["x_test"], arrays["x_train"]])
    )
    assert images.labels.tolist() == [*arrays["y_test"], *arrays["y_train"]]
    assert len(load_benchmark("mnist-test", root)) == 1100
    some = load_benchmark("mnist-test", root, limit=4)  # from all over a set, which may be in order of class
    np.testing.assert_array_equal(some.images[:, 0].numpy(), arrays["x_test"][[0, 275, 550, 825]])


def test_mnist_1k_is_drawn_by_the_legacy_generator(mnist):
    root, arrays = mnist
    np.random.seed(46)
    chosen = np.random.choice(1100, 1000, replace=False)
    images = load_benchmark("mnist-1k", root)
    np.testing.assert_array_equal(images.images[:, 0].numpy(), arrays["x_test"][chosen])
    assert len({image.numpy().tobytes() for image in images.images}) == 1000


def test_mnist_color(mnist):
    root, arrays = mnist
    images = load_benchmark("mnist-color", root)
    assert images.images.shape[1:] == (3, 6, 6)
    assert (images.images.amax(dim=(1, 2, 3)) == 255).all()
    for i in (0, 7):
        rng = np.random.RandomState(i)
        weight, bias = rng.uniform(-1, 1, 3), rng.uniform(0, 1, 3)
        values = np.abs(arrays["x_test"][i, 2, 3] / 255 * weight + bias)
        shown = images.images[i, :, 2, 3].numpy()
        np.testing.assert_allclose(shown / shown.max(), values / values.max(), atol=0.01)
    np.testing.assert_array_equal(
        colourise(arrays["x_test"][:2])[1], images.images[1].permute(1, 2, 0).numpy()
    )


def test_options_of_the_data_section_apply(mnist):
    root, _ = mnist
    assert load_benchmark("mnist-test", root, DataConfig(image_size=9, channels="rgb")).images.shape[1:] == (
        3,
        9,
        9,
    )


def test_root_from_the_environment(mnist, monkeypatch):
    root, _ = mnist
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    with pytest.raises(DataError, match=ROOT_VARIABLE):
        load_benchmark("mnist")
    monkeypatch.setenv(ROOT_VARIABLE, str(root))
    assert len(load_benchmark("mnist")) == 1120


FILE_SETS = [
    *(
        "mnist",
        "mnist-test",
        "kmnist-test",
        "fashion-mnist",
        "usps",
        "svhn",
        "svhn-eval",
        "affnist-test",
        "frgc",
    ),
    *("gtsrb8", "gtsrb8-32", "omniglot-greek", "incunables-dropcaps", "incunables-lines", "tetrominoes"),
    *("multi-dsprites", "clevr6", "clevr", "weizmann-horse"),
]


@pytest.mark.parametrize("name", FILE_SETS)
def test_missing_sets_say_where_they_were_looked_for(tmp_path, name):
    with pytest.raises(DataError, match=str(tmp_path)) as caught:
        load_benchmark(name, tmp_path)
    assert "expected" in str(caught.value) or "torchvision" in str(caught.value)


def test_unknown_set_and_root():
    with pytest.raises(DataError, match="mnist-test"):
        load_benchmark("mnist-tset")
    with pytest.raises(DataError, match="does not exist"):
        load_benchmark("mnist", "/nonexistent")


def test_presets_name_known_sets():
    for preset in list_presets():
        if preset.dataset:
            assert benchmark_info(preset.dataset).name == preset.dataset


def test_list():
    names = [info.name for info in list_benchmarks()]
    assert names == sorted(names)
    assert {"digits", "mnist", "tetrominoes-19"} <= set(names)
    assert not benchmark_info("gtsrb8-32").published


def test_sets_without_files():
    assert load_benchmark("digits").images.shape == (1797, 1, 8, 8)
    scenes = load_benchmark("tetrominoes-19", limit=4, seed=1)
    assert scenes.images.shape == (4, 3, 35, 35)
    assert set(scenes.masks) == {"instance", "semantic"}
    assert load_benchmark("shapes", limit=3).images.shape == (3, 3, 64, 64)


def write_idx(path, values: np.ndarray) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + values.tobytes())


@pytest.mark.parametrize(
    ("name", "folder", "inner", "length"),
    [
        ("mnist", "mnist", "MNIST", 5),
        ("fashion-mnist", "fashion_mnist", "FashionMNIST", 5),
        ("kmnist-test", "kmnist", "KMNIST", 2),
    ],
)
def test_torchvision_s_own_files(tmp_path, name, folder, inner, length):
    raw = tmp_path / folder / inner / "raw"
    test, train = random_images(2, 28, 28), random_images(3, 28, 28)
    for part, images in (("t10k", test), ("train", train)):
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(len(images), dtype=np.uint8))
    loaded = load_benchmark(name, tmp_path)
    np.testing.assert_array_equal(loaded.images[:, 0].numpy(), np.concatenate([test, train])[:length])
    assert loaded.labels.tolist() == [0, 1, 0, 1, 2][:length]


def test_usps(tmp_path):
    for part, labels in (("", [1, 3]), (".t", [10])):
        lines = (f"{label} " + " ".join(f"{i + 1}:{-1 if i else 1}" for i in range(256)) for label in labels)
        (tmp_path / f"usps{part}.bz2").write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))
    images = load_benchmark("usps", tmp_path)
    assert images.images.shape == (3, 1, 16, 16)
    assert images.images[0, 0, 0, :2].tolist() == [255, 0]
    assert images.labels.tolist() == [9, 0, 2]


def test_kmnist_npz(tmp_path):
    (tmp_path / "kmnist_test").mkdir()
    values = random_images(4, 28, 28)
    np.savez(tmp_path / "kmnist_test" / "kmnist-test-imgs.npz", values)
    np.savez(tmp_path / "kmnist_test" / "kmnist-test-labels.npz", np.array([3, 0, 1, 2]))
    images = load_benchmark("kmnist-test", tmp_path)
    np.testing.assert_array_equal(images.images[:, 0].numpy(), values)
    assert images.labels.tolist() == [3, 0, 1, 2]


def test_affnist_in_numbered_batches(tmp_path):
    from scipy.io import savemat

    folder = tmp_path / "affnist" / "test_batches"
    folder.mkdir(parents=True)
    values = random_images(3, 40, 40)
    for number, image in zip((1, 2, 10), values, strict=True):
        # A column per image, as published.
        content = {"image": image.reshape(1, -1).T, "label_int": np.array([[number % 10]], np.uint8)}
        savemat(folder / f"{number}.mat", {"affNISTdata": content})
    images = load_benchmark("affnist-test", tmp_path)
    np.testing.assert_array_equal(images.images[:, 0].numpy(), values)
    assert images.labels.tolist() == [1, 2, 0]


def test_frgc(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "frgc").mkdir()
    values = random_images(4, 3, 32, 32)
    with h5py.File(tmp_path / "frgc" / "data4torch.h5", "w") as file:
        file["data"], file["labels"] = values, np.array([1.0, 20.0, 2.0, 3.0])
    images = load_benchmark("frgc", tmp_path)
    np.testing.assert_array_equal(images.images.numpy(), values)
    assert images.labels.tolist() == [0, 19, 1, 2]


def test_gtsrb8(tmp_path, write):
    training = tmp_path / "gtsrb" / "GTSRB" / "Training"
    for label, level in ((3, 10), (9, 20), (35, 30), (4, 99)):
        (training / f"{label:05d}").mkdir(parents=True)
        image = np.full((30, 40, 3), (level, 0, 0), np.uint8)
        Image.fromarray(image).save(training / f"{label:05d}" / "00000_00000.ppm")
    images = load_benchmark("gtsrb8", tmp_path)
    assert images.images.shape == (3, 3, 28, 28)
    assert images.images[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert images.labels.tolist() == [0, 2, 7]


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def test_omniglot_takes_an_alphabet_from_one_archive_only(tmp_path):
    (tmp_path / "omniglot_small").mkdir()
    character = RNG.random((105, 105)) < 0.5
    for number, alphabets in ((1, ("Greek",)), (2, ("Greek", "Japanese_(katakana)"))):
        name = f"images_background_small{number}"
        with zipfile.ZipFile(tmp_path / "omniglot_small" / f"{name}.zip", "w") as archive:
            for alphabet in alphabets:
                for c in (1, 2):
                    archive.writestr(f"{name}/{alphabet}/character{c:02d}/0_{c}.png", png(character))
    images = load_benchmark("omniglot-greek", tmp_path)
    assert images.images.shape == (2, 1, 105, 105)
    assert images.names == ["character01/0_1.png", "character02/0_2.png"]
    assert images.label_names == ["character01", "character02"]
    assert "omniglot-japanese-katakana" in [info.name for info in list_benchmarks(tmp_path)]
    with pytest.raises(DataError, match="japanese-katakana"):
        load_benchmark("omniglot-latin", tmp_path)


@pytest.fixture
def incunables(tmp_path):
    folder = tmp_path / "incunables15c"
    folder.mkdir()
    with zipfile.ZipFile(folder / "dropcaps.zip", "w") as archive:
        archive.writestr(
            "labels.csv", "file,book,page,x,y,w,h,letter\r\na.png,b1,p,0,0,1,1,G\r\nb.png,b2,p,0,0,1,1,E\r\n"
        )
        for name in ("a.png", "b.png"):
            archive.writestr(name, png(random_images(40, 50, 3)))
    with zipfile.ZipFile(folder / "graphics.zip", "w") as archive:
        archive.writestr("index.csv", "file,book\r\n1.png,b1\r\n0.png,b1\r\n")
        for name in ("1.png", "0.png"):
            archive.writestr(name, png(random_images(60, 30, 3)))
    for book, width in (("b1", 300), ("b2", 30)):
        with zipfile.ZipFile(folder / f"lines_{book}.zip", "w") as archive:
            archive.writestr("transcriptions.csv", "file,page,line_id,text\r\nl.png,p,1,les poures\r\n")
            archive.writestr("l.png", png(np.tile(np.arange(width) % 256, (64, 1)).astype(np.uint8)))
    return tmp_path


def test_dropcaps_by_letter_and_by_book(incunables):
    by_letter = load_benchmark("incunables-dropcaps", incunables)
    assert by_letter.images.shape == (2, 3, 128, 128)
    assert [by_letter.label_names[label] for label in by_letter.labels] == ["G", "E"]
    assert by_letter.original_sizes == [(40, 50), (40, 50)]
    assert load_benchmark("incunables-dropcaps-book", incunables).label_names == ["b1", "b2"]


def test_graphics_have_no_labels(incunables):
    images = load_benchmark("incunables-graphics", incunables)
    assert images.names == ["0.png", "1.png"]
    assert images.images.shape == (2, 3, 128, 128)
    assert images.labels is None


def test_lines_are_cut_into_windows(incunables):
    images = load_benchmark("incunables-lines", incunables)
    assert images.names == ["b1/l_00000", "b1/l_00128"]  # the line of b2 is shorter than a window
    assert images.images.shape == (2, 1, 64, 128)
    assert images.images[:, 0, 0, 0].tolist() == [0, 128]
    assert images.sources[1] == {"book": "b1", "line": "l.png", "left": 128, "text": "les poures"}
    assert load_benchmark("incunables-lines", incunables, DataConfig(image_size=32)).images.shape == (
        4,
        1,
        32,
        32,
    )


def test_damaged_member_of_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "dropcaps.zip", "w") as archive:
        archive.writestr("labels.csv", "file,book,letter\r\na.png,b,G\r\n")
        archive.writestr("a.png", b"no image")
    with pytest.raises(DataError, match=r"a\.png"):
        load_benchmark("incunables-dropcaps", tmp_path)


def test_scenes_as_folders_of_images_and_masks(tmp_path):
    folder = tmp_path / "clevr6"
    masks = RNG.integers(0, 4, (3, 8, 8)).astype(np.uint8)
    for name in ("images", "masks", "sem_masks"):
        (folder / name).mkdir(parents=True)
    for i, mask in enumerate(masks):
        Image.fromarray(random_images(8, 8, 3)).save(folder / "images" / f"{i}.png")
        palette = Image.fromarray(mask, "P")
        palette.putpalette(list(range(255, -1, -1)) * 3)
        palette.save(folder / "masks" / f"{i}.png")
        Image.fromarray(mask // 2).save(folder / "sem_masks" / f"{i}.png")
    images = load_benchmark("clevr6", tmp_path)
    np.testing.assert_array_equal(images.masks["instance"].numpy(), masks)
    np.testing.assert_array_equal(images.masks["semantic"].numpy(), masks // 2)
    assert len(load_benchmark("clevr6", tmp_path, limit=2).masks["semantic"]) == 2
    small = load_benchmark("clevr6", tmp_path, DataConfig(image_size=4))
    assert set(np.unique(small.masks["instance"])) <= {0, 1, 2, 3}  # labels are never mixed
    (folder / "masks" / "1.png").unlink()
    with pytest.raises(DataError, match="no mask for"):
        load_benchmark("clevr6", tmp_path)


def test_scenes_as_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "tetrominoes").mkdir()
    labels = RNG.integers(0, 4, (2, 8, 8))
    one_hot = (labels[:, None] == np.arange(4)[None, :, None, None])[..., None].astype(np.uint8) * 255
    with h5py.File(tmp_path / "tetrominoes" / "train.h5", "w") as file:
        file["Imgs"], file["Masks"] = random_images(2, 8, 8, 3), one_hot
    images = load_benchmark("tetrominoes", tmp_path)
    np.testing.assert_array_equal(images.masks["instance"].numpy(), labels)


def test_horses(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / "weizmann_horse" / name).mkdir(parents=True)
    truth = np.zeros((20, 30), np.uint8)
    truth[5:, 10:20] = 255
    Image.fromarray(random_images(20, 30, 3)).save(tmp_path / "weizmann_horse" / "images" / "h1.jpg")
    Image.fromarray(truth).save(tmp_path / "weizmann_horse" / "masks" / "h1.png")
    images = load_benchmark("weizmann-horse", tmp_path)
    assert images.images.shape == (1, 3, 128, 128)
    assert images.masks["semantic"].unique().tolist() == [0, 1]
    assert images.masks["semantic"].float().mean() == pytest.approx((truth > 0).mean(), abs=0.02)
