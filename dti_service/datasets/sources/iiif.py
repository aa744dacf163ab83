"""`iiif`: the images of a IIIF manifest, Presentation API 2 and 3, through the Image API where it is offered.

Everything in a manifest is optional in practice, so each value is looked at before it is used. One image per canvas.
Specifications: https://iiif.io/api/presentation/2.1/, /3.0/, https://iiif.io/api/image/2.1/, /3.0/.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dti_service.datasets.fetch import Kind
from dti_service.datasets.guard.errors import FetchError, GuardError
from dti_service.datasets.guard.json_input import parse_json
from dti_service.datasets.guard.limits import Limits
from dti_service.datasets.request import Document
from dti_service.datasets.sources.base import Found, Picture, Workshop

LABEL_LENGTH = 200
_NAME_LENGTH = 60
# What libraries call them in the metadata of their manifests.
_FACTS = {
    "date": {
        "date",
        "dates",
        "date statement",
        "date of origin",
        "date of publication",
        "publication date",
        "date de publication",
        "date d'édition",
        "datation",
        "datierung",
        "erscheinungsjahr",
        "entstehungszeit",
        "data",
        "fecha",
    },
    "shelfmark": {
        "shelfmark",
        "shelf mark",
        "call number",
        "classmark",
        "cote",
        "signatur",
        "segnatura",
        "signatura",
    },
}


@dataclass(frozen=True)
class Canvas:
    """One page of a manifest. `service`: base address of its Image API, of version 1, 2 or 3, or 0: not said."""

    page: int
    label: str
    id: str
    image: str
    service: str = ""
    version: int = 0

    @property
    def name(self) -> str:
        label = self.label.replace("/", "-")[:_NAME_LENGTH].strip()
        return f"{self.page:04d}_{label}.jpg" if label else f"{self.page:04d}.jpg"

    @property
    def aliases(self) -> tuple[str, ...]:
        last = self.service.rstrip("/").rsplit("/", 1)[-1]
        return tuple(name for name in (self.service, last, self.id, self.image, f"{self.page:04d}") if name)


def find(document: Document, shop: Workshop) -> Iterator[Found]:
    limits = shop.policy.limits
    path = shop.fetch(document.src, Kind.json(limits), "json")
    yield from canvases(parse_json(path.read_bytes(), document.src, limits), document, shop)


def is_iiif(value: Any) -> bool:
    """Whether a JSON value is a IIIF presentation resource."""
    return isinstance(value, dict) and (
        "iiif.io/api/presentation" in str(value.get("@context"))
        or kind_of(value).removeprefix("sc:") in ("Manifest", "Collection")
    )


def canvases(manifest: Any, document: Document, shop: Workshop) -> Iterator[Found]:
    """The images of a parsed manifest, a few of them fetched ahead."""
    title, pages = read_manifest(manifest, document.src)
    facts = facts_of(manifest)
    if len(pages) > shop.policy.limits.images:
        raise GuardError(document.src, f"it has {len(pages)} pages", "choose a smaller manifest")
    if title:
        shop.titles[document.uid] = title
    wanted = [page for page in pages if shop.wanted(_found(page, None, shop).names)]
    shop.expected += len(wanted)
    for page, result in shop.ahead(wanted, lambda page: _fetch(page, shop)):
        yield _found(page, result, shop, facts)


def _found(page: Canvas, result: Any, shop: Workshop, facts: Mapping[str, str] | None = None) -> Found:
    def read(thumbnail: Path | None) -> Picture:
        if isinstance(result, GuardError):
            raise result
        return shop.picture(result, f"{page.image} (page {page.page})", thumbnail, owned=False)

    return Found(
        (page.name,), page.name, page.image, read, page.page, page.label or None, page.aliases, facts or {}
    )


# -- the manifest -----------------------------------------------------------------------------------------------


def read_manifest(value: Any, src: str) -> tuple[str, list[Canvas]]:
    """Title and canvases of a manifest of either version; `GuardError` when it is something else or has no image."""
    if not isinstance(value, dict):
        raise GuardError(src, "not a IIIF manifest", "give the address of a manifest")
    kind = kind_of(value)
    if kind.removeprefix("sc:") == "Collection":
        raise GuardError(
            src, "a IIIF collection, not a manifest", "give the addresses of the manifests in it"
        )
    if "sequences" in value:
        raw = [
            canvas
            for sequence in objects(value["sequences"])[:1]
            for canvas in objects(sequence.get("canvases"))
        ]
        read = _image_v2
    elif "items" in value:
        raw = objects(value["items"])
        read = _image_v3
    else:
        raise GuardError(src, "not a IIIF manifest", "give the address of a manifest")
    pages = []
    for number, canvas in enumerate(raw, 1):
        body = read(canvas)
        page = body and _canvas(number, canvas, body, src)
        if page:
            pages.append(page)
    if not pages:
        raise GuardError(src, "no image in the manifest", "check it in a viewer")
    return text_of(value.get("label")), pages


def facts_of(manifest: dict[str, Any]) -> dict[str, str]:
    """Date and shelfmark of the object, as far as a manifest tells them: in `metadata`, under names that libraries
    use, or as `navDate`."""
    facts = {}
    for entry in objects(manifest.get("metadata")):
        for fact, words in _FACTS.items():
            if fact not in facts and words & _words(entry.get("label")):
                text = " ".join(re.sub(r"<[^>]*>", " ", text_of(entry.get("value"))).split())
                if text:
                    facts[fact] = text
    day = re.match(r"\d{4}(-\d\d-\d\d)?", str(manifest.get("navDate") or ""))
    if day and "date" not in facts:
        facts["date"] = day.group().removesuffix("-01-01")  # how a year is written there
    return facts


def _words(label: Any) -> set[str]:
    """A label in all its languages, as it is compared."""
    if isinstance(label, list):
        return set().union(*map(_words, label))
    if isinstance(label, dict):
        return _words(label["@value"] if "@value" in label else list(label.values()))
    return {str(label).strip(" :").lower()}


def _canvas(number: int, canvas: dict[str, Any], body: dict[str, Any], src: str) -> Canvas | None:
    image = _join(src, id_of(body))
    service, version = _image_service(body)
    service = _join(src, service).rstrip("/")
    if not image and not service:
        return None
    return Canvas(number, text_of(canvas.get("label")), id_of(canvas), image or service, service, version)


def _image_v2(canvas: dict[str, Any]) -> dict[str, Any] | None:
    for annotation in objects(canvas.get("images")):
        for resource in objects(annotation.get("resource")):
            if kind_of(resource) == "oa:Choice":
                choices = [*objects(resource.get("default")), *objects(resource.get("item"))]
                return choices[0] if choices else None
            return resource
    return None


def _image_v3(canvas: dict[str, Any]) -> dict[str, Any] | None:
    for page in objects(canvas.get("items")):
        for annotation in objects(page.get("items")):
            if annotation.get("motivation") not in ("painting", ["painting"], None):
                continue
            for body in objects(annotation.get("body")):
                found = objects(body.get("items"))[:1] if kind_of(body) == "Choice" else [body]
                found = [
                    o for item in found for o in (objects(item.get("source")) or [item])
                ]  # SpecificResource
                if found and kind_of(found[0]) in ("Image", ""):
                    return found[0]
    return None


def _image_service(body: dict[str, Any]) -> tuple[str, int]:
    """Address and version of the Image API of an image; ("", 0) without one."""
    best: tuple[str, int] = ("", 0)
    for service in objects(body.get("service")):
        signs = (
            f"{kind_of(service)} {service.get('@context')} {service.get('profile')} {service.get('protocol')}"
        )
        version = _image_version(signs)
        if id_of(service) and (version or "iiif.io/api/image" in signs) and version >= best[1]:
            best = (id_of(service), version)
    return best


def _image_version(signs: str) -> int:
    for version, marks in (
        (3, ("ImageService3", "api/image/3")),
        (2, ("ImageService2", "api/image/2", "image/2/")),
        (1, ("ImageService1", "image-api/1", "image-api/compliance")),
    ):
        if any(mark in signs for mark in marks):
            return version
    return 2 if any(f"level{level}" in signs for level in "012") else 0


# -- the image ----------------------------------------------------------------------------------------------------


def _fetch(page: Canvas, shop: Workshop) -> Path:
    """The file of a canvas's image: by the Image API at a bounded size, else as the manifest names it."""
    limits = shop.policy.limits
    kind = Kind.iiif_image(limits)
    failure: FetchError | None = None
    for url in _addresses(page, shop):
        try:
            return shop.fetch(url, kind, "iiif_image")
        except FetchError as error:
            if not error.answer:
                raise
            failure = failure or error
    raise failure or FetchError(page.image, "no image behind it", "check the manifest")


def _addresses(page: Canvas, shop: Workshop) -> list[str]:
    if not page.service:
        return [page.image]
    limits = shop.policy.limits
    info: Any = None
    url = f"{page.service}/info.json"
    try:
        path = shop.fetch(
            url, Kind(limits.json_bytes, limits.json_s, page=True, trusted_age_s=limits.trusted_age_s), "info"
        )
        info = parse_json(path.read_bytes(), url, limits)
    except FetchError as error:
        if not error.answer:
            raise
    urls = image_addresses(page.service, page.version, info, limits)
    if page.image != page.service:
        urls.append(page.image)
    return list(dict.fromkeys(urls))


def image_addresses(service: str, version: int, info: Any, limits: Limits) -> list[str]:
    """Requests to an Image API for the whole picture, at most `limits.iiif_long_side` long, the best one first.

    `info`: the parsed info.json, None without. The server's own limits (maxWidth, maxHeight, maxArea) and its list
    of sizes are kept to; level 0 servers know no other sizes.
    """
    facts = info if isinstance(info, dict) else {}
    version = _image_version(f"{facts.get('@context')} {kind_of(facts)}") or version or 2
    whole = "max" if version >= 3 else "full"
    quality = "native" if version == 1 else "default"
    sizes = []
    width, height = _number(facts.get("width")), _number(facts.get("height"))
    if width and height:
        scale = _scale(width, height, facts, limits)
        if scale < 1:
            sizes.append(_size(width, height, scale, version, facts))
    sizes += [whole, "full" if whole == "max" else "max"]
    return [
        f"{service}/full/{size}/0/{quality}.jpg" for size in dict.fromkeys(size for size in sizes if size)
    ]


def _scale(width: int, height: int, facts: dict[str, Any], limits: Limits) -> float:
    profile = facts.get("profile")
    extra = [
        facts,
        *(item for item in (profile if isinstance(profile, list) else []) if isinstance(item, dict)),
    ]
    scale = min(
        1.0, limits.iiif_long_side / max(width, height), math.sqrt(limits.image_pixels / (width * height))
    )
    for source in extra:
        most_width = _number(source.get("maxWidth"))
        most_height = _number(source.get("maxHeight")) or most_width
        most_area = _number(source.get("maxArea"))
        if most_width:
            scale = min(scale, most_width / width)
        if most_height:
            scale = min(scale, most_height / height)
        if most_area:
            scale = min(scale, math.sqrt(most_area / (width * height)))
    return scale


def _size(width: int, height: int, scale: float, version: int, facts: dict[str, Any]) -> str:
    """The size part of a request for a smaller picture; "" where the server has none small enough."""
    wanted = (max(1, math.floor(width * scale)), max(1, math.floor(height * scale)))
    if "level0" in str(facts.get("profile")):
        offered = [
            (_number(size.get("width")), _number(size.get("height"))) for size in objects(facts.get("sizes"))
        ]
        fitting = [size for size in offered if 0 < size[0] <= wanted[0] and 0 < size[1] <= wanted[1]]
        if not fitting:
            return ""
        wanted = max(fitting)
    return f"{wanted[0]},{wanted[1]}" if version >= 3 else f"{wanted[0]},"


# -- values of any kind -------------------------------------------------------------------------------------------


def objects(value: Any) -> list[dict[str, Any]]:
    """The JSON objects in a value that may be one, a list of them, or anything else."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


def id_of(value: dict[str, Any]) -> str:
    found = value.get("id") or value.get("@id")
    return found if isinstance(found, str) else ""


def kind_of(value: dict[str, Any]) -> str:
    found = value.get("type") or value.get("@type")
    if isinstance(found, list):
        found = found[0] if found else ""
    return found if isinstance(found, str) else ""


def text_of(value: Any) -> str:
    """A label in any of its forms: text, {"@value": text}, {"en": [text]}, or a list of these. One line."""
    if isinstance(value, list):
        text = next((found for found in map(text_of, value) if found), "")
    elif isinstance(value, dict):
        inner = value.get("@value")
        text = (
            inner
            if isinstance(inner, str)
            else next((found for found in map(text_of, value.values()) if found), "")
        )
    else:
        text = str(value) if isinstance(value, str | int) else ""
    return " ".join(text.split())[:LABEL_LENGTH]


def _number(value: Any) -> int:
    """A positive whole number of reasonable size, else 0."""
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31 else 0


def _join(base: str, target: str) -> str:
    """An address in a manifest, which may be relative; "" for what cannot be one. Fragments are dropped."""
    if not target:
        return ""
    try:
        url = httpx.URL(base).join(target)
    except (httpx.InvalidURL, ValueError):
        return ""
    return str(url).split("#", 1)[0]
