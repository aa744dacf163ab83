"""HTML as the result of a cell, with a text for where there is none."""

from __future__ import annotations


class Shown:
    """What a notebook shows: `html` where it can be, `text` elsewhere."""

    def __init__(self, html: str, text: str) -> None:
        self.html, self.text = html, text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text
