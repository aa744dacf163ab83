"""`zip`: images, and PDFs, in an archive; its folders are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dti_service.datasets.guard.archives import Archive, Member, open_archive
from dti_service.datasets.guard.errors import GuardError, shown
from dti_service.datasets.guard.names import member_parts
from dti_service.datasets.request import Document
from dti_service.datasets.sources import pdf
from dti_service.datasets.sources.base import Found, Picture, Workshop


def find(document: Document, shop: Workshop) -> Iterator[Found]:
    yield from members(shop.body(document), document.src, document.src, shop)


def members(
    path: Path, subject: str, src: str, shop: Workshop, folder: tuple[str, ...] = ()
) -> Iterator[Found]:
    """The images of the archive at `path`, below `folder`."""
    with open_archive(path, subject, shop.policy.limits) as archive:
        if not archive.members:
            other = f" (but {shown(archive.ignored[0])!r}, for example)" if archive.ignored else ""
            raise GuardError(
                subject, f"no images in it{other}", "pack JPEG, PNG, GIF, TIFF or WebP files, or PDFs"
            )
        for table in archive.tables:
            raw = _extract(archive, table, shop)
            shop.read_table(raw.read_bytes(), (*folder, *table.parts[:-1]))
            raw.unlink()
        shop.expected += sum(not member.is_pdf for member in archive.members)
        for member in archive.members:
            if member.is_pdf:
                yield from _pages(archive, member, subject, src, shop, folder)
            else:
                yield _image(archive, member, subject, src, shop, folder)


def _image(
    archive: Archive, member: Member, subject: str, src: str, shop: Workshop, folder: tuple[str, ...]
) -> Found:
    def read(thumbnail: Path | None) -> Picture:
        raw = _extract(archive, member, shop)
        return shop.picture(raw, f"{subject}: {member.name}", thumbnail, owned=True)

    return Found((*folder, *member.parts), member.name, src, read, aliases=(member.parts[-1],))


def _extract(archive: Archive, member: Member, shop: Workshop) -> Path:
    raw = shop.new_file()
    try:
        archive.extract(member, raw, shop.tick)
    except BaseException:
        raw.unlink(missing_ok=True)
        raise
    return raw


def _pages(
    archive: Archive, member: Member, subject: str, src: str, shop: Workshop, folder: tuple[str, ...]
) -> Iterator[Found]:
    raw = _extract(archive, member, shop)
    try:
        yield from pdf.pages(raw, f"{subject}: {member.name}", src, shop, (*folder, *member.parts))
    finally:
        raw.unlink(missing_ok=True)


def parts_of(name: str) -> tuple[str, ...]:
    """The path of an uploaded file that was sent with its folders."""
    parts: Any = member_parts(name, name)
    return parts or ("file",)
