"""A demo: images that look alike, whatever their position, colours or shape in detail, by the model of a finished run.

It is written as any package may write its own (see `docs/adding-a-demo.md`): a manifest, a notebook, a route and a
renderer.
"""

from __future__ import annotations

from pathlib import Path

from dti_service import __version__
from dti_service.demos import Demo

_HERE = Path(__file__).parent

DEMO = Demo(
    "similarity_search",
    _HERE / "notebooks" / "similarity_search.ipynb",
    "Similarity search",
    description="Images that look alike, by the model of a finished run",
    version=__version__,
    handlers="dti_service.similarity.handlers",
    static=_HERE / "static",
    renderer="similarity.js",
)
