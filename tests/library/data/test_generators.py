"""Generated scenes: what is drawn is what the masks say."""

from __future__ import annotations

import numpy as np
import pytest

from dti_sprites.data.scenes import compose_scenes, generate_shapes
from dti_sprites.data.tetrominoes import BEVEL, CELL, fixed_tetrominoes, generate_tetrominoes


def test_the_nineteen_fixed_tetrominoes():
    shapes = fixed_tetrominoes()
    assert len(shapes) == 19
    assert len({cells.tobytes() for _, cells in shapes}) == 19
    counts = {letter: sum(name[0] == letter for name, _ in shapes) for letter in "JLTISZO"}
    assert counts == {"J": 4, "L": 4, "T": 4, "I": 2, "S": 2, "Z": 2, "O": 1}
    for _, cells in shapes:
        assert cells.shape == (4, 2)
        assert cells.min(axis=0).tolist() == [0, 0]


@pytest.fixture(scope="module")
def tetrominoes():
    return generate_tetrominoes(300, seed=3)


def test_tetrominoes_are_three_whole_pieces_of_their_class(tetrominoes):
    shapes = fixed_tetrominoes()
    instance, semantic = tetrominoes.masks["instance"].numpy(), tetrominoes.masks["semantic"].numpy()
    for i in range(len(tetrominoes)):
        for piece in (1, 2, 3):
            where = instance[i] == piece
            assert where.sum() == 4 * CELL**2  # whole, and hidden by no other
            (kind,) = np.unique(semantic[i][where])
            pixels = np.argwhere(where)
            cells = {tuple(cell) for cell in ((pixels - pixels.min(axis=0)) // CELL).tolist()}
            assert cells == {tuple(cell) for cell in shapes[kind - 1][1].tolist()}


def test_tetrominoes_have_one_colour_and_a_bevel(tetrominoes):
    images, instance = tetrominoes.images.numpy(), tetrominoes.masks["instance"].numpy()
    assert (images[np.broadcast_to(instance[:, None] == 0, images.shape)] == 0).all()
    for i in range(50):
        pixels = images[i][:, instance[i] == 1]  # (3, 100)
        active = pixels.any(axis=1)
        assert 1 <= active.sum() <= 2  # red, green, blue, yellow, magenta, cyan
        for channel in pixels[active]:
            np.testing.assert_array_equal(np.sort(channel), np.sort(np.tile(BEVEL.ravel(), 4)))


def test_tetrominoes_reach_every_class_and_the_whole_canvas(tetrominoes):
    assert set(np.unique(tetrominoes.masks["semantic"])) == set(range(20))
    covered = (tetrominoes.masks["instance"].numpy() > 0).mean(axis=0)
    assert covered.shape == (35, 35)
    assert covered.min() > 0


def test_tetrominoes_that_cannot_fit():
    with pytest.raises(ValueError, match="at least 20"):
        generate_tetrominoes(1, size=19)
    with pytest.raises(ValueError, match="do not fit"):
        generate_tetrominoes(1, size=20, n_objects=5)


@pytest.mark.parametrize("generate", [generate_tetrominoes, generate_shapes])
def test_seeds(generate):
    assert generate(5, seed=1).fingerprint() == generate(5, seed=1).fingerprint()
    assert generate(5, seed=1).fingerprint() != generate(5, seed=2).fingerprint()


def test_shapes_are_uniform_areas_that_the_masks_describe():
    scenes = generate_shapes(600, seed=0)  # more than one chunk
    images, instance = scenes.images.numpy(), scenes.masks["instance"].numpy()
    semantic = scenes.masks["semantic"].numpy()
    assert set(np.unique(semantic)) == {0, 1, 2, 3}
    assert instance.max() == 5
    np.testing.assert_array_equal(instance > 0, semantic > 0)
    for i in (0, 1, 300, 599):
        background = images[i][:, instance[i] == 0]
        assert len(np.unique(background)) == 1  # grey
        for layer in np.unique(instance[i])[1:]:
            inside = instance[i] == layer
            assert (images[i][:, inside] == images[i][:, inside][:, :1]).all()
            assert len(np.unique(semantic[i][inside])) == 1


def test_shapes_without_overlap_have_their_proper_areas():
    scenes = generate_shapes(200, seed=0, n_objects=(1, 1), radius=(10, 10))
    areas = {kind: [] for kind in (1, 2, 3)}
    for mask in scenes.masks["semantic"].numpy():
        inner = mask[1:-1, 1:-1]
        if (mask > 0).sum() == (inner > 0).sum():  # does not touch the edge
            areas[int(mask.max())].append(int((mask > 0).sum()))
    assert np.mean(areas[1]) == pytest.approx(15**2, rel=0.03)
    assert np.mean(areas[2]) == pytest.approx(np.pi * 10 * 6, rel=0.03)
    assert np.mean(areas[3]) == pytest.approx(3.66 * 64, rel=0.05)  # the heart curve encloses about 3.66


def sprite(colour: tuple[int, int, int], size: tuple[int, int] = (10, 10)) -> np.ndarray:
    return np.concatenate([np.broadcast_to(colour, (*size, 3)), np.full((*size, 1), 255)], axis=-1).astype(
        np.uint8
    )


def test_composed_scenes_show_what_the_masks_say():
    sprites = [sprite((255, 0, 0)), sprite((0, 255, 0), (5, 20))]
    scenes = compose_scenes(sprites, 20, size=(32, 48), n_objects=(2, 4), seed=5)
    assert scenes.images.shape == (20, 3, 32, 48)
    colours = np.array([[255, 0, 0], [0, 255, 0]])
    for i in range(20):
        objects = scenes.sources[i]["objects"]
        assert 2 <= len(objects) <= 4
        instance, semantic = scenes.masks["instance"][i].numpy(), scenes.masks["semantic"][i].numpy()
        for layer, item in enumerate(objects, start=1):
            left, top, right, bottom = item["box"]
            assert 0 <= left < right <= 48
            assert 0 <= top < bottom <= 32
            seen = instance == layer
            assert item["visible"] == pytest.approx(seen.sum() / ((right - left) * (bottom - top)))
            assert (semantic[seen] == item["sprite"] + 1).all()
            assert (colours[item["sprite"]] == scenes.images[i].numpy()[:, seen].T).all()
        assert objects[-1]["visible"] == 1.0  # nothing lies on the last one


def test_composed_scenes_with_turns_and_backgrounds():
    backgrounds = [np.full((8, 8, 3), 77, np.uint8)]
    scenes = compose_scenes(
        [sprite((255, 0, 0))], 10, rotation=45, backgrounds=backgrounds, scale=(0.5, 1.0), n_objects=(1, 1)
    )
    outside = scenes.masks["instance"].numpy() == 0
    corner = scenes.images.numpy()[:, :, 0, 0]
    assert (corner[outside[:, 0, 0]] == 77).all()
    assert scenes.fingerprint() == (
        compose_scenes(
            [sprite((255, 0, 0))],
            10,
            rotation=45,
            backgrounds=backgrounds,
            scale=(0.5, 1.0),
            n_objects=(1, 1),
        ).fingerprint()
    )


def test_nothing_to_compose():
    with pytest.raises(ValueError, match="no sprites"):
        compose_scenes([], 3)
