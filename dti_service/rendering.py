"""An executed notebook as a page to read."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from dti_service.errors import Conflict, NotFound, TooLarge

MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Page:
    html: str
    modified: datetime
    etag: str


def notebook_html(path: Path) -> Page:
    """The notebook at `path` as HTML without scripts; the last few pages are remembered.

    `NotFound` when there is none, `TooLarge` above 64 MiB, `Conflict` when it is no notebook.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise NotFound("The notebook has not started yet") from error
    if status.st_size > MOST_BYTES:
        raise TooLarge("The notebook is too large to be shown as a page; download it instead")
    return _render(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8)
def _render(path: Path, modified_ns: int, size: int) -> Page:
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        html, _ = _exporter().from_notebook_node(notebook)
    except FileNotFoundError as error:
        raise NotFound("The notebook is no longer there") from error
    except (ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        raise Conflict("The executed file is not a notebook that can be shown") from error
    modified = datetime.fromtimestamp(modified_ns // 10**9, UTC)
    version = hashlib.sha256(f"{path}\0{modified_ns}\0{size}".encode()).hexdigest()[:24]
    return Page(html, modified, f'"{version}"')


@functools.cache
def _exporter() -> Any:
    # Loaded when first needed: it takes a second, which no start of the server should wait for.
    from nbconvert import HTMLExporter

    # The page is shown without scripts, so those that the template would load from elsewhere are not named.
    return HTMLExporter(
        template_name="lab",
        embed_images=True,
        require_js_url="",
        mathjax_url="",
        jquery_url="",
        mermaid_js_url="",
    )
