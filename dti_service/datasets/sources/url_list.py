"""`url_list`: a JSON object of names and addresses of images, or a list of addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dti_service.datasets.fetch import Kind
from dti_service.datasets.guard.addresses import check_url
from dti_service.datasets.guard.errors import GuardError, shown
from dti_service.datasets.guard.json_input import parse_json
from dti_service.datasets.request import Document
from dti_service.datasets.sources.base import Found, Picture, Workshop, last_name


def find(document: Document, shop: Workshop) -> Iterator[Found]:
    limits = shop.policy.limits
    path = shop.fetch(document.src, Kind.json(limits), "json")
    yield from listed(parse_json(path.read_bytes(), document.src, limits), document.src, shop)


def listed(value: Any, subject: str, shop: Workshop) -> Iterator[Found]:
    """The images that a list names."""
    entries = _entries(value, subject, shop)
    shop.expected += len(entries)

    def fetch(entry: tuple[str, str]) -> Path:
        return shop.fetch(entry[1], Kind.image(shop.policy.limits), "image")

    for (name, url), result in shop.ahead(entries, fetch):
        # A name is a name here, not a path: what looks like folders or ways out of them becomes part of it.
        yield Found((name,), name, url, _reader(result, f"{name} ({url})", shop))


def _reader(result: Any, subject: str, shop: Workshop) -> Any:
    def read(thumbnail: Path | None) -> Picture:
        if isinstance(result, GuardError):
            raise result
        return shop.picture(result, subject, thumbnail, owned=False)

    return read


def _entries(value: Any, subject: str, shop: Workshop) -> list[tuple[str, str]]:
    if isinstance(value, list):
        pairs = [(url, url) for url in value]
    elif isinstance(value, dict):
        pairs = list(value.items())
    else:
        raise GuardError(
            subject, "neither an object of names and addresses nor a list", "see the documentation"
        )
    if not 0 < len(pairs) <= shop.policy.limits.images:
        raise GuardError(subject, f"it lists {len(pairs)} images", f"list 1 to {shop.policy.limits.images}")
    entries = []
    for name, url in pairs:
        if not isinstance(url, str):
            raise GuardError(subject, f"the entry {shown(str(name))!r} is no address", "give texts")
        try:
            check_url(url, shop.policy.allow)
        except GuardError as error:
            raise GuardError(subject, f"{error.subject}: {error.reason}", error.remedy) from error
        entry = (last_name(url, "image") if isinstance(value, list) else name or "image", url)
        if shop.wanted(Found((entry[0],), entry[0], url, _unread).names):
            entries.append(entry)
    return entries


def _unread(_: Path | None) -> Picture:
    raise AssertionError("only its names are asked for")
