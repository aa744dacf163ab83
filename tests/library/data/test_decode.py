"""Every mode and format to 8-bit pixels and alpha."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dti_sprites.config import DataConfig
from dti_sprites.data.decode import convert_image, deep_to_8bit, read_image, to_plain_mode

DEFAULT = DataConfig()


def convert(image: Image.Image, size=None, **config):
    return convert_image(image, size, DataConfig(**config))


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "RGB"), ("a.bmp", "RGB"), ("a.tif", "RGB"), ("a.ppm", "RGB")]
)
def test_lossless_formats_keep_every_pixel(write, colour, name, mode):
    decoded = read_image(write(name, Image.fromarray(colour, mode)), None, DEFAULT)
    np.testing.assert_array_equal(decoded.pixels, colour)
    assert decoded.alpha is None
    assert decoded.original_size == (12, 16)


def test_palette(write, colour):
    palette = Image.fromarray(colour).quantize(8)
    decoded = read_image(write("a.gif", palette), None, DEFAULT)
    np.testing.assert_array_equal(decoded.pixels, np.asarray(palette.convert("RGB")))


def test_palette_with_a_transparent_entry(write):
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    decoded = read_image(write("a.png", palette, transparency=0), None, DEFAULT)
    assert decoded.alpha.tolist() == [[0, 255], [255, 0]]
    assert decoded.pixels[0, 1].tolist() == [0, 0, 255]
    assert decoded.pixels[0, 0].tolist() == [255, 255, 255]  # what lies under is not shown


def test_grey_with_alpha(write, grey):
    alpha = np.where(grey > 50, 255, 100).astype(np.uint8)
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    decoded = read_image(write("a.png", image), None, DEFAULT)
    np.testing.assert_array_equal(decoded.pixels, grey)
    np.testing.assert_array_equal(decoded.alpha, alpha)


def test_opaque_rgba_has_no_alpha(write, colour):
    decoded = read_image(write("a.png", Image.fromarray(colour).convert("RGBA")), None, DEFAULT)
    assert decoded.alpha is None
    np.testing.assert_array_equal(decoded.pixels, colour)


def test_grey_saved_as_rgb_is_grey(write, grey):
    decoded = read_image(write("a.png", Image.fromarray(grey).convert("RGB")), None, DEFAULT)
    np.testing.assert_array_equal(decoded.pixels, grey)


def test_sixteen_bit_png_is_scaled_not_cut(write):
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    decoded = read_image(write("a.png", Image.fromarray(deep)), None, DEFAULT)
    assert decoded.pixels.tolist() == [[0, 1, 128, 255]]


def test_dim_sixteen_bit_images_keep_the_common_scale():
    assert deep_to_8bit(np.array([[0, 200]], np.uint16)).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 65535.0, 257.0], [0, 255, 1]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([0.0, np.nan, 1.0], [0, 0, 255]),
        ([7.0, 7.0, 7.0], [7, 7, 7]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
    ],
)
def test_float_tiff(write, values, expected):
    decoded = read_image(write("a.tif", np.array([values], np.float32)), None, DEFAULT)
    assert decoded.pixels.tolist() == [expected]


def test_thirty_two_bit_integers():
    image = Image.fromarray(np.array([[0, 255], [3, 4]], np.int32))
    assert convert(image).pixels.tolist() == [[0, 255], [3, 4]]
    image = Image.fromarray(np.array([[0, 65535]], np.int32))
    assert convert(image).pixels.tolist() == [[0, 255]]


def test_cmyk_jpeg(write):
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    decoded = read_image(write("a.jpg", cyan, quality=95), None, DEFAULT)
    assert np.abs(decoded.pixels.astype(int) - [0, 255, 255]).max() <= 3


def test_one_bit(write):
    decoded = read_image(write("a.png", Image.fromarray(np.eye(4, dtype=bool))), None, DEFAULT)
    np.testing.assert_array_equal(decoded.pixels, np.eye(4, dtype=np.uint8) * 255)


@pytest.mark.parametrize(
    "mode", ["YCbCr", "HSV", "LAB", "RGBX", "CMYK", "RGBa", "La", "PA", "P", "1", "F", "I"]
)
def test_every_mode_becomes_plain(mode):
    base = {"RGBa": "RGBA", "La": "LA", "LAB": "LAB"}.get(mode, mode)
    image = Image.new(base, (4, 4))
    plain = to_plain_mode(image if base == mode else image.convert(mode))
    assert plain.mode in ("L", "LA", "RGB", "RGBA")
    assert plain.size == (4, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(write, grey, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = read_image(write("a.png", grey, exif=exif), None, DEFAULT)
    turned = {
        1: grey,
        2: grey[:, ::-1],
        3: grey[::-1, ::-1],
        4: grey[::-1],
        5: grey.T,
        6: np.rot90(grey, -1),
        7: np.rot90(grey.T, 2),
        8: np.rot90(grey),
    }[orientation]
    np.testing.assert_array_equal(decoded.pixels, turned)
    assert decoded.original_size == turned.shape


def test_animation_gives_its_first_frame(write, grey):
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    decoded = read_image(write("a.gif", frames[0], save_all=True, append_images=frames[1:]), None, DEFAULT)
    np.testing.assert_array_equal(decoded.pixels, grey)


def test_crop_keeps_the_aspect_and_the_centre():
    image = np.zeros((10, 30), np.uint8)
    image[:, 10:20] = 200
    decoded = convert(Image.fromarray(image), (10, 10))
    assert (decoded.pixels == 200).all()
    assert decoded.original_size == (10, 30)


def test_pad_keeps_everything_and_margins_do_not_count():
    decoded = convert(Image.new("L", (20, 10), 80), (10, 10), resize="pad", background=255)
    assert decoded.alpha.tolist() == [[255 if 2 <= y < 7 else 0] * 10 for y in range(10)]
    assert (decoded.pixels[2:7] == 80).all()
    assert (decoded.pixels[[0, 1, 7, 8, 9]] == 255).all()


def test_pad_without_alpha():
    decoded = convert(
        Image.new("RGB", (20, 10), (80, 0, 0)), (10, 10), resize="pad", alpha="ignore", background=7
    )
    assert decoded.alpha is None
    assert decoded.pixels[0, 0].tolist() == [7, 7, 7]
    assert decoded.pixels[5, 5].tolist() == [80, 0, 0]


def test_pad_combines_margins_with_the_image_s_own_alpha():
    image = Image.new("RGBA", (20, 10), (80, 0, 0, 128))
    decoded = convert(image, (10, 10), resize="pad")
    assert decoded.alpha[5, 5] == 128
    assert decoded.alpha[0, 0] == 0


def test_stretch(colour):
    assert convert(Image.fromarray(colour), (7, 9), resize="stretch").pixels.shape == (7, 9, 3)


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 13), (64, 64)])
@pytest.mark.parametrize("size", [(4, 4), (5, 9), (33, 17)])
def test_any_shape_to_any_size(resize, shape, size):
    assert convert(Image.new("L", shape[::-1], 9), size, resize=resize).pixels.shape == size


@pytest.mark.parametrize(
    ("alpha", "level", "plane"), [("weight", 10, 128), ("ignore", 10, None), ("composite", 132, None)]
)
def test_alpha_policies(alpha, level, plane):
    decoded = convert(Image.new("LA", (2, 2), (10, 128)), alpha=alpha)
    assert abs(int(decoded.pixels[0, 0]) - level) <= 1
    assert (None if decoded.alpha is None else int(decoded.alpha[0, 0])) == plane


def test_transparent_pixels_do_not_bleed_into_the_rest():
    """Resizing is weighted by alpha: hidden red never tints the visible green beside it."""
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.paste((0, 255, 0, 255), (0, 0, 4, 8))
    decoded = convert(image, (3, 3))
    visible = decoded.alpha > 0
    assert (decoded.pixels[visible] == [0, 255, 0]).all()


def test_alpha_is_cut_like_the_image():
    plane = np.zeros((10, 30), np.uint8)
    plane[:, 10:20] = 255
    image = Image.merge("LA", [Image.fromarray(plane), Image.fromarray(255 - plane)])
    decoded = convert(image, (10, 10))
    assert (decoded.alpha == 0).all()


def test_bomb_is_refused_before_it_is_decoded(write):
    path = write("a.png", Image.new("1", (3000, 2000)))
    with pytest.raises(ValueError, match="max_pixels"):
        read_image(path, (8, 8), DataConfig(max_pixels=1_000_000))


def test_draft_mode_gives_nearly_the_same_pixels(write):
    y, x = np.mgrid[0:512, 0:512]
    path = write("a.jpg", ((np.sin(x / 40) + np.cos(y / 30)) * 60 + 128).astype(np.uint8), quality=95)
    full = read_image(path, (32, 32), DataConfig())
    draft = read_image(path, (32, 32), DataConfig(jpeg_draft=True))
    assert np.abs(full.pixels.astype(int) - draft.pixels).max() <= 4
    assert draft.original_size == (512, 512)
