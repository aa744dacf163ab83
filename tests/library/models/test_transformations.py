"""Each transformation against its written definition, in float64, and what it is at rest."""

from __future__ import annotations

import pytest
import torch

from dti_sprites.config import TRANSFORMATIONS, parse_sequence
from dti_sprites.models.transformations import TransformationOptions, build_transformation

pytestmark = pytest.mark.usefixtures("float64")

WITH_PARAMETERS = [name for name in TRANSFORMATIONS if name != "identity"]
N_PARAMETERS = {
    "identity": (0, 0), "color": (2, 6), "linearcolor": (1, 3), "affine": (6, 6), "position": (3, 3),
    "similarity": (4, 4), "rotation": (1, 1), "translation": (2, 2), "isotranslation": (3, 3),
    "projective": (9, 9), "tps": (32, 32), "morpho": (50, 50),
}  # fmt: skip


def build(name, size, channels, **options):
    return build_transformation(name, TransformationOptions(size=size, channels=channels, **options))


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_number_of_parameters(name):
    counts = tuple(build(name, (8, 8), channels).n_parameters for channels in (1, 3))
    assert counts == N_PARAMETERS[name]


def test_aliases_lead_to_the_same_transformations():
    for name, aliases in TRANSFORMATIONS.items():
        for alias in aliases:
            assert build(parse_sequence(alias)[0], (8, 8), 1).name == name


@pytest.mark.parametrize("name", WITH_PARAMETERS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("grid", ["legacy", "exact"])
def test_parity_values_and_gradients(plain, name, channels, padding, grid):
    torch.manual_seed(0)
    size = (5, 7)
    transformation = build(
        name, size, channels, padding=padding, grid=grid, tps_grid_size=3, morpho_kernel_size=3
    )
    images = torch.rand(3, channels, *size, requires_grad=True)
    parameters = (0.2 * torch.randn(3, transformation.n_parameters)).requires_grad_()
    seed = torch.randn(3, channels, *size)
    fast = transformation(images, parameters)
    slow = torch.stack([
        plain.transform(name, image, beta, padding, grid, g=3, k=3) for image, beta in zip(images, parameters)
    ])  # fmt: skip
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-10)
    of = (images, parameters)
    for a, b in zip(
        torch.autograd.grad((fast * seed).sum(), of), torch.autograd.grad((slow * seed).sum(), of)
    ):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", WITH_PARAMETERS)
@pytest.mark.parametrize("grid", ["legacy", "exact"])
@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (3, (5, 9))])
def test_at_rest(name, grid, channels, size):
    """Zero parameters: the identity, but for position and translation (half the canvas), the published spline
    (a zoom by one pixel) and morphology (a blur)."""
    images = torch.rand(2, channels, *size)
    transformation = build(name, size, channels, grid=grid)
    out = transformation(images, torch.zeros(2, transformation.n_parameters))
    moves = name in ("position", "translation", "morpho") or (name == "tps" and grid == "legacy")
    if moves:
        assert (out - images).abs().max() > 0.05
    else:
        torch.testing.assert_close(out, images, rtol=0, atol=1e-12)


def test_position_at_rest_draws_at_half_size():
    image = torch.ones(1, 1, 8, 8)
    for name in ("position", "translation"):
        transformation = build(name, (8, 8), 1, padding="zeros")
        out = transformation(image, torch.zeros(1, transformation.n_parameters))
        assert out[0, 0, 2:6, 2:6].eq(1).all()
        assert out.sum() == 16


def test_translation_pads_with_zeros_whatever_the_option():
    transformation = build("translation", (4, 4), 1, padding="border")
    out = transformation(torch.ones(1, 1, 4, 4), torch.tensor([[10.0, 0.0]]))
    assert not out.any()


def test_published_spline_at_rest_samples_known_positions():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8).contiguous()
    transformation = build("tps", (8, 8), 1, grid="legacy")
    out = transformation(ramp, torch.zeros(1, 32))
    positions = torch.arange(8.0) * 8 / 7 - 0.5  # -0.5, 0.64, ..., 7.5, held at the border
    torch.testing.assert_close(out[0, 0, 3], positions.clamp(0, 7))


def test_published_spline_with_zero_padding_halves_the_border():
    transformation = build("tps", (8, 8), 1, grid="legacy", padding="zeros")
    out = transformation(torch.ones(1, 1, 8, 8), torch.zeros(1, 32))
    assert out[0, 0, 0, 3] == pytest.approx(0.5)
    assert out[0, 0, 0, 0] == pytest.approx(0.25)


@pytest.mark.parametrize(("k", "weight"), [(7, 0.756), (3, 0.949)])
def test_morphology_at_rest_is_a_blur_with_a_known_centre(k, weight):
    point = torch.zeros(1, 1, 15, 15)
    point[0, 0, 7, 7] = 1.0
    transformation = build("morpho", (15, 15), 1, morpho_kernel_size=k)
    out = transformation(point, torch.zeros(1, 1 + k * k))
    assert out[0, 0, 7, 7].item() == pytest.approx(weight, abs=5e-4)
    assert out.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["color", "linearcolor"])
@pytest.mark.parametrize("clamp", ["none", "soft", "hard"])
def test_color_clamps(plain, name, clamp):
    images, transformation = torch.rand(2, 3, 4, 4), build(name, (4, 4), 3, color_clamp=clamp)
    beta = torch.randn(2, transformation.n_parameters)
    slow = torch.stack([plain.transform(name, image, b, clamp=clamp) for image, b in zip(images, beta)])
    torch.testing.assert_close(transformation(images, beta), slow)


@pytest.mark.parametrize("clamp", ["none", "soft", "hard"])
@pytest.mark.parametrize("name", ["color", "linearcolor"])
@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.usefixtures("float64")
def test_colors_without_gradient_are_those_with_it(name, clamp, extra):
    """Also of one image that is repeated without being copied, and of none."""
    color = build_transformation(name, TransformationOptions((3, 2), 3, color_clamp=clamp))
    images = (torch.rand(1, 3 + extra, 3, 2) * 2 - 0.5).expand(4, -1, -1, -1)
    parameters = torch.randn(4, color.n_parameters)
    for n in (4, 0):
        with torch.no_grad():
            quick = color(images[:n], parameters[:n])
        torch.testing.assert_close(quick, color(images[:n], parameters[:n]), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", ["color", "linearcolor"])
def test_color_leaves_the_mask_alone(name):
    images, transformation = torch.rand(2, 4, 4, 4), build(name, (4, 4), 3)
    out = transformation(images, torch.randn(2, transformation.n_parameters))
    assert out[:, 3].equal(images[:, 3])
    assert not torch.allclose(out[:, :3], images[:, :3])


@pytest.mark.parametrize(
    "name", ["affine", "position", "similarity", "rotation", "translation", "isotranslation", "tps"]
)
def test_output_size_is_that_of_the_options(name):
    transformation = build(name, (9, 6), 1)
    out = transformation(torch.rand(2, 1, 4, 5), 0.1 * torch.randn(2, transformation.n_parameters))
    assert out.shape == (2, 1, 9, 6)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_matrices(plain, name, channels):
    transformation = build(name, (6, 6), channels)
    parameters = 0.1 * torch.randn(2, transformation.n_parameters)
    result = transformation.matrices(parameters)
    shapes = {key: tuple(value.shape[1:]) for key, value in result.items()}
    affine = {name: (2, 3)}
    expected = {
        "identity": {}, "color": {"color": (channels, 2)}, "linearcolor": {"linearcolor": (channels, 2)},
        "projective": {"projective": (3, 3)}, "tps": {"tps": (16, 2)},
        "morpho": {"morpho": (7, 7), "morpho_alpha": (1,)},
    }  # fmt: skip
    assert shapes == expected.get(name, affine)
    if name not in expected:
        torch.testing.assert_close(result[name][1], plain.affine_matrix(name, parameters[1]))


def test_spline_matrices_are_where_control_points_sample():
    transformation = build("tps", (6, 6), 1, tps_grid_size=2)
    parameters = torch.zeros(1, 8)
    parameters[0, 1], parameters[0, 4] = 0.5, -0.25  # x of the second point, y of the first
    assert transformation.matrices(parameters)["tps"][0].tolist() == [[-1, -1.25], [1.5, -1], [-1, 1], [1, 1]]


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_gradcheck(name):
    torch.manual_seed(0)
    transformation = build(name, (4, 4), 1, tps_grid_size=2, morpho_kernel_size=3)
    images = torch.rand(2, 1, 4, 4, requires_grad=True)
    parameters = (0.1 * torch.randn(2, transformation.n_parameters)).requires_grad_()
    assert torch.autograd.gradcheck(transformation, (images, parameters))
