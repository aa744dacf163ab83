"""The ratio of step to encoder as a picture: SVG that stands alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 760, 250, 60, 40, 11, 12
LIBRARY, REFERENCE, MARK, INK, GRID = "#2f6f8f", "#c9b18a", "#b3402e", "#333", "#ddd"


def ratio_plot(rows: Sequence[dict[str, Any]]) -> str:
    """Two bars for each row, the step of the library and that of the reference over the encoder, and the mark."""
    shown = [value for row in rows for value in (row["ratio"], row["reference_ratio"]) if value is not None]
    top = 2.0 ** math.ceil(math.log2(max([2.0, *shown])))
    scale = (WIDTH - LEFT - RIGHT) / math.log2(2.0 * top)  # from 1/2
    height = TOP + len(rows) * (2 * BAR + GAP) + 8

    def x(value: float) -> float:
        return LEFT + scale * max(0.0, math.log2(2.0 * value))

    parts = []
    for power in range(int(math.log2(top)) + 1):
        at = x(2.0**power)
        parts.append(_line(at, TOP - 6, height - 6, GRID))
        parts.append(_text(at, TOP - 10, f"{2**power}", "middle"))
    for i, row in enumerate(rows):
        y = TOP + i * (2 * BAR + GAP)
        parts.append(_text(LEFT - 8, y + BAR + 4, f"{row['case']} {row['variant']}".strip(), "end"))
        for offset, value, colour in ((0, row["ratio"], LIBRARY), (BAR, row["reference_ratio"], REFERENCE)):
            if value is not None:
                width = x(value) - LEFT
                parts.append(
                    f'<rect x="{LEFT}" y="{y + offset}" width="{width:.1f}" height="{BAR - 1}" fill="{colour}"/>'
                )
                parts.append(_text(LEFT + width + 4, y + offset + BAR - 2, f"{value:.2f}", "start"))
        if row["mark"] is not None:
            parts.append(_line(x(row["mark"]), y - 2, y + BAR + 1, MARK, 2))
    content = "".join(parts)
    title = "Step / encoder alone: the library (dark), the plain reference (light), the mark (red)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}" font-family="sans-serif" font-size="11" fill="{INK}">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>{_text(LEFT, 14, title, "start")}{content}</svg>\n'
    )


def _line(x: float, y0: float, y1: float, colour: str, width: int = 1) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y0}" y2="{y1}" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
