"""MNIST and its kin: digits, clothes, house numbers, small images with a class each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from dti_sprites.data.benchmarks.registry import Place, benchmark, find, root_of
from dti_sprites.data.imageset import ImageSet
from dti_sprites.data.load import load_images
from dti_sprites.errors import DataError

_MNIST_CREDIT = "Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0"


def from_arrays(images: np.ndarray, labels: np.ndarray, place: Place) -> ImageSet:
    """ImageSet of uint8 images (N, H, W[, C]) and labels (N,)."""
    return load_images(images, place.config, labels=np.asarray(labels).astype(np.int64))


def _torchvision(place: Place, name: str, folder: str, **options: Any) -> Any:
    """A torchvision dataset from `folder` of the root, or from the root itself. Raises DataError."""
    from torchvision import datasets

    root = root_of(place)
    problem = ""
    for candidate in (root / folder, root):
        if candidate.is_dir() or place.download:
            try:
                return getattr(datasets, name)(str(candidate), download=place.download, **options)
            except (RuntimeError, OSError) as error:
                problem = problem or str(error)
    reason = f": {problem}" if problem else ""
    raise DataError(
        f"torchvision's {name} is not in {root / folder} or {root}; download=True fetches it{reason}"
    )


def _mnist_parts(place: Place) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """((test images, labels), (train images, labels)), byte-exact."""
    try:
        path = find(place, ("mnist/mnist.npz", "mnist.npz"), "MNIST")
    except DataError as missing:
        try:
            test, train = (_torchvision(place, "MNIST", "mnist", train=train) for train in (False, True))
        except DataError:
            raise missing from None
        return _tensors(test), _tensors(train)
    with np.load(path, allow_pickle=False) as parts:
        return (parts["x_test"], parts["y_test"]), (parts["x_train"], parts["y_train"])


def _tensors(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) that a torchvision dataset of equal sizes holds in memory."""
    labels = getattr(dataset, "targets", None)
    labels = dataset.labels if labels is None else labels
    images = dataset.data.numpy() if isinstance(dataset.data, torch.Tensor) else np.asarray(dataset.data)
    return images, np.asarray(labels)


def _both(parts: Any) -> tuple[np.ndarray, np.ndarray]:
    """All parts, in the given order, as one."""
    parts = list(parts)
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


@benchmark("mnist", "MNIST", published=True, credit=_MNIST_CREDIT)
def mnist(place: Place) -> ImageSet:
    """All 70 000 images, the test part first."""
    return from_arrays(*_both(_mnist_parts(place)), place)


@benchmark("mnist-test", "MNIST-test", published=True, credit=_MNIST_CREDIT)
def mnist_test(place: Place) -> ImageSet:
    """The 10 000 test images."""
    return from_arrays(*_mnist_parts(place)[0], place)


@benchmark("mnist-1k", "MNIST-1k", published=True, credit=_MNIST_CREDIT)
def mnist_1k(place: Place) -> ImageSet:
    """1000 test images drawn without replacement by numpy's legacy generator, seed 46."""
    images, labels = _mnist_parts(place)[0]
    chosen = np.random.RandomState(46).choice(len(images), 1000, replace=False)
    return from_arrays(images[chosen], labels[chosen], place)


@benchmark("mnist-color", "MNIST-color", published=True, credit=_MNIST_CREDIT)
def mnist_color(place: Place) -> ImageSet:
    """All of MNIST in random colours."""
    images, labels = _both(_mnist_parts(place))
    return from_arrays(colourise(images), labels, place)


def colourise(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, 3) of grey uint8 (N, H, W): |w x + b| over its maximum, x in [0, 1].

    w ~ U(-1, 1)^3 and b ~ U(0, 1)^3 come from a generator seeded by the index of the image.
    """
    coloured = np.empty((*images.shape, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        rng = np.random.RandomState(i)
        weight, bias = rng.uniform(-1, 1, 3), rng.uniform(0, 1, 3)
        values = np.abs(weight * (image[..., None] / 255) + bias)
        coloured[i] = np.rint(values * (255 / values.max()))
    return coloured


@benchmark(
    "kmnist-test",
    "KMNIST-test",
    published=False,
    credit='"KMNIST Dataset" (created by CODH), adapted from "Kuzushiji Dataset" (NIJL and others), '
    "doi:10.20676/00000341, CC BY-SA 4.0",
)
def kmnist_test(place: Place) -> ImageSet:
    """The 10 000 test images of ten cursive Japanese characters."""
    try:
        folder: Path = find(place, ("kmnist_test", "kmnist"), "KMNIST-test")
        parts = [
            find(place, (f"{folder.name}/kmnist-test-{part}.npz",), "KMNIST-test")
            for part in ("imgs", "labels")
        ]
    except DataError as missing:
        try:
            return from_arrays(*_tensors(_torchvision(place, "KMNIST", "kmnist", train=False)), place)
        except DataError:
            raise missing from None
    images, labels = (np.load(part, allow_pickle=False)["arr_0"] for part in parts)
    return from_arrays(images, labels, place)


@benchmark("fashion-mnist", "Fashion-MNIST", published=True, credit="Zalando SE, MIT")
def fashion_mnist(place: Place) -> ImageSet:
    """All 70 000 images, the test part first."""
    parts = (_torchvision(place, "FashionMNIST", "fashion_mnist", train=train) for train in (False, True))
    return from_arrays(*_both(map(_tensors, parts)), place)


@benchmark("usps", "USPS", published=True)
def usps(place: Place) -> ImageSet:
    """All 9298 images, the test part first."""
    parts = (_torchvision(place, "USPS", "usps", train=train) for train in (False, True))
    return from_arrays(*_both(map(_tensors, parts)), place)


def _svhn(place: Place, splits: tuple[str, ...]) -> ImageSet:
    parts = (_tensors(_torchvision(place, "SVHN", "svhn", split=split)) for split in splits)
    images, labels = _both(parts)  # images (N, 3, H, W)
    return from_arrays(images.transpose(0, 2, 3, 1), labels, place)


@benchmark("svhn", "SVHN", published=True)
def svhn(place: Place) -> ImageSet:
    """Train, test and extra parts (630 420 images), as the published runs train on."""
    return _svhn(place, ("train", "test", "extra"))


@benchmark("svhn-eval", "SVHN without its extra part", published=True)
def svhn_eval(place: Place) -> ImageSet:
    """Train and test parts (99 289 images), as the published runs are scored on."""
    return _svhn(place, ("train", "test"))


@benchmark(
    "digits",
    "scikit-learn's digits",
    published=False,
    credit="E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0",
)
def digits(place: Place) -> ImageSet:
    """The 1797 images of 8 x 8 pixels that come with scikit-learn."""
    from sklearn.datasets import load_digits

    content = load_digits()
    return from_arrays(np.rint(content.images * (255 / 16)).astype(np.uint8), content.target, place)


@benchmark("affnist-test", "affNIST-test", published=True, credit="T. Tieleman, University of Toronto")
def affnist_test(place: Place) -> ImageSet:
    """The test part of affNIST, 40 x 40 pixels: test.mat, or the batches it is published in."""
    from scipy.io import loadmat

    places = [
        f"{folder}/{file}" for folder in ("affnist", "affNIST") for file in ("test.mat", "test_batches/1.mat")
    ]
    first = find(place, places, "affNIST-test")
    # Batches are numbered: 10.mat comes after 9.mat.
    files = (
        [first] if first.name == "test.mat" else sorted(first.parent.glob("*.mat"), key=lambda p: int(p.stem))
    )
    images, labels = [], []
    for file in files:
        content = loadmat(file)["affNISTdata"][0, 0]
        images.append(content["image"].T.reshape(-1, 40, 40))
        labels.append(content["label_int"].reshape(-1))
    return from_arrays(np.concatenate(images).astype(np.uint8), np.concatenate(labels), place)


@benchmark("frgc", "FRGC", published=True, credit="P. J. Phillips et al., Face Recognition Grand Challenge")
def frgc(place: Place) -> ImageSet:
    """2462 faces of 20 people, 32 x 32 pixels, from the HDF5 file of JULE (labels from 1)."""
    path = find(place, ("frgc/*.h5", "FRGC/*.h5", "frgc.h5"), "FRGC")
    with open_hdf5(path) as file:
        images, labels = np.asarray(file["data"]), np.asarray(file["labels"]).reshape(-1)
    if images.dtype.kind == "f" and images.max() > 1.01:
        images = images.astype(np.uint8)
    return from_arrays(images.transpose(0, 2, 3, 1), labels.astype(np.int64) - 1, place)


def open_hdf5(path: Path) -> Any:
    """The opened HDF5 file. Raises DataError when h5py is not installed or the file is damaged."""
    try:
        import h5py
    except ImportError:
        raise DataError(f"reading {path.name} needs h5py: pip install h5py") from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
