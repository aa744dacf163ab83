"""A reading as a contact sheet for paper: a PDF with every cluster, its prototype, its images and their captions."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image as Picture

from dti_service.curations.folders import picture_of, prototype_of
from dti_service.curations.page import WORDS, short_distance
from dti_service.curations.pdf import A4, PdfPage, PdfWriter, fitting, width
from dti_service.curations.table import Cluster, Image, Reading
from dti_service.errors import ServiceError
from dti_service.thumbnails import thumbnail

MARGIN = 36.0  # points
COLUMNS = 8
GAP = 7.0
CELL = (A4[0] - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
LINE = 8.0
SMALL, NORMAL, LARGE = 6.0, 8.5, 12.0
HEAD = 62.0  # height of the head of a cluster
PIXELS = 192


class Sheet:
    """The contact sheet of a reading, made while it is sent. `cache`: where the experiment keeps its thumbnails."""

    size = None  # not known before the end

    def __init__(
        self, reading: Reading, results: Path, cache: Path, title: str, language: str = "en"
    ) -> None:
        self.reading = reading
        self.results = results
        self.cache = cache
        self.title = title
        self.words = WORDS.get(language, WORDS["en"])
        self.modified = datetime.now(UTC)
        self.etag = f'W/"{int(self.modified.timestamp() * 1000):x}"'

    def close(self) -> None:
        """Nothing is held."""

    def chunks(self, start: int, end: int | None) -> Iterator[bytes]:
        self.pdf = PdfWriter(f"{self.title} - {self.reading.title}")
        self.count = 0
        yield self.pdf.begin()
        self._new_page()
        self.page.text(MARGIN, self.y + 14, fitting(self.title, 16, A4[0] - 2 * MARGIN), 16, "bold")
        facts = [
            self.reading.title,
            self.reading.author,
            self.reading.updated_at[:10],
            f"{len(self.reading.images)} {self.words['images']}",
        ]
        self.page.text(MARGIN, self.y + 28, " · ".join(fact for fact in facts if fact), NORMAL, grey=0.35)
        self.y += 40
        for id, images in self.reading.members().items():
            if images:
                yield from self._cluster(self.reading.clusters[id], images)
        yield self._close_page()
        yield self.pdf.end()

    def _cluster(self, cluster: Cluster, images: list[Image]) -> Iterator[bytes]:
        if self.y + HEAD + CELL + 3 * LINE > self._bottom:  # a head never stands alone at the foot of a page
            yield self._next_page()
        self.page.line(MARGIN, self.y, A4[0] - MARGIN, self.y)
        self.y += 6
        side = HEAD - 12
        yield from self._picture(prototype_of(self.results, cluster), MARGIN, self.y, side)
        x, room = MARGIN + side + 10, A4[0] - 2 * MARGIN - side - 10
        self.page.text(x, self.y + 12, fitting(cluster.name, LARGE, room), LARGE, "bold")
        facts = f"{len(images)} {self.words['images']} · {self.words[cluster.state]}"
        self.page.text(x, self.y + 24, facts, NORMAL, grey=0.35)
        extra = [", ".join(cluster.tags), cluster.note]
        for number, line in enumerate(line for line in extra if line):
            self.page.text(
                x, self.y + 35 + 10 * number, fitting(line, NORMAL, room), NORMAL, "italic", grey=0.2
            )
        self.y += side + 8
        for first in range(0, len(images), COLUMNS):
            row = images[first : first + COLUMNS]
            captions = [self._caption(image, cluster) for image in row]
            height = CELL + LINE * max(len(lines) for lines in captions) + 6
            if self.y + height > self._bottom:
                yield self._next_page()
            for column, (image, lines) in enumerate(zip(row, captions, strict=True)):
                x = MARGIN + column * (CELL + GAP)
                yield from self._picture(picture_of(self.results, image), x, self.y, CELL)
                for number, (text, font) in enumerate(lines):
                    place = self.y + CELL + LINE * (number + 1) - 1
                    self.page.text(x, place, fitting(text, SMALL, CELL), SMALL, font, grey=0.2)
            self.y += height
        self.y += 6

    def _caption(self, image: Image, cluster: Cluster) -> list[tuple[str, str]]:
        own = self.reading.notes.get(image.id, {})
        # A long name goes on in a second line: names of one source often differ in their ends alone.
        name = image.path.rsplit("/", 1)[-1]
        first = fitting(name, SMALL, CELL).removesuffix("…") if width(name, SMALL) > CELL else name
        lines = [
            (first, "plain"),
            (name[len(first) :], "plain"),
            (short_distance(self.reading.distance(image, cluster)), "plain"),
            (", ".join(own.get("tags", [])), "italic"),
            (str(own.get("note", "")), "italic"),
        ]
        return [(text, font) for text, font in lines if text]

    def _picture(self, path: Path | None, x: float, y: float, side: float) -> Iterator[bytes]:
        if path is None:
            return
        try:
            content = thumbnail(path, self.cache, PIXELS, "jpeg").read_bytes()
        except (ServiceError, OSError):
            return
        with Picture.open(io.BytesIO(content)) as picture:
            w, h = picture.size
            channels = len(picture.getbands())
        number, data = self.pdf.jpeg(content, w, h, channels)
        yield data
        scale = side / max(w, h)
        self.page.picture(
            number, x + (side - w * scale) / 2, y + (side - h * scale) / 2, w * scale, h * scale
        )

    @property
    def _bottom(self) -> float:
        return A4[1] - MARGIN - 14

    def _new_page(self) -> None:
        self.page = PdfPage()
        self.y = MARGIN
        self.count += 1

    def _close_page(self) -> bytes:
        foot = A4[1] - MARGIN + 6
        self.page.text(MARGIN, foot, fitting(self.title, SMALL, A4[0] - 2 * MARGIN - 40), SMALL, grey=0.35)
        self.page.text(A4[0] - MARGIN - 14, foot, str(self.count), SMALL, grey=0.35)
        return self.pdf.page(self.page)

    def _next_page(self) -> bytes:
        data = self._close_page()
        self._new_page()
        return data
