"""A corpus of hostile and broken files, made here: each is refused by name, or handled, and leaves nothing behind."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.prepare import Datasets
from dti_service.datasets.request import Upload, upload_document

Case = Callable[[Any], bytes]
REFUSED: list[Any] = []  # (file name, maker, words that the refusal must have)
HANDLED: list[Any] = []  # (file name, maker, number of images that come out)


def refused(name: str, *words: str) -> Callable[[Case], Case]:
    def add(case: Case) -> Case:
        REFUSED.append(pytest.param(name, case, words, id=case.__name__))
        return case

    return add


def handled(name: str, images: int = 1) -> Callable[[Case], Case]:
    def add(case: Case) -> Case:
        HANDLED.append(pytest.param(name, case, images, id=case.__name__))
        return case

    return add


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def one_member(make: Any, change: Callable[[zipfile.ZipInfo], None], content: bytes | None = None) -> bytes:
    """An archive whose only member has an unusual entry."""
    info = zipfile.ZipInfo("a.png")
    change(info)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(info, make.image() if content is None else content)
    return stream.getvalue()


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


# -- archives: names ---------------------------------------------------------------------------------------------


@refused("a.zip", "leads out")
def traversal(make: Any) -> bytes:
    return make.zip({"../../evil.png": make.image()})


@refused("a.zip", "leads out")
def traversal_inside(make: Any) -> bytes:
    return make.zip({"good/../../evil.png": make.image()})


@refused("a.zip", "leads out")
def traversal_with_backslashes(make: Any) -> bytes:
    return make.zip({"..\\..\\evil.png": make.image()})


@refused("a.zip", "absolute")
def absolute_name(make: Any) -> bytes:
    return make.zip({"/etc/evil.png": make.image()})


@refused("a.zip", "absolute")
def absolute_name_with_backslash(make: Any) -> bytes:
    return make.zip({"\\\\server\\share\\evil.png": make.image()})


@refused("a.zip", "absolute")
def drive_letter(make: Any) -> bytes:
    return make.zip({"C:\\evil.png": make.image()})


@refused("a.zip", "nested in more than")
def a_hundred_folders(make: Any) -> bytes:
    return make.zip({"d/" * 100 + "a.png": make.image()})


@refused("a.zip", "NUL")
def nul_in_a_name(make: Any) -> bytes:
    return make.zip({"aXpng.png": make.image()}).replace(b"aXpng", b"a\0png")


@refused("a.zip", "twice")
def the_same_name_twice(make: Any) -> bytes:
    return make.zip({"aa.png": make.image(), "ab.png": make.image()}).replace(b"ab.png", b"aa.png")


@refused("a.zip", "UTF-8")
def a_name_that_is_not_utf8(make: Any) -> bytes:
    return make.zip({"é.png": make.image()}).replace("é".encode(), b"\xff\xfe")


@handled("a.zip", 2)
def names_that_differ_in_case_only(make: Any) -> bytes:
    return make.zip({"A.png": make.image(), "a.PNG": make.image()})


@handled("a.zip", 2)
def names_in_two_unicode_forms(make: Any) -> bytes:
    return make.zip({"caf\u00e9.png": make.image(), "cafe\u0301.png": make.image()})


@handled("a.zip", 2)
def a_file_and_a_folder_of_one_name(make: Any) -> bytes:
    return make.zip({"a.png": make.image(), "a.png/b.png": make.image()})


@handled("a.zip", 5)
def names_that_file_systems_refuse(make: Any) -> bytes:
    names = ("con.png", "a:b?.png", "x" * 400 + ".png", "trailing. /a.png", "\u202egnp.exe.png")
    return make.zip({name: make.image() for name in names})


@handled("a.zip", 1)
def names_without_the_utf8_flag(make: Any) -> bytes:
    raw = make.zip({"XX.png": make.image()})
    return raw.replace(b"XX.png", "é.png".encode())


@handled("a.zip", 1)
def windows_separators(make: Any) -> bytes:
    return make.zip({"folder\\a.png": make.image()})


@handled("a.zip", 1)
def hidden_files(make: Any) -> bytes:
    junk = {
        "__MACOSX/._a.png": b"x",
        ".hidden.png": b"x",
        "d/.x/a.png": b"x",
        "Thumbs.db": b"x",
        ".DS_Store": b"x",
    }
    return make.zip({"a.png": make.image(), **junk})


@handled("a.zip", 1)
def scripts_and_texts_beside_images(make: Any) -> bytes:
    return make.zip(
        {"a.png": make.image(), "run.sh": b"rm -rf /", "page.html": b"<script>", "x.svg": b"<svg/>"}
    )


# -- archives: members -------------------------------------------------------------------------------------------


@refused("a.zip", "link")
def a_link(make: Any) -> bytes:
    return one_member(make, lambda info: setattr(info, "external_attr", 0o120777 << 16), b"/etc/passwd")


@refused("a.zip", "not an ordinary file")
def a_device(make: Any) -> bytes:
    return one_member(make, lambda info: setattr(info, "external_attr", 0o020666 << 16))


@refused("a.zip", "not an ordinary file")
def a_named_pipe(make: Any) -> bytes:
    return one_member(make, lambda info: setattr(info, "external_attr", 0o010666 << 16))


@refused("a.zip", "encrypted")
def encrypted(make: Any) -> bytes:
    data = bytearray(make.zip({"a.png": make.image()}))
    data[6] |= 1
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@refused("a.zip", "another archive")
def nested(make: Any) -> bytes:
    return make.zip({"a.png": make.image(), "inner.zip": make.zip({"b.png": make.image()})})


@refused("a.zip", "another archive")
def nested_tar(make: Any) -> bytes:
    return make.zip({"a.png": make.image(), "inner.TAR.GZ": b"x"})


@refused("a.zip", "method 14")
def packed_with_lzma(make: Any) -> bytes:
    return make.zip({"a.png": make.image()}, zipfile.ZIP_LZMA)


@refused("a.zip", "method 12")
def packed_with_bzip2(make: Any) -> bytes:
    return make.zip({"a.png": make.image()}, zipfile.ZIP_BZIP2)


@refused("a.zip", "times its size")
def a_bomb(make: Any) -> bytes:
    return make.zip({f"{i}.bmp": bytes(30 << 20) for i in range(3)})


@refused("a.zip", "overlap")
def members_that_share_bytes(make: Any) -> bytes:
    data = bytearray(make.zip({"a.png": make.image(), "b.png": make.image()}))
    second = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 4)
    data[second + 42 : second + 46] = struct.pack("<I", 10)
    return bytes(data)


@refused("a.zip", "has more than")
def a_member_that_claims_gigabytes(make: Any) -> bytes:
    data = bytearray(make.zip({"a.png": make.image()}))
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 30 << 20, 1 << 30)
    return bytes(data)


@refused("a.zip", "a.png", "damaged")
def a_member_larger_than_it_says(make: Any) -> bytes:
    data = bytearray(make.zip({"a.png": make.image(size=(300, 300))}, zipfile.ZIP_STORED))
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 50, 50)
    return bytes(data)


@refused("a.zip", "a.png", "damaged")
def a_wrong_checksum(make: Any) -> bytes:
    data = bytearray(make.zip({"a.png": make.image()}))
    entry = data.rfind(b"PK\x01\x02")
    data[entry + 16] ^= 0xFF
    return bytes(data)


@refused("a.zip", "a.png", "damaged")
def a_damaged_stream(make: Any) -> bytes:
    data = bytearray(make.zip({"a.png": bytes(range(256)) * 40}))
    data[45:60] = bytes(15)
    return bytes(data)


@refused("a.zip", "zip")
def cut_short(make: Any) -> bytes:
    return make.zip({"a.png": make.image()})[:-10]


@refused("a.zip", "zip")
def garbage_that_starts_like_a_zip(make: Any) -> bytes:
    return b"PK\x03\x04" + b"garbage" * 100


@refused("a.zip", "no images")
def an_empty_archive(make: Any) -> bytes:
    return make.zip({})


@refused("a.zip", "no images")
def only_texts(make: Any) -> bytes:
    return make.zip({"readme.txt": b"nothing", "data.csv": b"a,b"})


@refused("a.zip", "directory")
def a_directory_that_claims_gigabytes(make: Any) -> bytes:
    data = bytearray(make.zip({"a.png": make.image()}))
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<I", 1 << 30)
    return bytes(data)


@refused("a.zip", "a/x.png", "not an image")
def one_broken_image_among_good_ones(make: Any) -> bytes:
    return make.zip({"a/a.png": make.image(), "a/x.png": b"this is text", "b.png": make.image()})


# -- images ------------------------------------------------------------------------------------------------------


@refused("a.png", "pixels are too many")
def a_pixel_bomb(make: Any) -> bytes:
    rows = zlib.compress(bytes(1 << 20))
    return png_header(50_000, 50_000) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


@refused("a.gif", "pixels are too many")
def a_gif_bomb(make: Any) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0)
        + bytes(6)
        + b"\x2c"
        + bytes(9)
        + b"\x02\x00\x3b"
    )


@refused("a.bmp", "pixels are too many")
def a_bmp_of_no_size(make: Any) -> bytes:
    data = bytearray(make.image("BMP"))
    data[18:26] = struct.pack("<ii", 100_000, 100_000)
    return bytes(data)


@refused("a.png", "pixels are too many")
def a_very_long_strip(make: Any) -> bytes:
    return (
        png_header(1, 100_000) + png_chunk(b"IDAT", zlib.compress(bytes(200_000))) + png_chunk(b"IEND", b"")
    )


@refused("a.png", "or damaged")
def no_pixels(make: Any) -> bytes:
    return png_header(0, 0) + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")


@refused("a.jpg", "damaged or cut short")
def a_jpeg_cut_short(make: Any) -> bytes:
    data = saved(Image.effect_noise((400, 400), 90), "JPEG")
    return data[: len(data) // 2]


@refused("a.png", "damaged or cut short")
def a_png_cut_short(make: Any) -> bytes:
    data = saved(Image.effect_noise((200, 200), 90), "PNG")
    return data[: len(data) // 2]


@refused("a.tif", "or damaged")
def a_tiff_with_a_wild_offset(make: Any) -> bytes:
    return b"II*\0" + struct.pack("<I", 0xFFFFFFF0) + bytes(100)


@refused("a.png", "not an image")
def a_text_called_png(make: Any) -> bytes:
    return b"#!/bin/sh\nrm -rf /\n"


@refused("a.jpg", "not an image")
def a_web_page_called_jpg(make: Any) -> bytes:
    return b"<html><script>alert(1)</script></html>"


@refused("a.png", "not an image")
def an_svg_called_png(make: Any) -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'


@refused("a.jpg", "not an image")
def postscript_called_jpg(make: Any) -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(ls) run\n"


@refused("a.gif", "not an image")
def an_executable_called_gif(make: Any) -> bytes:
    return b"\x7fELF" + bytes(200)


@refused("a.png", "not an image")
def an_empty_file(make: Any) -> bytes:
    return b""


@refused("a.png", "too much text")
def a_text_chunk_bomb(make: Any) -> bytes:
    bomb = b"k\0\0" + zlib.compress(bytes(64 << 20))
    body = png_chunk(b"zTXt", bomb) + png_chunk(b"IDAT", zlib.compress(bytes(11 * 10)))
    return png_header(10, 10) + body + png_chunk(b"IEND", b"")


@refused("a.json", "neither an image")
def json_as_an_image(make: Any) -> bytes:
    return b'{"a": 1}'


@refused("a.tif", "not numbers")
def a_float_image_of_nothing(make: Any) -> bytes:
    return saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF")


@handled("a.jpg")
def a_png_called_jpg(make: Any) -> bytes:
    return make.image("PNG")


@handled("no-ending")
def an_image_without_an_ending(make: Any) -> bytes:
    return make.image("JPEG")


@handled("a.gif")
def an_animation(make: Any) -> bytes:
    frames = [make.picture(colour=(i * 20, 0, 0)) for i in range(5)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


@handled("a.tif")
def several_pages(make: Any) -> bytes:
    return saved(
        make.picture(), "TIFF", save_all=True, append_images=[make.picture((9, 9)), make.picture((5, 5))]
    )


@handled("a.jpg")
def cmyk(make: Any) -> bytes:
    return saved(Image.new("CMYK", (20, 20), (0, 255, 0, 30)), "JPEG")


@handled("a.tif")
def lab(make: Any) -> bytes:
    return saved(Image.new("LAB", (20, 20), (120, 20, 30)), "TIFF")


@handled("a.png")
def sixteen_bits(make: Any) -> bytes:
    return saved(Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 160), "PNG")


@handled("a.tif")
def floats(make: Any) -> bytes:
    return saved(Image.fromarray(np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)), "TIFF")


@handled("a.jpg")
def rotated_by_exif(make: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(make.picture((40, 20)), "JPEG", exif=exif.tobytes())


@handled("a.png")
def a_huge_exif_block(make: Any) -> bytes:
    return saved(make.picture(), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0" + bytes(3 << 20))


@handled("a.png")
def a_huge_colour_profile(make: Any) -> bytes:
    return saved(make.picture(), "PNG", icc_profile=bytes(3 << 20))


@handled("a.png")
def a_long_text(make: Any) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * (2 << 20))
    return saved(make.picture(), "PNG", pnginfo=info)


@handled("a.tif")
def a_tiff_with_a_megabyte_of_description(make: Any) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = "x" * (2 << 20)
    return saved(make.picture(), "TIFF", tiffinfo=tags)


@handled("a.png")
def bytes_after_the_end(make: Any) -> bytes:
    return make.image() + b"PK\x03\x04 and a script" * 1000


@handled("a.png")
def one_pixel(make: Any) -> bytes:
    return make.image(size=(1, 1))


@handled("a.ppm")
def plain_text_pixels(make: Any) -> bytes:
    return b"P3\n2 2\n255\n" + b"10 20 30 " * 4


# -- PDF ---------------------------------------------------------------------------------------------------------


@refused("a.pdf", "not a readable PDF")
def a_pdf_of_garbage(make: Any) -> bytes:
    return b"%PDF-1.7\n" + b"garbage " * 200


@refused("a.pdf", "not a readable PDF")
def a_pdf_cut_short(make: Any) -> bytes:
    return make.pdf(3)[:100]


@refused("a.pdf", "password")
def a_pdf_with_a_password(make: Any) -> bytes:
    # Encrypted by the standard handler with keys that open to no known password.
    return minimal_pdf(
        b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> >>"
    )


@refused("a.pdf", "not a readable PDF")
def a_pdf_without_pages(make: Any) -> bytes:
    return make.pdf(0)


@refused("a.pdf", "too narrow")
def a_pdf_page_like_a_thread(make: Any) -> bytes:
    return make.pdf(1, (0.01, 14_400))


@refused("a.pdf", "not a PDF")
def a_text_called_pdf(make: Any) -> bytes:
    return b"hello" * 300


@handled("a.pdf", 1)
def a_pdf_page_of_two_hundred_metres(make: Any) -> bytes:
    return make.pdf(1, (567_000, 400_000))


@handled("a.pdf", 1)
def a_pdf_that_runs_scripts(make: Any) -> bytes:
    script = b"<< /S /JavaScript /JS (while(1){app.alert('x')}) >>"
    return minimal_pdf(None, b"/OpenAction " + script)


@handled("a.zip", 3)
def a_pdf_in_an_archive(make: Any) -> bytes:
    return make.zip({"a.png": make.image(), "book/b.pdf": make.pdf(2)})


@refused("a.zip", "b.pdf", "not a PDF")
def a_broken_pdf_in_an_archive(make: Any) -> bytes:
    return make.zip({"a.png": make.image(), "b.pdf": b"nothing"})


def minimal_pdf(encrypt: bytes | None, catalogue: bytes = b"") -> bytes:
    """One empty page, written by hand so that any key can be added."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R " + catalogue + b" >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 80] >>",
        encrypt or b"<< >>",
    ]
    text, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(text))
        text += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(text)
    text += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    extra = b"/Encrypt 4 0 R /ID [<01> <01>]" if encrypt else b""
    return text + b"trailer\n<< /Size 5 /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (extra, start)


# -- the tests ---------------------------------------------------------------------------------------------------


def send(datasets: Datasets, name: str, content: bytes) -> Any:
    receiver = datasets.uploads("").receive()
    receiver.write(content)
    document = upload_document((Upload(name, receiver.keep()),))
    return datasets.create({}, uploads=(document,))


@pytest.mark.parametrize(("name", "case", "words"), REFUSED)
def test_hostile_file_is_refused_by_name(
    datasets: Datasets, make: Any, tmp_path: Path, name: str, case: Case, words: tuple[str, ...]
) -> None:
    dataset = send(datasets, name, case(make))
    with pytest.raises(GuardError) as caught:
        datasets.build(dataset.id)
    error = caught.value
    assert error.kind == "bad_input"
    assert error.status == 422
    assert name in str(error)
    for word in words:
        assert word in str(error)
    assert "Traceback" not in str(error)
    assert str(tmp_path) not in str(error)
    assert datasets.catalogue.get(dataset.id).state == "failed"
    datasets.catalogue.delete(dataset.id)
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("name", "case", "images"), HANDLED)
def test_odd_file_becomes_plain_images(
    datasets: Datasets, make: Any, name: str, case: Case, images: int
) -> None:
    dataset = datasets.build(send(datasets, name, case(make)).id)
    records = datasets.catalogue.images(dataset.id)
    assert len(records) == images == dataset.counts["images"]
    folder = datasets.catalogue.images_folder(dataset.id)
    assert len({record.file.casefold() for record in records}) == images
    for number, record in enumerate(records):
        path = folder / record.file
        assert path.resolve().is_relative_to(folder)
        with Image.open(path) as image:
            image.load()
            assert image.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
            assert getattr(image, "n_frames", 1) == 1
            assert image.size == (record.width, record.height)
            assert (
                sum(len(value) for value in image.info.values() if isinstance(value, bytes | str)) < 1 << 20
            )
        assert datasets.thumbnail_file(dataset.id, number).stat().st_size <= 5 * 1024
    on_disk = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert on_disk == sorted(record.file for record in records)


def test_the_corpus_is_large() -> None:
    assert len(REFUSED) + len(HANDLED) >= 60
