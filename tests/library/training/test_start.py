"""Beginning a training from clusters that a person has made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dti_sprites import ConfigError, DataError, RunConfig, start_from_clusters, train
from dti_sprites.data import load_images


@pytest.fixture
def images():
    """60 squares, dark on light, in three sizes: (60, 16, 16), the k-th of each three has side 4, 7 or 10."""
    random = np.random.default_rng(0)
    pictures = np.full((60, 16, 16), 220, np.uint8)
    for i in range(60):
        side = (4, 7, 10)[i % 3]
        x, y = random.integers(1, 15 - side, 2)
        pictures[i, y : y + side, x : x + side] = 30
    return pictures


def config(k=3, kind="kmeans", **training):
    return RunConfig.from_dict(
        {
            "model": {"kind": kind, "n_prototypes": k, "transformation_sequence": "identity_affine"},
            "training": {
                "epochs": 2,
                "batch_size": 20,
                "device": "cpu",
                "threads": 1,
                "curriculum": [1],
                "check_cluster_interval": 1,
                **training,
            },
            "results": {"report": False, "animation": False},
        }
    )


def test_a_cluster_begins_as_it_was_learned_or_as_the_mean_of_its_images(images):
    image_set = load_images(images, config().data)
    learned = np.full((8, 8, 3), 51, np.uint8)
    start = start_from_clusters(image_set, np.arange(60) % 3, {1: learned})
    assert start.prototypes.shape == (3, 1, 16, 16)
    assert torch.allclose(
        start.prototypes[0, 0], torch.from_numpy(images[0::3].mean(0) / 255).float(), atol=1e-5
    )
    assert torch.allclose(start.prototypes[1], torch.tensor(0.2), atol=1e-3)
    assert start.pins is None
    assert not start.fixed


@pytest.mark.parametrize(
    ("clusters", "words"),
    [
        (np.zeros(3), "3 given for 60"),
        (np.full(60, -1), "none of the images"),
        (np.full(60, 1), "cluster 0 has no"),
    ],
)
def test_clusters_that_cannot_be_begun_from(images, clusters, words):
    with pytest.raises(DataError, match=words):
        start_from_clusters(load_images(images, config().data), clusters)


@pytest.mark.parametrize("kind", ["kmeans", "gmm"])
def test_fixed_prototypes_stay_and_pinned_images_too(images, tmp_path, kind):
    """Clusters that no algorithm would find: by the number of the image. What is not pinned is free."""
    clusters = np.where(np.arange(60) < 54, np.arange(60) // 20, -1)
    image_set = load_images(images, config().data)
    start = start_from_clusters(image_set, clusters, fixed=True, pinned=True)
    run = train(config(kind=kind), images, tmp_path / "results", start=start)
    pinned = clusters >= 0
    assert (run.labels[pinned] == clusters[pinned]).all()
    free = ~pinned
    assert (run.labels[free] == run.distances[free].argmin(1)).all()
    assert np.allclose(run.prototypes, start.prototypes.permute(0, 2, 3, 1), atol=1e-6)
    # The transformations are learnt nevertheless, and new images are free.
    assert (run.assign(images).labels == run.assign(images).distances.argmin(1)).all()


def test_free_prototypes_move_and_small_clusters_live(images, tmp_path):
    clusters = np.full(60, 0)
    clusters[57:] = 1  # 5 % of the images: less than what is otherwise given up
    image_set = load_images(images, config().data)
    start = start_from_clusters(image_set, clusters, pinned=True)
    run = train(config(k=2, empty_cluster_threshold=0.4), images, tmp_path / "results", start=start)
    moved = np.abs(run.prototypes - start.prototypes.permute(0, 2, 3, 1).numpy()).max((1, 2, 3))
    assert (moved > 1e-4).all()
    assert np.bincount(run.labels, minlength=2).tolist() == [57, 3]
    first, second = run.prototypes
    assert np.abs(first - second).max() > 0.05  # not a copy of the larger one


def test_goes_on_after_an_interruption_as_without(images, tmp_path):
    from dti_sprites import TrainingStopped
    from dti_sprites.training import Callback

    class Stop(Callback):
        iterations = 0

        def should_stop(self):
            self.iterations += 1
            return self.iterations >= 2

    image_set = load_images(images, config().data)
    start = start_from_clusters(image_set, np.arange(60) // 20, fixed=True, pinned=True)
    whole = train(config(), images, tmp_path / "a" / "results", start=start)
    with pytest.raises(TrainingStopped):
        train(config(), images, tmp_path / "b" / "results", start=start, callbacks=[Stop()])
    again = train(config(), images, tmp_path / "b" / "results", start=start)
    assert np.array_equal(whole.distances, again.distances)
    assert np.array_equal(whole.labels, again.labels)


def test_more_clusters_than_prototypes_and_layers_are_refused(images, tmp_path):
    image_set = load_images(images, config().data)
    start = start_from_clusters(image_set, np.arange(60) % 3)
    with pytest.raises(ConfigError, match=r"n_prototypes.*at least 3"):
        train(config(k=2), images, tmp_path / "a", start=start)
    layers = config(kind="sprites").replace(model={"sprites": {"n_layers": 2}})
    with pytest.raises(ConfigError, match=r"n_layers.*must be 1"):
        train(layers, images, tmp_path / "b", start=start)
    small = config(kind="sprites").replace(
        model={"sprites": {"sprite_size": 8, "layer_transformation_sequence": "color_position"}}
    )
    with pytest.raises(ConfigError, match=r"sprite_size.*the images' size"):
        train(small, images, tmp_path / "c", start=start)


def sprite(shade, side):
    """(16, 16, 2) a grey square on nothing, as a run with sprites leaves it."""
    picture = np.full((16, 16, 2), shade, np.uint8)
    picture[..., 1] = 0
    picture[8 - side // 2 : 8 + side // 2, 8 - side // 2 : 8 + side // 2, 1] = 255
    return picture


def mask(folder, k):
    """(16, 16) what a run left as the mask of a sprite."""
    return np.asarray(Image.open(folder / "results" / "masks" / f"mask{k}.png"))


@pytest.mark.parametrize("method", ["min", "linear"])
def test_fixed_sprites_stay_and_pinned_images_too(images, tmp_path, method):
    """Two have masks; of the third only the mean of its images is known, so that its mask is learnt."""
    clusters = np.where(np.arange(60) < 54, np.arange(60) // 20, -1)
    image_set = load_images(images, config().data)
    learned = {0: sprite(30, 4), 1: sprite(60, 10)}
    start = start_from_clusters(image_set, clusters, learned, fixed=True, pinned=True)
    assert sorted(start.masks) == [0, 1]
    settings = config(kind="sprites", epochs=4).replace(model={"selection": {"method": method}})
    run = train(settings, images, tmp_path / "results", start=start)
    pinned = clusters >= 0
    assert (run.labels[pinned] == clusters[pinned]).all()
    assert np.allclose(run.prototypes, start.prototypes.permute(0, 2, 3, 1), atol=1e-6)
    for k in (0, 1):
        assert np.array_equal(mask(tmp_path, k), learned[k][..., 1])
    assert 0 < mask(tmp_path, 2).mean() < 255
    free = ~pinned
    if method == "min":
        assert (run.labels[free] == run.distances[free].argmin(1)).all()
        assert (run.assign(images).labels == run.assign(images).distances.argmin(1)).all()


def test_free_sprites_move_from_where_they_began(images, tmp_path):
    clusters = np.arange(60) % 3
    image_set = load_images(images, config().data)
    start = start_from_clusters(
        image_set, clusters, {k: sprite(30, side) for k, side in enumerate((4, 7, 10))}
    )
    train(config(kind="sprites", epochs=3), images, tmp_path / "results", start=start)
    for k, side in enumerate((4, 7, 10)):
        change = np.abs(mask(tmp_path, k).astype(int) - sprite(30, side)[..., 1])
        assert change.max() > 0
        assert change.mean() < 25
