"""Pictures to files."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dti_sprites.results.images import ImageWriter, data_uri, to_pil, to_uint8


def test_floats_are_rounded_clipped_and_channels_moved_last() -> None:
    images = np.array([-1.0, 0.5, 2.0, np.nan], dtype=np.float32).reshape(1, 1, 2, 2)
    converted = to_uint8(images)
    assert converted.shape == (1, 2, 2, 1)
    assert converted.ravel().tolist() == [0, 128, 255, 0]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_written_pictures_read_back(tmp_path: Path, channels: int, mode: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 5, channels), dtype=np.uint8)
    with ImageWriter(tmp_path, max_waiting=4) as writer:
        for i, image in enumerate(images):
            writer.write(f"clusters/cluster{i % 3}/{i}_raw.png", image)
    for i, image in enumerate(images):
        with Image.open(tmp_path / f"clusters/cluster{i % 3}/{i}_raw.png") as read:
            assert read.mode == mode
            assert np.array_equal(np.asarray(read).reshape(image.shape), image)


def test_jpeg_by_its_suffix(tmp_path: Path) -> None:
    with ImageWriter(tmp_path) as writer:
        writer.write("a/0_raw.jpg", np.full((8, 8, 4), 200, np.uint8))
    with Image.open(tmp_path / "a" / "0_raw.jpg") as read:
        assert (read.format, read.mode) == ("JPEG", "RGB")


def test_an_error_in_a_thread_is_raised(tmp_path: Path) -> None:
    def write_to_nowhere() -> None:
        with ImageWriter(tmp_path) as writer:
            writer.submit("a/0.png", lambda: (tmp_path / "missing" / "0.png").write_bytes(b""))

    with pytest.raises(FileNotFoundError):
        write_to_nowhere()


def test_other_channel_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="5 channels"):
        to_pil(np.zeros((4, 4, 5), np.uint8))


def test_data_uri_is_reduced_and_never_enlarged() -> None:
    for side, expected in ((300, (80, 40)), (20, (20, 10))):
        uri = data_uri(Image.new("RGB", (side, side // 2), "red"), 80)
        head, _, body = uri.partition(",")
        assert head in ("data:image/webp;base64", "data:image/png;base64")
        assert Image.open(io.BytesIO(base64.b64decode(body))).size == expected
