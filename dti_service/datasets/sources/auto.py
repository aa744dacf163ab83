"""`auto`: an address without a kind; what it holds tells."""

from __future__ import annotations

from collections.abc import Iterator

from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.json_input import parse_json
from dti_service.datasets.guard.sniff import sniff
from dti_service.datasets.request import Document
from dti_service.datasets.sources import archive, iiif, pdf, url_list
from dti_service.datasets.sources.base import Found, Workshop, last_name
from dti_service.datasets.sources.image import file_image


def find(document: Document, shop: Workshop) -> Iterator[Found]:
    src = document.src
    path = shop.body(document)
    name = last_name(src, "image") if "://" in src else path.name
    kind = sniff(path)
    if kind == "zip":
        yield from archive.members(path, src, src, shop)
    elif kind == "pdf":
        yield from pdf.pages(path, src, src, shop, (name,), own_folder=False)
    elif kind == "json":
        limits = shop.policy.limits
        if path.stat().st_size > limits.json_bytes:
            raise GuardError(src, f"more than {limits.json_bytes} bytes of JSON", "split it")
        value = parse_json(path.read_bytes(), src, limits)
        if iiif.is_iiif(value):
            yield from iiif.canvases(value, document, shop)
        else:
            yield from url_list.listed(value, src, shop)
    else:
        yield file_image(path, src, src, shop, (name,))
