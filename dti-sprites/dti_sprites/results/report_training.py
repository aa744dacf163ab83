"""The part of the report on how the training went: curves, and prototypes as they formed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from dti_sprites.results.charts import area_chart, line_chart, thin
from dti_sprites.results.images import data_uri, look, to_pil
from dti_sprites.results.snapshots import Snapshots

FILM_ROWS, FILM_COLUMNS = 16, 10
_THUMBNAIL = 64
_SHARE = re.compile(r"prop_clus(\d+)")


def training_section(
    history: Mapping[str, Sequence[Any]],
    events: Sequence[Mapping[str, Any]],
    film: Snapshots,
    order: np.ndarray,
) -> str:
    """Loss and shares over the iterations with the events marked, then the film; "" without any of them.

    `order` are the clusters, most frequent first.
    """
    iterations = history.get("iteration", ())
    marks = [(float(event["iteration"]), _describe(event)) for event in events if "iteration" in event]
    figures = []
    loss = line_chart(iterations, history.get("loss", ()), "Loss over iterations", marks=marks)
    if loss:
        figures.append(f"<figure><figcaption>Loss</figcaption>{loss}</figure>")
    shares = shares_of(history)
    if shares is not None:
        names = [f"cluster {k}" for k in range(shares.shape[1])]
        chart = area_chart(iterations, shares, names, "Share of each cluster over iterations", marks=marks)
        if chart:
            figures.append(
                f"<figure><figcaption>Share of the images in each cluster</figcaption>{chart}</figure>"
            )
    parts = []
    if figures:
        note = (
            "Dashed lines: changes of stage or learning rate, and prototypes that restarted." if marks else ""
        )
        parts.append(f'<p class="hint">{note}</p><div class="charts">{"".join(figures)}</div>')
    parts.append(_film(film, order))
    return "".join(parts)


def shares_of(history: Mapping[str, Sequence[Any]]) -> np.ndarray | None:
    """(T, K) shares from the columns `prop_clus0 ...` of the curves, or None."""
    columns = {int(match[1]): name for name in history if (match := _SHARE.fullmatch(name))}
    if not columns or sorted(columns) != list(range(len(columns))):
        return None
    return np.array([history[columns[k]] for k in range(len(columns))], dtype=float).T


def _describe(event: Mapping[str, Any]) -> str:
    details = ", ".join(
        f"{key} {value}" for key, value in event.items() if key not in ("kind", "iteration", "time")
    )
    return f"iteration {event['iteration']}: {event.get('kind', 'event')}" + (
        f" ({details})" if details else ""
    )


def _look(picture: np.ndarray) -> str:
    """The attribute for the frames of a prototype that ends as `picture` (h, w, C)."""
    names = look(to_pil(picture))
    return f' class="{names}"' if names else ""


def _film(film: Snapshots, order: np.ndarray) -> str:
    if len(film) < 2:
        return ""
    columns = thin(len(film), FILM_COLUMNS)
    rows = [int(k) for k in order if k < len(film.frames[0])][:FILM_ROWS]
    head = "".join(f'<th scope="col">{film.iterations[c]:,}</th>' for c in columns)
    body = "".join(
        f'<tr><th scope="row">{k}</th>'
        + "".join(
            f'<td><img{_look(film.frames[-1][k])} src="{data_uri(to_pil(film.frames[c][k]), _THUMBNAIL)}"'
            f' alt="{escape(f"Prototype {k} at iteration {film.iterations[c]}")}"></td>'
            for c in columns
        )
        + "</tr>"
        for k in rows
    )
    more = len(order) - len(rows)
    note = f" of the {len(rows)} most frequent clusters ({more} more are not shown)" if more > 0 else ""
    return (
        f'<h3 style="margin-top:22px">How the prototypes formed</h3><p class="hint">Prototypes{note} by iteration.</p>'
        f'<div class="scroll"><table class="film"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
