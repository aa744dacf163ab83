"""Masks that start from windows of the images."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.errors import ConfigError
from dti_sprites.models.sprites.windows import contrast, window_masks

CANVAS, SIDE = 24, 12


def figures() -> torch.Tensor:
    """(2, SIDE, SIDE) bool: an upright bar, and a ring."""
    y, x = torch.meshgrid(*[torch.arange(SIDE) - (SIDE - 1) / 2] * 2, indexing="ij")
    radius = (x**2 + y**2).sqrt()
    return torch.stack([(x.abs() < 1) & (y.abs() < 4), (radius > 2) & (radius < 4)])


def pages(n: int = 60, paper: int = 220, ink: int = 40, channels: int = 1) -> torch.Tensor:
    """uint8 (n, C, CANVAS, CANVAS): one figure each, alternately, anywhere on uneven paper."""
    generator = torch.Generator().manual_seed(0)
    images = paper + torch.randint(-6, 7, (n, channels, CANVAS, CANVAS), generator=generator)
    for i, image in enumerate(images):
        top, left = torch.randint(CANVAS - SIDE + 1, (2,), generator=generator).tolist()
        image[:, top : top + SIDE, left : left + SIDE][:, figures()[i % 2]] = ink
    return images.to(torch.uint8)


def masks_of(images: torch.Tensor, kind: str = "kmeans", k: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return window_masks(kind, images, k, (SIDE, SIDE), (SIDE, SIDE), 3.0, generator)


@pytest.mark.parametrize("colours", [{}, {"paper": 30, "ink": 240}, {"channels": 3}])
def test_centres_of_windows_are_the_figures(colours):
    """Wherever they lie, whatever is dark, and although no window is told which figure it holds."""
    masks = masks_of(pages(**colours))
    shapes = figures().float()
    likeness = torch.corrcoef(torch.cat([masks[:, 0].flatten(1), shapes.flatten(1)]))[:2, 2:]
    assert sorted(likeness.argmax(1).tolist()) == [0, 1]
    assert likeness.amax(1).min() > 0.7


@pytest.mark.parametrize("kind", ["sample", "kmeans"])
@pytest.mark.parametrize(("size", "extent"), [((8, 6), (12, 20)), ((10, 10), (24, 24)), ((3, 3), (30, 40))])
def test_shape_range_and_reproducibility(kind, size, extent):
    def start(seed):
        return window_masks(kind, pages(20), 3, size, extent, 2.0, torch.Generator().manual_seed(seed))

    masks = start(0)
    assert masks.shape == (3, 1, *size)
    assert masks.dtype == torch.float32
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert masks.equal(start(0))
    assert not masks.equal(start(1))


def test_images_of_one_colour_hold_nothing():
    blank = torch.full((5, 3, 8, 8), 200, dtype=torch.uint8)
    assert contrast(blank).eq(0).all()
    assert masks_of(blank, "sample").eq(0).all()


def test_the_parts_that_fit_in_memory_do_not_matter(monkeypatch):
    """The images drawn are the same, and so is what a window of each would be at the same place."""
    shapes = figures().float().flatten(1)
    for at_once in (1, 5 * CANVAS**2):
        monkeypatch.setattr("dti_sprites.models.sprites.windows.AT_ONCE", at_once)
        masks = masks_of(pages())
        likeness = torch.corrcoef(torch.cat([masks[:, 0].flatten(1), shapes]))[:2, 2:]
        assert likeness.amax(1).min() > 0.7


@pytest.mark.parametrize(
    ("sequence", "size", "extent"),
    [
        (None, None, (24, 20)),
        ("position", [8, 8], (12, 10)),
        ("affine", [8, 8], (24, 20)),
    ],
)
def test_windows_are_as_large_as_a_sprite_at_the_start(scenes, sequence, size, extent):
    layers = {"sprite_size": size, "layer_transformation_sequence": sequence}
    model = scenes.tiny(channels=1, size=(24, 20), sprites=layers)
    assert model.renderer.first_extent(model.sprite_size) == extent


def test_a_model_starts_from_them(scenes):
    sprites = {"sprite_size": [SIDE, SIDE], "init_mask": "kmeans", "gaussian_std": 3.0}
    model = scenes.tiny(channels=1, size=(CANVAS, CANVAS), sprites=sprites)
    model.initialise(pages(), torch.Generator().manual_seed(0))
    masks = model.bank.masks.pixels[:, 0].flatten(1)
    likeness = torch.corrcoef(torch.cat([masks, figures().float().flatten(1)]))[:-2, -2:]
    assert likeness.amax(0).min() > 0.7


def test_generated_masks_cannot_all_start_apart(scenes):
    with pytest.raises(ConfigError, match=r"init_mask.*start alike"):
        scenes.tiny(source="mlp", sprites={"init_mask": "kmeans"})
