"""The kinds of documents: each finds the images of one, and leaves their opening to the guard."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dti_service.datasets.request import Document
from dti_service.datasets.sources import archive, auto, folder, iiif, image, pdf, upload, url_list
from dti_service.datasets.sources.base import Found, Workshop

Source = Callable[[Document, Workshop], Iterator[Found]]

SOURCES: dict[str, Source] = {
    "auto": auto.find,
    "folder": folder.find,
    "iiif": iiif.find,
    "img": image.find,
    "pdf": pdf.find,
    "upload": upload.find,
    "url_list": url_list.find,
    "zip": archive.find,
}
