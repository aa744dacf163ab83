"""Images warped back onto their prototype."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dti_sprites.config import RunConfig
from dti_sprites.data import load_images
from dti_sprites.models.transformations import TransformationOptions, build_transformation
from dti_sprites.ops.grids import pixel_grid
from dti_sprites.ops.tps import control_points, tps_matrix
from dti_sprites.results.alignment import alignment_of, invert

SIDE = 48


def blob() -> np.ndarray:
    """A smooth prototype (SIDE, SIDE) in [0, 1] that no symmetry maps onto itself."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) * 2 - 1
    return np.exp(-8 * ((x - 0.2) ** 2 + y**2)) + 0.6 * np.exp(-20 * ((x + 0.25) ** 2 + (y - 0.3) ** 2))


def config_of(sequence: str, grid: str = "legacy", **data: object) -> RunConfig:
    model = {"transformation_sequence": sequence, "grid": grid}
    return RunConfig.from_dict({"model": model, "data": {"image_size": SIDE, **data}})


def drawn(sequence: str, grid: str, scale: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The blob as transformed with random parameters, uint8 (SIDE, SIDE, 1), and the matrices (1, ...)."""
    generator = torch.Generator().manual_seed(3)
    image = torch.from_numpy(blob()).float()[None, None]
    matrices: dict[str, np.ndarray] = {}
    for name in sequence.split("_"):
        step = build_transformation(name, TransformationOptions((SIDE, SIDE), 1, grid=grid))
        beta = scale * torch.randn(1, step.n_parameters, generator=generator)
        image = step(image, beta)
        matrices |= {key: values.numpy() for key, values in step.matrices(beta).items()}
    return (image[0, 0, :, :, None].clamp(0, 1) * 255).round().byte().numpy(), matrices


@pytest.mark.parametrize("grid", ["legacy", "exact"])
@pytest.mark.parametrize(
    ("sequence", "scale"),
    [
        ("affine", 0.15), ("position", 0.3), ("similarity", 0.15), ("rotation", 0.3), ("translation", 0.15),
        ("isotranslation", 0.15), ("projective", 0.08), ("tps", 0.08), ("affine_projective_tps", 0.05),
    ],
)  # fmt: skip
def test_what_is_aligned_looks_like_the_prototype(sequence: str, scale: float, grid: str) -> None:
    picture, matrices = drawn(sequence, grid, scale)
    alignment = alignment_of(config_of(sequence, grid), (SIDE, SIDE))
    assert alignment is not None
    aligned = alignment.align(picture, alignment.fields(matrices, [1])[0])[..., 0] / 255
    inside = slice(8, -8)
    error = np.abs(aligned - blob())[inside, inside].mean()
    moved = np.abs(picture[..., 0] / 255 - blob())[inside, inside].mean()
    assert error < 0.015
    assert error < moved / 3


def test_a_spline_is_inverted() -> None:
    control = control_points(4)
    offsets = 0.1 * torch.randn(2, 16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = pixel_grid((9, 9), corners=True).T.expand(2, -1, -1)
    found = invert("tps", control + offsets, points, torch.ones(2, dtype=torch.float64))
    for u, offset, wanted in zip(found, offsets, points):
        assert torch.allclose(u + tps_matrix(control, u) @ offset, wanted, atol=2e-3)


def test_what_moves_nothing_needs_no_alignment() -> None:
    assert alignment_of(config_of("identity_color_morpho"), (SIDE, SIDE)) is None
    unwanted = config_of("affine").replace(results={"aligned_side": 0})
    assert alignment_of(unwanted, (SIDE, SIDE)) is None


@pytest.mark.parametrize(
    ("resize", "size"), [("crop", (120, 120)), ("pad", (180, 180)), ("stretch", (120, 180))]
)
def test_originals_keep_their_resolution(tmp_path: Path, resize: str, size: tuple[int, int]) -> None:
    large = Image.fromarray((blob() * 150).astype(np.uint8)).resize((180, 120), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.png")
    config = config_of("affine", resize=resize)
    images = load_images(tmp_path, config.data)
    alignment = alignment_of(config, images.size)
    assert alignment is not None
    nothing = {"affine": np.eye(2, 3)[None]}
    aligned = alignment.align(alignment.original(images, 0), alignment.fields(nothing, [1])[0])
    assert aligned.shape == (*size, 1)
    # Undoing nothing gives what the model saw, only sharper.
    seen = images.images[0, 0].numpy().astype(float)
    small = np.asarray(Image.fromarray(aligned[..., 0]).resize((SIDE, SIDE), Image.Resampling.BOX), float)
    inner = (slice(12, -12), slice(12, -12))
    assert np.abs(small - seen)[inner].mean() < 3
    smaller = alignment_of(config.replace(results={"aligned_side": 60}), images.size)
    assert smaller is not None
    field = smaller.fields(nothing, [1])[0]
    assert max(smaller.align(smaller.original(images, 0), field).shape) == 60
