"""sweep.html: the curves of a sweep, its table and its advice, on one page without script or request."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from dti_sprites.results.charts import ticks

if TYPE_CHECKING:
    from dti_sprites.choose.sweeping import Sweep

WIDTH, HEIGHT = 560, 210
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 34
_STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #777; --line: #2a6f97; --paper: #fff; --grid: #ddd;
  --mark: #b5651d }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --soft: #999; --line: #7cc0e8; --paper: #1b1b1b; --grid: #383838; --mark: #e0a060 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
svg { max-width: 100%; height: auto } svg text { fill: var(--soft); font-size: 11px }
svg .grid { stroke: var(--grid) } svg .line { fill: none; stroke: var(--line); stroke-width: 2 }
svg .dot { fill: var(--line); fill-opacity: .45 } svg .best { fill: var(--line) }
svg .mark { stroke: var(--mark); stroke-dasharray: 4 3 }
table { border-collapse: collapse }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid var(--grid) }
tr.suggested td { font-weight: 600 } .advice { font-size: 1.1rem }
figure { display: inline-block; margin: 0 1rem 1rem 0; width: 560px; max-width: 100% } figcaption { font-weight: 600 }
"""


def render(found: Sweep) -> str:
    """The page as text."""
    rows = found.rows
    ks = [row.n_prototypes for row in rows]
    trials = [(trial.n_prototypes, trial.loss) for row in rows for trial in row.trials]
    used = [(trial.n_prototypes, float(trial.used)) for row in rows for trial in row.trials]
    stable = [(row.n_prototypes, row.stability) for row in rows if row.stability is not None]
    figures = [
        _figure(
            "Loss: line through the lowest of each K", ks, [row.best_loss for row in rows], trials, found
        ),
        _figure("Clusters in use (mean of the seeds)", ks, [row.used for row in rows], used, found),
    ]
    if stable:
        title = "Stability: agreement of the seeds (ARI, 1 is the same clusters)"
        figures.append(
            _figure(title, [k for k, _ in stable], [float(value) for _, value in stable], [], found)
        )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>How many prototypes?</title>
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>{_STYLE}</style></head><body>
<h1>How many prototypes?</h1>
<p class="advice">{escape(found.advice.text)}</p>
{"".join(figures)}
{_table(found)}
</body></html>
"""


def _figure(
    title: str, x: Sequence[float], y: Sequence[float], dots: Sequence[tuple[float, float]], found: Sweep
) -> str:
    chart = line_with_dots(x, y, dots, title, mark=found.advice.suggested)
    return f"<figure><figcaption>{escape(title)}</figcaption>{chart}</figure>"


def line_with_dots(
    x: Sequence[float],
    y: Sequence[float],
    dots: Sequence[tuple[float, float]],
    label: str,
    mark: float | None = None,
) -> str:
    """SVG of a line through (x, y), single measurements as `dots`, and a vertical line at `mark`."""
    values = [value for value in [*y, *(value for _, value in dots)] if math.isfinite(value)]
    if not values:
        return ""
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high = low - margin, high + margin
    left, right = (min(x), max(x)) if max(x) > min(x) else (min(x) - 1, max(x) + 1)

    def px(value: float) -> float:
        return LEFT + (value - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def py(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for value in ticks(low, high, 4):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(value):.1f}" y2="{py(value):.1f}"/>'
            f'<text x="{LEFT - 7}" y="{py(value) + 3.5:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    for value in x:
        parts.append(
            f'<text x="{px(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
        )
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">number of prototypes K</text>'
    )
    if mark is not None and left <= mark <= right:
        parts.append(
            f'<line class="mark" x1="{px(mark):.1f}" x2="{px(mark):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        )
    path = "L".join(f"{px(a):.1f} {py(b):.1f}" for a, b in zip(x, y) if math.isfinite(b))
    parts.append(f'<path class="line" d="M{path}"/>')
    parts += [
        f'<circle class="dot" cx="{px(a):.1f}" cy="{py(b):.1f}" r="3.5"><title>{b:.5g}</title></circle>'
        for a, b in dots
        if math.isfinite(b)
    ]
    parts += [f'<circle class="best" cx="{px(a):.1f}" cy="{py(b):.1f}" r="3"/>' for a, b in zip(x, y)]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _table(found: Sweep) -> str:
    rows = [row.row() for row in found.rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = []
    for row in rows:
        chosen = ' class="suggested"' if row["n_prototypes"] == found.advice.suggested else ""
        body.append(f"<tr{chosen}>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in names)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
