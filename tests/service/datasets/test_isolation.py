"""The process that decodes may crash, hang or eat memory: one file is refused, the work goes on."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.isolation import Decoder
from dti_service.datasets.guard.limits import Limits


def check(decoder: Decoder, path: Path, limits: Limits | None = None) -> Any:
    limits = limits or decoder.limits
    arguments = {"plain": str(path) + ".plain", "thumbnail": None, "size": 128, "metadata": 1 << 20}
    return decoder.call(
        "check_image",
        path.name,
        path=str(path),
        pixels=limits.image_pixels,
        side=limits.image_side,
        **arguments,
    )


@pytest.fixture
def picture(tmp_path: Path, make: Any) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(make.image())
    return path


def test_death_of_the_process_refuses_one_file_only(picture: Path, limits: Limits) -> None:
    with Decoder(limits) as decoder:
        check(decoder, picture)
        process = decoder._process.process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)  # so that it cannot answer before it is killed
        import threading

        threading.Timer(0.2, os.kill, (process.pid, signal.SIGKILL)).start()
        with pytest.raises(GuardError, match=r"a\.png: decoding it crashed"):
            check(decoder, picture)
        assert check(decoder, picture)["width"] == 40


def test_hang_is_cut_off(picture: Path, limits: Limits) -> None:
    with Decoder(limits) as decoder:
        check(decoder, picture)
        process = decoder._process.process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        decoder._process.answer_s = 0.3
        with pytest.raises(GuardError, match="too much time"):
            check(decoder, picture)


def test_memory_is_bounded(tmp_path: Path, make: Any, limits: Limits) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(make.image(size=(9000, 9000)))
    large = dataclasses.replace(limits, image_pixels=100_000_000, decoder_memory=220 << 20)
    with Decoder(large) as decoder, pytest.raises(GuardError, match="memory"):
        check(decoder, path)


def test_written_files_are_bounded(tmp_path: Path, limits: Limits) -> None:
    from PIL import Image

    path = tmp_path / "noise.tif"
    Image.effect_noise((800, 800), 90).convert("CMYK").save(path, "TIFF")  # is rewritten as PNG
    with (
        Decoder(dataclasses.replace(limits, decoder_file_bytes=10_000)) as decoder,
        pytest.raises(GuardError),
    ):
        check(decoder, path)


def test_process_sees_no_secrets_and_ends_with_us(picture: Path, limits: Limits, monkeypatch: Any) -> None:
    monkeypatch.setenv("JUPYTER_TOKEN", "secret")
    monkeypatch.setenv("DTI_REDIS_URL", "redis://:secret@host")
    with Decoder(limits) as decoder:
        check(decoder, picture)
        assert decoder._process.process is not None
        process = psutil.Process(decoder._process.process.pid)
        assert not any("secret" in value for value in process.environ().values())
        assert not any("secret" in word for word in process.cmdline())
    assert not process.is_running()


def test_end_of_its_input_ends_the_process(picture: Path, limits: Limits) -> None:
    """Whoever started it has died: the pipe ends, and so does it."""
    decoder = Decoder(limits)
    check(decoder, picture)
    process = decoder._process.process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=10) == 0


def test_name_of_a_path_does_not_reach_a_shell(tmp_path: Path, make: Any, limits: Limits) -> None:
    path = tmp_path / "$(touch x); `id` 'a\".pdf"
    path.write_bytes(make.pdf(1))
    with Decoder(limits) as decoder:
        assert decoder.call("pdf_info", path.name, path=str(path)) == {"pages": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]
