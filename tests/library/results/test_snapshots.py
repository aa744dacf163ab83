"""The film of the prototypes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dti_sprites.results.snapshots import MAX_FRAMES, MAX_SIDE, Snapshots, write_animation


def frame(value: int, side: int = 8, channels: int = 1) -> np.ndarray:
    return np.full((3, side, side, channels), value % 256, np.uint8)


def test_long_trainings_keep_a_bounded_even_film() -> None:
    film = Snapshots()
    for iteration in range(1000):
        film.add(iteration * 10, frame(iteration))
    assert MAX_FRAMES // 3 <= len(film) <= MAX_FRAMES
    steps = np.diff(film.iterations)
    assert film.iterations[0] == 0
    assert len(set(steps)) == 1


def test_large_prototypes_are_reduced_in_size_and_in_number() -> None:
    film = Snapshots()
    many = np.zeros((200, 256, 128, 3), np.uint8)
    film.add(1, many)
    assert film.frames[0].shape == (200, MAX_SIDE, MAX_SIDE // 2, 3)


def test_film_ends_with_the_final_prototypes() -> None:
    film = Snapshots()
    for iteration in (0, 10, 20):
        film.add(iteration, frame(iteration))
    film.finish(20, frame(99))
    assert film.iterations == [0, 10, 20]
    assert film.frames[-1][0, 0, 0, 0] == 99


def test_saved_film_goes_on_after_a_resume(tmp_path: Path) -> None:
    film, whole = Snapshots(), Snapshots()
    path = tmp_path / "film.safetensors"
    for iteration in range(120):
        whole.add(iteration, frame(iteration))
    for iteration in range(70):
        film.add(iteration, frame(iteration))
    film.save(path)
    resumed = Snapshots.load(path)
    for iteration in range(70, 120):
        resumed.add(iteration, frame(iteration))
    assert resumed.iterations == whole.iterations
    assert np.array_equal(np.stack(resumed.frames), np.stack(whole.frames))


def test_truncated_film_takes_the_same_iterations_again() -> None:
    film = Snapshots()
    for iteration in range(0, 100, 10):
        film.add(iteration, frame(iteration))
    film.truncate(40)
    assert film.iterations == [0, 10, 20, 30, 40]
    assert film.add(50, frame(1))


def test_missing_or_damaged_film_is_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "film.safetensors"
    assert len(Snapshots.load(path)) == 0
    path.write_bytes(b"damaged")
    assert len(Snapshots.load(path)) == 0


def test_an_empty_film_writes_nothing(tmp_path: Path) -> None:
    Snapshots().save(tmp_path / "film.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_animation_has_every_frame(tmp_path: Path, channels: int) -> None:
    frames = [np.full((8, 8, channels), 40 * i, np.uint8) for i in range(5)]
    write_animation(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as image:
        assert getattr(image, "n_frames", 1) == 5
        assert image.size == (MAX_SIDE, MAX_SIDE)
