"""`pdf`: one image per page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dti_service.datasets.files import sha256_of
from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.request import Document
from dti_service.datasets.sources.base import THUMBNAIL, Found, Picture, Workshop, last_name


def find(document: Document, shop: Workshop) -> Iterator[Found]:
    path = shop.body(document)
    name = last_name(document.src, "document.pdf") if "://" in document.src else path.name
    yield from pages(path, document.src, document.src, shop, (name,), own_folder=False)


def pages(
    path: Path, subject: str, src: str, shop: Workshop, parts: tuple[str, ...], *, own_folder: bool = True
) -> Iterator[Found]:
    """The pages of a PDF; `parts` is the path of the PDF itself. `own_folder`: its pages get a folder."""
    limits = shop.policy.limits
    with path.open("rb") as stream:
        if b"%PDF-" not in stream.read(1024):
            raise GuardError(subject, "not a PDF", "check the address or the file")
    count = shop.decoder.call("pdf_info", subject, path=str(path))["pages"]
    if not 0 < count <= limits.pdf_pages:
        raise GuardError(
            subject, f"it has {count} pages", f"a PDF may have 1 to {limits.pdf_pages}; split it"
        )
    shop.expected += count
    digest = sha256_of(path)
    stem = PurePosixPath(parts[-1]).stem if parts[-1].lower().endswith(".pdf") else parts[-1]
    digits = max(4, len(str(count)))
    for index in range(count):
        name = f"{stem}_{index + 1:0{digits}d}.jpg"
        folder = (*parts[:-1], stem) if own_folder else parts[:-1]
        yield _page(path, subject, src, shop, (*folder, name), index, digest)


def _page(
    path: Path, subject: str, src: str, shop: Workshop, parts: tuple[str, ...], index: int, digest: str
) -> Found:
    def read(thumbnail: Path | None) -> Picture:
        limits = shop.policy.limits
        target = shop.new_file(".jpg")
        try:
            facts = shop.decoder.call(
                "pdf_page",
                subject,
                path=str(path),
                page=index,
                out=str(target),
                thumbnail=str(thumbnail) if thumbnail else None,
                size=THUMBNAIL,
                long_side=limits.pdf_long_side,
                dpi=limits.pdf_dpi,
            )
        except GuardError:
            shop.drop(target, thumbnail)
            raise
        original = {"format": "PDF", "mode": "RGB", "frames": 1}
        return Picture(
            target, True, "JPEG", facts["width"], facts["height"], digest, original, facts["label"], True
        )

    return Found(parts, parts[-1], src, read, page=index + 1)
