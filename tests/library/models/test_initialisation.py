"""Where prototypes start."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.models.prototypes.initialisation import initial_prototypes, kmeans_centres

KINDS = ["sample", "kmeans", "kmeans++", "random", "constant", "mean", "gaussian"]


def images(n=30, channels=1, size=(6, 5)):
    return torch.randint(
        0, 256, (n, channels, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )


def start(kind, k=4, data=None, size=(6, 5), seed=0, **options):
    data = images() if data is None else data
    return initial_prototypes(kind, data, k, size, torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(6, 5), (4, 8)])
def test_shape_range_and_reproducibility(kind, channels, size):
    data = images(channels=channels)
    prototypes = start(kind, data=data, size=size)
    assert prototypes.shape == (4, channels, *size)
    assert prototypes.dtype == torch.float32
    assert prototypes.min() >= 0
    assert prototypes.max() <= 1
    assert prototypes.equal(start(kind, data=data, size=size))
    different = {"sample", "kmeans++", "random"}
    assert (kind not in different) or not prototypes.equal(start(kind, data=data, size=size, seed=1))


@pytest.mark.parametrize("kind", ["sample", "kmeans++"])
def test_prototypes_are_images(kind):
    data = images()
    for prototype in start(kind, data=data):
        assert ((data / 255 - prototype).abs().amax((1, 2, 3)) < 1e-6).any()


def test_known_values():
    assert start("constant", value=0.25).unique().tolist() == [0.25]
    torch.testing.assert_close(start("mean")[2], (images() / 255).mean(0))
    window = start("gaussian", size=(5, 5), std=2.0)
    assert window[0, 0, 2, 2] == 1.0
    assert window[3, 0, 2, 0] == pytest.approx(0.6065, abs=1e-4)
    window[0] += 1  # rows do not share memory
    assert window[1].max() == 1.0


def test_kmeans_finds_separate_groups():
    groups = torch.tensor([10, 120, 240], dtype=torch.uint8).repeat_interleave(10)
    data = groups.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    for kind in ("kmeans", "kmeans++"):
        values = sorted((255 * start(kind, k=3, data=data, size=(4, 4)).mean((1, 2, 3))).round().tolist())
        assert values == [10, 120, 240]
    centres, labels = kmeans_centres(data / 255, 3, torch.Generator().manual_seed(0))
    assert centres.shape == (3, 1, 4, 4)
    assert len(set(labels[:10].tolist())) == 1


@pytest.mark.parametrize("kind", ["kmeans", "kmeans++"])
def test_fewer_images_than_prototypes(kind):
    assert start(kind, k=5, data=images(3)).shape == (5, 1, 6, 5)
