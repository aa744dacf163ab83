"""Contact sheets: every image appears, at its place, whatever its type."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dti_sprites.pictures import (
    CAPTION,
    MARGIN,
    PAPER,
    SLATE,
    contact_sheet,
    members_sheets,
    prototypes_sheet,
    to_picture,
)


def centre(sheet, index: int, size: int, columns: int, caption: int = 0) -> tuple[int, int, int]:
    x = MARGIN + index % columns * (size + MARGIN) + size // 2
    y = MARGIN + index // columns * (size + MARGIN + caption) + size // 2
    return sheet.getpixel((x, y))


def test_images_stand_in_reading_order() -> None:
    images = np.stack([np.full((8, 8), value, np.uint8) for value in (0, 80, 160)])
    sheet = contact_sheet(images, size=20, columns=2)
    assert [centre(sheet, i, 20, 2)[0] for i in range(3)] == [0, 80, 160]
    assert sheet.size == (2 * 24 + MARGIN, 2 * 24 + MARGIN)


def test_captions_make_room_below() -> None:
    images = np.zeros((3, 4, 4, 3))
    sheet = contact_sheet(images, ["a", "b", "c"], size=20, columns=1)
    assert sheet.height == 3 * (24 + CAPTION) + MARGIN


def test_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet(np.zeros((0, 4, 4)))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_floats_outside_the_range_are_clipped(shape: tuple[int, ...]) -> None:
    picture = to_picture(np.full(shape, 1.7))
    assert picture.mode == "RGB"
    assert picture.size == (7, 5)
    assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_transparent_pixels_show_the_paper() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    assert to_picture(pixels).getpixel((1, 1)) == (255, 255, 255)


def test_prototypes_come_largest_cluster_first() -> None:
    prototypes = np.stack([np.full((4, 4, 1), value) for value in (0.0, 0.5, 1.0)])
    learned = {"prototypes": prototypes}
    run = SimpleNamespace(prototype_images=lambda: learned, labels=np.array([2, 2, 1]))
    sheet = prototypes_sheet(run, size=20)
    assert [centre(sheet, i, 20, 3, CAPTION)[0] for i in range(3)] == [255, 128, 0]
    # Sprites are shown cut out; the images in which none shows (label 3) have no picture.
    learned["masked_prototypes"] = np.concatenate([prototypes.repeat(3, 3), prototypes * 0 + 1], axis=3)
    run.labels = np.array([2, 2, 1, 3, 3, 3])
    assert [centre(prototypes_sheet(run, size=20), i, 20, 3, CAPTION)[0] for i in range(3)] == [255, 128, 0]


def test_what_is_light_is_shown_on_slate() -> None:
    pixels = np.full((4, 4, 4), 255, np.uint8)
    pixels[:2, :, 3] = 0
    assert to_picture(pixels).getpixel((1, 0)) == SLATE
    assert to_picture(pixels).getpixel((1, 3)) == (255, 255, 255)
    pixels[..., :3] = 40
    assert to_picture(pixels).getpixel((1, 0)) == PAPER


def test_members_come_from_the_largest_clusters_best_first() -> None:
    distances = np.array([[0.3, 9], [0.1, 9], [9, 0.2], [0.2, 9]])
    shown: list[list[int]] = []

    def images(indices: list[int]) -> np.ndarray:
        shown.append(indices)
        return np.zeros((len(indices), 4, 4, 1), np.uint8)

    run = SimpleNamespace(labels=np.array([0, 0, 1, 0]), distances=distances, images=images)
    titles = [title for title, _ in members_sheets(run, clusters=2, members=2)]
    assert titles == ["motif 0: 3 images", "motif 1: 1 images"]
    assert shown == [[1, 3], [2]]
