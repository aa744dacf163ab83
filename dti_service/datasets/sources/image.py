"""`img`: one image behind an address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dti_service.datasets.fetch import Kind
from dti_service.datasets.request import Document
from dti_service.datasets.sources.base import Found, Picture, Workshop, last_name


def find(document: Document, shop: Workshop) -> Iterator[Found]:
    if shop.local and "://" not in document.src:
        path = shop.body(document)
        name = path.name
    else:
        path = shop.fetch(document.src, Kind.image(shop.policy.limits), "image")
        name = last_name(document.src, "image")
    yield file_image(path, document.src, document.src, shop, (name,))


def file_image(path: Path, subject: str, src: str, shop: Workshop, parts: tuple[str, ...]) -> Found:
    """An image in a file that stays where it is."""
    shop.expected += 1

    def read(thumbnail: Path | None) -> Picture:
        return shop.picture(path, subject, thumbnail, owned=False)

    return Found(parts, "/".join(parts), src, read)
