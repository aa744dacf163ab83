"""`upload`: files that were sent: images, archives, PDFs, in any mixture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dti_service.datasets.guard.archives import IMAGE_SUFFIXES
from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.names import hidden
from dti_service.datasets.guard.sniff import sniff
from dti_service.datasets.guard.tables import MOST_BYTES, TABLE_FILES
from dti_service.datasets.request import Document, Upload
from dti_service.datasets.sources import archive, pdf
from dti_service.datasets.sources.base import Found, Workshop
from dti_service.datasets.sources.image import file_image

# What a file claims to be is what it is judged as; what claims nothing of use is told by its content.
_KINDS = {".zip": "zip", ".pdf": "pdf", **dict.fromkeys(IMAGE_SUFFIXES, "image")}


def _file(upload: Upload, shop: Workshop) -> Path:
    path = shop.uploads / upload.sha256
    if not path.is_file():
        raise GuardError(upload.name, "the file is not here any more", "send it again")
    return path


def find(document: Document, shop: Workshop) -> Iterator[Found]:
    files = [(upload, archive.parts_of(upload.name)) for upload in document.files]
    tables = [(upload, parts) for upload, parts in files if parts[-1].lower() in TABLE_FILES]
    files = [
        (upload, parts) for upload, parts in files if (upload, parts) not in tables and not hidden(parts)
    ]
    if not files:
        raise GuardError(
            document.files[0].name, "no images among the files", "send images, a zip archive or a PDF"
        )
    for upload, parts in tables:
        path = _file(upload, shop)
        if path.stat().st_size <= MOST_BYTES:
            shop.read_table(path.read_bytes(), parts[:-1])
    alone = len(files) == 1
    for upload, parts in files:
        path = _file(upload, shop)
        kind = _KINDS.get(PurePosixPath(parts[-1]).suffix.lower()) or sniff(path)
        if kind == "zip":
            stem = PurePosixPath(parts[-1]).stem
            folder = () if alone else (*parts[:-1], stem)
            yield from archive.members(path, upload.name, document.src, shop, folder)
        elif kind == "pdf":
            yield from pdf.pages(path, upload.name, document.src, shop, parts, own_folder=not alone)
        elif kind == "json":
            raise GuardError(upload.name, "neither an image, a zip archive nor a PDF", "send one of those")
        else:
            yield file_image(path, upload.name, document.src, shop, parts)
