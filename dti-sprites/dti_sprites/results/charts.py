"""Curves as inline SVG: no script, no font and no request; colours come from the page's variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 14, 30
MAX_POINTS = 400


def cluster_hue(k: int) -> float:
    """In degrees; neighbours differ by the golden angle."""
    return (k * 137.508 + 205) % 360


def cluster_color(k: int) -> str:
    """A calm hue for cluster `k`."""
    return f"hsl({cluster_hue(k):.0f} 42% 54%)"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values within [low, high]."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = magnitude * next(factor for factor in (1, 2, 2.5, 5, 10) if rough <= factor * magnitude * 1.0001)
    first = math.ceil(low / step - 1e-9) * step
    return [first + i * step for i in range(int((high - first) / step + 1e-9) + 1)]


def thin(length: int, points: int = MAX_POINTS) -> np.ndarray:
    """Indices of at most `points` points of a curve of that length, ends included."""
    if length <= points:
        return np.arange(length)
    return np.unique(np.linspace(0, length - 1, points).round().astype(int))


class _Frame:
    """Maps data to pixels and draws axes."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x0, self.x1 = x if x[1] > x[0] else (x[0] - 0.5, x[0] + 0.5)
        self.y0, self.y1 = y if y[1] > y[0] else (y[0] - 0.5, y[0] + 0.5)

    def px(self, x: np.ndarray | float) -> np.ndarray | float:
        return _LEFT + (x - self.x0) / (self.x1 - self.x0) * (WIDTH - _LEFT - _RIGHT)

    def py(self, y: np.ndarray | float) -> np.ndarray | float:
        return HEIGHT - _BOTTOM - (y - self.y0) / (self.y1 - self.y0) * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, x_label: str) -> str:
        parts = []
        for value in ticks(self.y0, self.y1, 4):
            y = self.py(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{value:.4g}</text>')
        for value in ticks(self.x0, self.x1, 6):
            x = self.px(value)
            parts.append(
                f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 15}" text-anchor="middle">{value:,.4g}</text>'
                if value < 1e4
                else f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 15}" text-anchor="middle">{value / 1e3:g}k</text>'
            )
        parts.append(
            f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 3}" text-anchor="end" class="axis">{escape(x_label)}</text>'
        )
        return "".join(parts)

    def marks(self, marks: Sequence[tuple[float, str]]) -> str:
        parts = []
        for position, label in marks:
            if self.x0 <= position <= self.x1:
                x = self.px(position)
                parts.append(
                    f'<g class="mark"><line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
                    f"<title>{escape(label)}</title></g>"
                )
        return "".join(parts)

    def path(self, x: np.ndarray, y: np.ndarray) -> str:
        points = zip(np.asarray(self.px(x)), np.asarray(self.py(y)))
        return "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)


def _svg(label: str, content: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{content}</svg>"
    )


def line_chart(
    x: Sequence[float],
    y: Sequence[float],
    label: str,
    x_label: str = "iteration",
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """One curve; `marks` are vertical lines (position, text shown on hover). Empty text without points.

    The vertical axis leaves out the first twentieth of the points where they would flatten the rest.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    finite = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[finite], ys[finite]
    if not len(xs):
        return ""
    keep = thin(len(xs))
    xs, ys = xs[keep], ys[keep]
    settled = ys[len(ys) // 20 :]
    low, high = float(settled.min()), float(settled.max())
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    low = max(0.0, low - margin) if low >= 0 else low - margin
    frame = _Frame((float(xs[0]), float(xs[-1])), (low, high + margin))
    curve = frame.path(xs, ys.clip(low, high + margin))
    dot = f'<circle class="end" cx="{frame.px(xs[-1]):.1f}" cy="{frame.py(ys[-1]):.1f}" r="3"/>'
    return _svg(label, f'{frame.axes(x_label)}{frame.marks(marks)}<path class="line" d="{curve}"/>{dot}')


def area_chart(
    x: Sequence[float],
    shares: np.ndarray,
    names: Sequence[str],
    label: str,
    x_label: str = "iteration",
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Shares (T, K) that sum to 1 at each x, stacked; hovering names the cluster."""
    xs, ys = np.asarray(x, dtype=float), np.nan_to_num(np.asarray(shares, dtype=float))
    if len(xs) < 2 or not ys.size:
        return ""
    keep = thin(len(xs), min(MAX_POINTS, max(24, 16_000 // ys.shape[1])))
    xs, ys = xs[keep], ys[keep]
    total = ys.sum(1, keepdims=True)
    upper = np.cumsum(ys / np.where(total > 0, total, 1.0), axis=1)
    frame = _Frame((float(xs[0]), float(xs[-1])), (0.0, 1.0))
    lower = np.zeros(len(xs))
    parts = []
    for k, name in enumerate(names):
        there = frame.path(xs, upper[:, k])
        back = frame.path(xs[::-1], lower[::-1])[1:]
        parts.append(
            f'<path class="area" style="fill:{cluster_color(k)}" d="{there}L{back}Z">'
            f"<title>{escape(name)}</title></path>"
        )
        lower = upper[:, k]
    return _svg(label, "".join(parts) + frame.axes(x_label) + frame.marks(marks))
