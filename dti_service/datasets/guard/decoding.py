"""What the isolated process does: decode images and PDF pages that nobody has looked at yet.

Runs in a process of its own with little memory and time (`isolation`), so everything here may crash. It takes
paths and numbers and returns numbers; the files that it writes are plain 8-bit JPEG, PNG and WebP.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin

FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM")
PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "P", "1")
THUMBNAIL_BYTES = 5 * 1024  # at 128 pixels, in proportion to the area above
_EXIF_ORIENTATION = 0x0112

ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # replaced by our own limit, which comes before any decoding
PngImagePlugin.MAX_TEXT_CHUNK = 4 << 20
PngImagePlugin.MAX_TEXT_MEMORY = 16 << 20
warnings.simplefilter("ignore")


class Refused(Exception):
    """The file cannot be used; args: reason, remedy."""


def read_image(path: str, pixels: int, side: int) -> tuple[Image.Image, dict[str, Any]]:
    """Open and fully decode the first frame. Returns it as stored and what is known of it; raises `Refused`."""
    try:
        image = Image.open(path, formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise Refused(
            "not an image of a known format, or damaged", "use JPEG, PNG, GIF, TIFF, WebP, BMP or PPM"
        ) from None
    except Exception as error:  # the readers of the formats raise whatever they like on damaged data
        raise _damaged(error) from error
    width, height = image.size
    if width * height > pixels or max(width, height) > side:
        raise Refused(
            f"{width} x {height} pixels are too many",
            f"make it smaller (at most {pixels} pixels, {side} on a side)",
        )
    if min(width, height) < 1:
        raise Refused("it has no pixels", "save it again")
    known: dict[str, Any] = {"format": "JPEG" if image.format == "MPO" else image.format, "mode": image.mode}
    try:
        known["frames"] = getattr(image, "n_frames", 1)
        image.seek(0)
        image.load()
    except Exception as error:
        raise _damaged(error) from error
    known["metadata"] = _metadata_size(image)
    try:
        known["orientation"] = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF: the pixels are still good
        known["orientation"] = None
    return image, known


def _damaged(error: Exception) -> Exception:
    if isinstance(error, MemoryError):
        return error
    if "MAX_TEXT" in str(error):
        return Refused("it holds too much text", "save it without metadata")
    return Refused(f"damaged or cut short ({str(error)[:100]})", "save it again, or send it again")


def _metadata_size(image: Image.Image) -> int:
    """Bytes of EXIF, ICC, XMP, comments and texts; the pixels' own palette does not count."""
    texts = getattr(image, "text", None) or {}
    values = [*image.info.values(), *(texts.values() if isinstance(texts, dict) else ())]
    return sum(len(value) for value in values if isinstance(value, bytes | str))


def as_plain(image: Image.Image) -> Image.Image:
    """The picture as L, LA, RGB or RGBA with 8 bits per channel, upright; deep grey by the rule of the library."""
    with contextlib.suppress(Exception):  # damaged EXIF
        if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return _from_deep(image)
    transparent = "transparency" in image.info
    if mode in ("1", "L"):
        return image.convert("LA" if transparent else "L")
    if mode in ("LA", "La"):
        return image.convert("LA")
    if mode in ("PA", "RGBa", "RGBA") or transparent:
        return image.convert("RGBA")
    if mode == "LAB":
        return _from_lab(image)
    return image if mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits to 8: the smallest usual range that holds the values (0 to 1 for floats, 0 to 255, 0 to
    65535) becomes 0 to 255; beyond that, the image's own."""
    low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Refused("it holds values that are not numbers", "save it as 8-bit grey")
    if low < 0 or high > 65535:
        span = high - low
    elif image.mode.startswith("I;16") or high > 255:
        low, span = 0.0, 65535.0
    else:
        low, span = 0.0, 1.0 if image.mode == "F" and high <= 1 else 255.0
    scale = 255.0 / (span or 1.0)
    offset = 0.5 - low * scale  # the conversion cuts, it does not round
    return image.convert("F").point(lambda value: value * scale + offset).convert("L")


def _from_lab(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise Refused("its colours cannot be converted", "save it as RGB")
    return converted


def _bare(image: Image.Image) -> Image.Image:
    """The pixels alone: no metadata travels into what is written."""
    image.info = {}
    return image


def write_thumbnail(image: Image.Image, target: str, size: int) -> None:
    """Write a WebP of at most `size` x `size` pixels, at most 5 KiB per 128 x 128."""
    scale = min(1.0, size / max(image.size))
    small_size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):  # the others cannot be resized as they are
        image = as_plain(image)
    small = as_plain(image.resize(small_size, Image.Resampling.LANCZOS, reducing_gap=2.0))
    small = small.convert("RGBA" if small.mode in ("LA", "RGBA") else "RGB")
    budget = THUMBNAIL_BYTES * max(1.0, (size / 128) ** 2)
    for quality in (80, 60, 40, 20, 5):
        buffer = io.BytesIO()
        _bare(small).save(buffer, "WEBP", quality=quality)
        if buffer.tell() <= budget:
            break
    Path(target).write_bytes(buffer.getvalue())


def check_image(
    path: str, plain: str, thumbnail: str | None, size: int, pixels: int, side: int, metadata: int
) -> dict[str, Any]:
    """Decode an image completely. One that not every reader shows alike (several frames, rotated by EXIF, CMYK, deep,
    or with large metadata) is written to `plain` as an 8-bit PNG; `rewritten` tells."""
    image, known = read_image(path, pixels, side)
    rewrite = (
        known["mode"] not in PLAIN_MODES
        or known["frames"] > 1
        or known["orientation"] not in (0, 1)
        or known["metadata"] > metadata
    )
    if rewrite:
        image = as_plain(image)
        _bare(image).save(plain, "PNG", compress_level=3)
    if thumbnail is not None:
        write_thumbnail(image, thumbnail, size)
    return {
        "format": "PNG" if rewrite else known["format"],
        "width": image.width,
        "height": image.height,
        "rewritten": rewrite,
        "original": {"format": known["format"], "mode": known["mode"], "frames": known["frames"]},
    }


def make_thumbnail(path: str, thumbnail: str, size: int, pixels: int, side: int) -> dict[str, Any]:
    image, _ = read_image(path, pixels, side)
    write_thumbnail(image, thumbnail, size)
    return {"width": image.width, "height": image.height}


def cut(path: str, cuts: list[dict[str, Any]], size: int, pixels: int, side: int) -> list[dict[str, Any]]:
    """Cut rectangles out of an image. Each of `cuts` has `box` (x1, y1, x2, y2 as fractions of width and height),
    `out` (PNG) and `thumbnail`. A box of less than half a pixel gives an `error` in its place."""
    image = as_plain(read_image(path, pixels, side)[0])
    done: list[dict[str, Any]] = []
    for item in cuts:
        x1, y1, x2, y2 = item["box"]
        left, right = round(x1 * image.width), round(x2 * image.width)
        top, bottom = round(y1 * image.height), round(y2 * image.height)
        if right <= left or bottom <= top:
            done.append({"error": f"smaller than one pixel of the {image.width} x {image.height} image"})
            continue
        piece = _bare(image.crop((left, top, right, bottom)))
        piece.save(item["out"], "PNG", compress_level=3)
        write_thumbnail(piece, item["thumbnail"], size)
        done.append({"width": piece.width, "height": piece.height, "pixels": [left, top, right, bottom]})
    return done


class Pdf:
    """The PDF that is open at the moment; scripts and forms in it are never looked at."""

    def __init__(self) -> None:
        self._path = ""
        self._document: Any = None

    def _open(self, path: str) -> Any:
        import pypdfium2

        if self._path != path:
            if self._document is not None:
                self._document.close()
            self._path = ""
            try:
                self._document = pypdfium2.PdfDocument(path)
            except pypdfium2.PdfiumError as error:
                if "assword" in str(error):
                    raise Refused("protected by a password", "save it without one") from error
                raise Refused("not a readable PDF, or damaged", "save it again, or send it again") from error
            self._path = path
        return self._document

    def info(self, path: str) -> dict[str, Any]:
        return {"pages": len(self._open(path))}

    def page(
        self, path: str, page: int, out: str, thumbnail: str | None, size: int, long_side: int, dpi: float
    ) -> dict[str, Any]:
        """Render page number `page` (from 0) as a JPEG of at most `long_side` pixels and `dpi` dots per inch."""
        import pypdfium2

        document = self._open(path)
        try:
            opened = document[page]
            width, height = opened.get_size()  # in points, 72 to the inch
            if not (0 < width < 1e6 and 0 < height < 1e6):
                raise Refused(f"page {page + 1} has no usable size", "save it again")
            scale = min(dpi / 72, long_side / max(width, height))
            if min(width, height) * scale < 1:
                raise Refused(f"page {page + 1} is {width:g} x {height:g} points: too narrow", "leave it out")
            bitmap = opened.render(scale=scale, may_draw_forms=False, maybe_alpha=False)
            image = bitmap.to_pil().convert("RGB")
            label = document.get_page_label(page)
            opened.close()
        except pypdfium2.PdfiumError as error:
            raise Refused(f"page {page + 1} cannot be rendered", "save the file again") from error
        image.thumbnail((long_side, long_side))  # rounding up may have added one pixel
        image.save(out, "JPEG", quality=95, subsampling=0)
        if thumbnail is not None:
            write_thumbnail(image, thumbnail, size)
        return {"width": image.width, "height": image.height, "label": label or ""}
