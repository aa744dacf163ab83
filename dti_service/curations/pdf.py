"""A PDF file written piece by piece: pages with JPEG pictures and lines of text in the fonts that every reader has.

ISO 32000-1. Text is in WinAnsi (Western European letters); other letters lose their accents, or become "?".
"""

from __future__ import annotations

import unicodedata
import zlib
from dataclasses import dataclass, field

A4 = (595.28, 841.89)  # points, 1/72 inch
FONTS = {"plain": "Helvetica", "bold": "Helvetica-Bold", "italic": "Helvetica-Oblique"}
_NARROW, _WIDE = frozenset("iljtfrI.,:;'|!()[] "), frozenset("mwMW@%")


def width(text: str, size: float) -> float:
    """Width of a text in points, about; never much less than it is."""
    ems = sum(
        0.34 if sign in _NARROW else 0.9 if sign in _WIDE else 0.72 if sign.isupper() else 0.57
        for sign in text
    )
    return ems * size


def fitting(text: str, size: float, room: float) -> str:
    """The text, or its beginning with an ellipsis, so that it fits into `room` points."""
    if width(text, size) <= room:
        return text
    while text and width(text + "…", size) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def encoded(text: str) -> bytes:
    """A text as a PDF string in WinAnsi."""
    found = bytearray()
    for sign in text:
        for form in (sign, unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode("ascii")):
            try:
                found += form.encode("cp1252")
            except UnicodeEncodeError:
                continue
            if form:
                break
        else:
            found += b"?"
    for special in (b"\\", b"(", b")"):
        found = found.replace(special, b"\\" + special)
    return b"(" + bytes(found.replace(b"\r", b" ").replace(b"\n", b" ")) + b")"


@dataclass
class PdfPage:
    """One page in the making; points from the top left corner."""

    size: tuple[float, float] = A4
    commands: list[bytes] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)  # numbers of objects

    def text(
        self, x: float, y: float, text: str, size: float, font: str = "plain", grey: float = 0.0
    ) -> None:
        """A line whose base line is at y."""
        name = list(FONTS).index(font)
        place = f"{x:.2f} {self.size[1] - y:.2f}"
        self.commands.append(
            f"BT {grey:.2f} g /F{name} {size:.1f} Tf {place} Td ".encode() + encoded(text) + b" Tj ET"
        )

    def picture(self, number: int, x: float, y: float, w: float, h: float) -> None:
        """A picture with its upper left corner at (x, y)."""
        self.pictures.append(number)
        self.commands.append(
            f"q {w:.2f} 0 0 {h:.2f} {x:.2f} {self.size[1] - y - h:.2f} cm /P{number} Do Q".encode()
        )

    def line(self, x1: float, y1: float, x2: float, y2: float) -> None:
        top = self.size[1]
        self.commands.append(f"0.75 G 0.5 w {x1:.2f} {top - y1:.2f} m {x2:.2f} {top - y2:.2f} l S".encode())


class PdfWriter:
    """Gives the bytes of a PDF in order: `begin`, then pictures and pages, then `end`."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._offsets: dict[int, int] = {}
        self._pages: list[int] = []
        self._at = 0
        self._next = 4 + len(FONTS)  # 1 catalogue, 2 pages, 3 facts, then the fonts

    def begin(self) -> bytes:
        data = self._put(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n")
        for number, name in enumerate(FONTS.values()):
            data += self._object(
                4 + number,
                f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>".encode(),
            )
        return data

    def jpeg(self, content: bytes, w: int, h: int, channels: int) -> tuple[int, bytes]:
        """Number and bytes of a picture."""
        number = self._take()
        space = {1: "DeviceGray", 3: "DeviceRGB", 4: "DeviceCMYK"}[channels]
        head = (
            f"<< /Type /XObject /Subtype /Image /Width {w} /Height {h} /ColorSpace /{space}"
            f" /BitsPerComponent 8 /Filter /DCTDecode /Length {len(content)} >>\nstream\n"
        )
        return number, self._object(number, head.encode() + content + b"\nendstream")

    def page(self, page: PdfPage) -> bytes:
        content = zlib.compress(b"\n".join(page.commands))
        stream, number = self._take(), self._take()
        head = f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n"
        data = self._object(stream, head.encode() + content + b"\nendstream")
        fonts = " ".join(f"/F{n} {4 + n} 0 R" for n in range(len(FONTS)))
        pictures = " ".join(f"/P{n} {n} 0 R" for n in dict.fromkeys(page.pictures))
        w, h = page.size
        data += self._object(
            number,
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {w} {h}] /Contents {stream} 0 R"
            f" /Resources << /Font << {fonts} >> /XObject << {pictures} >> >> >>".encode(),
        )
        self._pages.append(number)
        return data

    def end(self) -> bytes:
        kids = " ".join(f"{number} 0 R" for number in self._pages)
        data = self._object(1, b"<< /Type /Catalog /Pages 2 0 R >>")
        data += self._object(2, f"<< /Type /Pages /Kids [{kids}] /Count {len(self._pages)} >>".encode())
        facts = b"\xfe\xff" + self.title.encode("utf-16-be", "replace")
        data += self._object(3, b"<< /Title <" + facts.hex().encode() + b"> /Producer (DTI Service) >>")
        start, count = self._at, self._next
        table = [b"xref\n0 %d\n0000000000 65535 f \n" % count]
        table += [b"%010d 00000 n \n" % self._offsets[number] for number in range(1, count)]
        table.append(
            b"trailer\n<< /Size %d /Root 1 0 R /Info 3 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, start)
        )
        return data + self._put(b"".join(table))

    def _take(self) -> int:
        self._next += 1
        return self._next - 1

    def _object(self, number: int, body: bytes) -> bytes:
        self._offsets[number] = self._at
        return self._put(b"%d 0 obj\n%b\nendobj\n" % (number, body))

    def _put(self, data: bytes) -> bytes:
        self._at += len(data)
        return data
