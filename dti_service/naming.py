"""What an experiment is called when nobody named it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

LONGEST = 120


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
