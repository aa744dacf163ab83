"""What a file is, by its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def sniff(path: Path) -> Literal["zip", "pdf", "json", "image"]:
    """The kind of a file; whatever is none of the others is left for the decoder to judge as an image."""
    with path.open("rb") as stream:
        head = stream.read(1024)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if b"%PDF-" in head:
        return "pdf"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return "json"
    return "image"
