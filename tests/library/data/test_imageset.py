"""ImageSet, its checks, and batches of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dti_sprites.config import RunConfig
from dti_sprites.data import DeviceBatches, ImageSet, check_enough, load_images, write_digits
from dti_sprites.errors import DataError


def image_set(n: int = 7, alpha: bool = False) -> ImageSet:
    """Image i is filled with the level i."""
    images = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).repeat(1, 1, 4, 5)
    plane = torch.full((n, 1, 4, 5), 51, dtype=torch.uint8) if alpha else None
    return ImageSet(images, [f"{i}" for i in range(n)], alpha=plane, labels=np.arange(n))


def test_subset():
    part = image_set(alpha=True).subset([5, 2])
    assert part.names == ["5", "2"]
    assert part.labels.tolist() == [5, 2]
    assert part.images[:, 0, 0, 0].tolist() == [5, 2]
    assert len(part.alpha) == len(part.paths) == len(part.original_sizes) == 2


def test_fingerprint_is_of_the_content():
    one, other = image_set(), image_set()
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != image_set(alpha=True).fingerprint()
    assert one.fingerprint() != one.subset([1, 0, 2, 3, 4, 5, 6]).fingerprint()
    reshaped = ImageSet(one.images.reshape(7, 1, 5, 4), one.names)
    assert one.fingerprint() != reshaped.fingerprint()


@pytest.mark.parametrize(
    "parts",
    [
        {"images": torch.zeros(7, 1, 4, 4)},
        {"images": torch.zeros(7, 2, 4, 4, dtype=torch.uint8)},
        {"names": ["a"]},
        {"alpha": torch.zeros(7, 4, 5, dtype=torch.uint8)},
        {"labels": np.zeros(3)},
    ],
)
def test_parts_that_do_not_belong_together(parts):
    whole = {"images": image_set().images, "names": image_set().names} | parts
    with pytest.raises(DataError):
        ImageSet(**whole)


@pytest.mark.parametrize(
    ("n", "model", "words"),
    [
        (1, {"n_prototypes": 1}, "at least 2"),
        (7, {"n_prototypes": 8}, "at most 7"),
        (7, {"kind": "sprites", "n_prototypes": 22, "sprites": {"n_layers": 3}}, "at most 21"),
    ],
)
def test_too_few_images(n, model, words):
    with pytest.raises(DataError, match=words):
        check_enough(image_set(n), RunConfig().replace(model=model))


def test_just_enough_images():
    check_enough(image_set(7), RunConfig().replace(model={"n_prototypes": 7}))
    check_enough(image_set(2), RunConfig().replace(model={"n_prototypes": 1}))


def test_an_epoch_gives_every_image_once():
    batches = DeviceBatches(image_set(alpha=True), 3, generator=torch.Generator().manual_seed(1))
    epochs = [list(batches) for _ in range(2)]
    for epoch in epochs:
        assert [len(indices) for _, _, indices in epoch] == [3, 3, 1]
        assert sorted(torch.cat([indices for _, _, indices in epoch]).tolist()) == list(range(7))
        for x, weight, indices in epoch:
            assert x.dtype == torch.float32
            torch.testing.assert_close(x[:, 0, 0, 0], indices / 255)
            assert weight.shape == (len(indices), 1, 4, 5)
            torch.testing.assert_close(weight, torch.full_like(weight, 0.2))
    assert len(batches) == 3
    orders = [torch.cat([indices for _, _, indices in epoch]).tolist() for epoch in epochs]
    assert orders[0] != orders[1]


def test_batches_in_order_without_alpha():
    batches = DeviceBatches(image_set(), 100, shuffle=False)
    ((x, weight, indices),) = list(batches)
    assert weight is None
    assert indices.tolist() == list(range(7))
    assert x.shape == (7, 1, 4, 5)


@pytest.mark.parametrize("given", [0, 1, 2, 3])
def test_an_interrupted_epoch_goes_on_elsewhere(given):
    """Whatever else draws from the generator meanwhile, the rest and the next epoch are the same."""

    def make() -> DeviceBatches:
        return DeviceBatches(image_set(), 3, generator=torch.Generator().manual_seed(1))

    def orders(batches: DeviceBatches) -> list[int]:
        return torch.cat([indices for _, _, indices in batches]).tolist()

    batches = make()
    iterator = iter(batches)
    for _ in range(given):
        next(iterator)
        torch.rand(2, generator=batches.generator)
    state = batches.state_dict()
    remaining = torch.cat([indices for _, _, indices in iterator] or [torch.empty(0)]).long().tolist()
    following = orders(batches)

    resumed = make()
    resumed.load_state_dict(state)
    resumed_rest = [indices for _, _, indices in resumed]
    assert torch.cat(resumed_rest or [torch.empty(0)]).long().tolist() == remaining
    assert orders(resumed) == following


def test_resuming_with_other_images_is_refused():
    with pytest.raises(ValueError, match="position"):
        DeviceBatches(image_set(2), 2).load_state_dict(
            DeviceBatches(image_set(), 3).state_dict() | {"position": 5}
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_live_on_the_device():
    x, weight, _ = next(iter(DeviceBatches(image_set(alpha=True), 3, device="cuda")))
    assert x.device.type == weight.device.type == "cuda"


def test_digits(tmp_path):
    folder = write_digits(tmp_path / "digits")
    assert sorted(path.name for path in folder.iterdir()) == ["images", "labels.csv"]
    assert list(tmp_path.iterdir()) == [folder]  # nothing temporary is left
    images = load_images(folder, labels="csv")
    assert images.images.shape == (1797, 1, 8, 8)
    assert np.bincount(images.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images.label_names == list("0123456789")
    before = (folder / "labels.csv").stat().st_mtime_ns
    assert write_digits(folder) == folder
    assert (folder / "labels.csv").stat().st_mtime_ns == before


def test_digits_never_overwrite_what_is_there(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        write_digits(tmp_path)
    (tmp_path / "empty").mkdir()
    assert (write_digits(tmp_path / "empty") / "labels.csv").is_file()
