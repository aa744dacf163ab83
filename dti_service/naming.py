"""What experiments and datasets are called when nobody named them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LONGEST = 120
GENERIC = ("manifest", "manifest.json", "info.json")  # what many addresses end with


def default_name(notebook: str, dataset: str | None) -> str:
    """As in "dti clustering: watermarks"."""
    title = Path(notebook).stem.replace("_", " ")
    images = images_name(dataset) if dataset else ""
    return f"{title}: {images}"[:LONGEST] if images else title[:LONGEST]


def images_name(dataset: str) -> str:
    """The last part of a path or address; JSON of documents has no name of its own."""
    text = dataset.strip()
    if text.startswith(("{", "[")):
        return "documents"
    if "://" in text:
        try:
            parts = urlsplit(text)
        except ValueError:
            return ""
        return Path(parts.path).name or parts.hostname or ""
    return Path(text).name


def documents_name(documents: Sequence[Mapping[str, Any]]) -> str:
    """The title of the only document of a dataset, such as a IIIF manifest has, else what its address ends with; ""
    for several, and for what has no address."""
    if len(documents) != 1:
        return ""
    [document] = documents
    src = str(document.get("src") or "")
    if document.get("title"):
        return str(document["title"])[:LONGEST]
    if "://" not in src:
        return ""
    try:
        parts = urlsplit(src)
    except ValueError:
        return ""
    names = [name for name in parts.path.split("/") if name and name.lower() not in GENERIC]
    return (names[-1] if names else parts.hostname or "")[:LONGEST]
