"""A reading as W3C Web Annotations, one for each image whose source is known, for IIIF viewers and other tools.

https://www.w3.org/TR/annotation-model/; parts of pages as media fragments, https://www.w3.org/TR/media-frags/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dti_service.curations.table import Cluster, Image, Reading

CONTEXT = "http://www.w3.org/ns/anno.jsonld"


def annotation_page(
    reading: Reading, sources: Mapping[str, Mapping[str, Any]], address: str
) -> dict[str, Any]:
    """`sources`: for the path of an image, {src, page, label, crop: {box}} of its dataset; others are left out.

    `address` names this page; it need not be reachable.
    """
    items = [
        _annotation(reading, image, reading.clusters[reading.places[image.id]], source, address)
        for image in reading.images
        if (source := sources.get(image.path)) and source.get("src")
    ]
    return {
        "@context": CONTEXT,
        "id": address,
        "type": "AnnotationPage",
        "label": reading.title,
        "items": items,
    }


def _annotation(
    reading: Reading, image: Image, cluster: Cluster, source: Mapping[str, Any], address: str
) -> dict[str, Any]:
    own = reading.notes.get(image.id, {})
    bodies = [_body(cluster.name, "classifying"), *(_body(tag, "tagging") for tag in own.get("tags", []))]
    if own.get("note"):
        bodies.append(_body(own["note"], "commenting"))
    annotation: dict[str, Any] = {
        "id": f"{address}#image-{image.id}",
        "type": "Annotation",
        "motivation": "classifying",
        "body": bodies,
        "target": _target(source),
    }
    if reading.author:
        annotation["creator"] = {"type": "Person", "name": reading.author}
    if reading.updated_at:
        annotation["modified"] = reading.updated_at
    return annotation


def _body(text: str, purpose: str) -> dict[str, str]:
    return {"type": "TextualBody", "value": text, "purpose": purpose, "format": "text/plain"}


def _target(source: Mapping[str, Any]) -> str | dict[str, Any]:
    crop = source.get("crop")
    box: Iterable[float] | None = crop.get("box") if isinstance(crop, dict) else None
    if not box:
        return str(source["src"])
    x1, y1, x2, y2 = box
    numbers = ",".join(f"{100 * value:.4g}" for value in (x1, y1, x2 - x1, y2 - y1))
    selector = {
        "type": "FragmentSelector",
        "conformsTo": "http://www.w3.org/TR/media-frags/",
        "value": f"xywh=percent:{numbers}",
    }
    return {"type": "SpecificResource", "source": str(source["src"]), "selector": selector}
