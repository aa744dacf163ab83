"""What a notebook shows where no live view can be: plain HTML that stays readable in the file, without scripts."""

from __future__ import annotations

import base64
import contextlib
import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from dti_service.curations import RAW, Reading, read_reading
from dti_service.curations.folders import picture_of, prototype_of
from dti_service.errors import InvalidRequest, NotFound
from dti_service.experiment import Experiment
from dti_service.store import LIVE, RESULTS
from dti_service.thumbnails import small_picture

CLUSTERS, MEMBERS = 12, 9  # shown of a result
PROTOTYPE, MEMBER = 64, 48  # pixels
BOX = "font:14px/1.45 system-ui,sans-serif;max-width:62em"
MUTED = "opacity:.75"  # in any theme
GROUND = "background:#8f877b"  # behind what is transparent, light or dark
STATES = {"succeeded": "finished", "cancelled": "given up"}


def result_html(experiment: Experiment, directory: Path, reading: str | None = None) -> str:
    """The largest clusters of a result: prototype, size, and the images that fit best. `reading`: as curated by a
    person, by default as the run left it. An experiment without results shows how far it is instead."""
    try:
        found = read_reading(directory, reading or RAW)
    except (NotFound, ValueError, OSError):
        return progress_html(experiment, directory)
    members = found.members()
    shown = sorted(found.clusters.values(), key=lambda cluster: -len(members[cluster.id]))
    rows = [
        _cluster(found, cluster, members[cluster.id], directory)
        for cluster in shown[:CLUSTERS]
        if members[cluster.id]
    ]
    left = sum(bool(members[cluster.id]) for cluster in shown) - len(rows)
    more = f'<p style="{MUTED}">and {left} more cluster{"s" * (left > 1)}</p>' if left > 0 else ""
    facts = f"{len(found.images)} images in {len(found.clusters)} clusters"
    if reading:
        facts += f", as curated in “{found.title}”" + (f" by {found.author}" if found.author else "")
    return box(
        experiment.name, facts, f'<table style="border-collapse:collapse">{"".join(rows)}</table>{more}'
    )


def progress_html(experiment: Experiment, directory: Path, progress: Mapping[str, Any] | None = None) -> str:
    """How far a run is: its state, a bar, and the prototypes as they form."""
    parts = []
    total = (progress or {}).get("total") or 0
    step = (progress or {}).get("step") or 0
    words = STATES.get(experiment.state, experiment.state)
    if experiment.state == "running" and total:
        parts.append(
            f'<progress value="{100 * step / total:.1f}" max="100" style="width:24em" aria-label="progress"></progress>'
        )
        words += f", {step} of {total} {html.escape(str((progress or {}).get('unit') or 'steps'))}"
    if experiment.error:
        parts.append(f"<p>{html.escape(str(experiment.error.get('message') or ''))}</p>")
    live = sorted((directory / LIVE).glob("*prototypes-*.png"), key=lambda path: path.stat().st_mtime)
    if live and experiment.state != "succeeded":
        parts.append(image(live[-1], 384, "prototypes as they form"))
    return box(experiment.name, words, "".join(parts))


def list_html(items: Iterable[Mapping[str, Any]], total: int) -> str:
    """Experiments as a table: name, state, images, clusters, when."""
    rows = []
    for item in items:
        metrics, parameters = item.get("metrics") or {}, item.get("parameters") or {}
        clusters = metrics.get("n_clusters", metrics.get("n_prototypes", parameters.get("n_prototypes", "")))
        state = STATES.get(str(item["state"]), item["state"])
        rows.append(
            (item.get("name"), state, metrics.get("n_images", ""), clusters, day(item.get("created_at")))
        )
    head = ("Experiment", "State", "Images", "Clusters", "Begun")
    return box(
        "Experiments", f"{total} in all" if total else "none yet", table_html(head, rows) if rows else ""
    )


def facts_html(title: str, facts: Iterable[tuple[str, str]], parameters: Mapping[str, Any]) -> str:
    """What an experiment is, one fact a line, with its parameters folded below."""
    lines = "".join(row((f'<span style="{MUTED}">{html.escape(a)}</span>', html.escape(b))) for a, b in facts)
    given = "".join(row((html.escape(name), html.escape(str(value)))) for name, value in parameters.items())
    folded = f"<details><summary>Parameters</summary><table>{given}</table></details>" if given else ""
    return box(title, "", f'<table style="border-collapse:collapse">{lines}</table>{folded}')


def table_html(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table of texts; a value that has `_repr_html_` is put in as it is."""
    body = "".join(row(cell(value) for value in values) for values in rows)
    names = "".join(f'<th style="text-align:left">{html.escape(name)}</th>' for name in head)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def cell(value: Any) -> str:
    """A value as HTML."""
    return value._repr_html_() if hasattr(value, "_repr_html_") else html.escape(str(value))


def row(cells: Iterable[str]) -> str:
    """A row of a table from cells of HTML."""
    style = "text-align:left;vertical-align:middle;padding:2px 10px 2px 0"
    return "<tr>" + "".join(f'<td style="{style}">{content}</td>' for content in cells) + "</tr>"


def number(value: Any) -> str:
    """A figure as people read it: "0.8319", "1797"; "" for what is not given."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def form_html(notebooks: Iterable[Mapping[str, Any]]) -> str:
    """In the place of the form that starts experiments: what can be started, and how without a form."""
    items = "".join(
        f"<li><code>dti submit {html.escape(str(item['name']))}</code>: {html.escape(str(item['title']))}</li>"
        for item in notebooks
        if "error" not in item
    )
    return box(
        "New experiment", "the form appears where the notebook is open; from a terminal:", f"<ul>{items}</ul>"
    )


def _cluster(reading: Reading, cluster: Any, images: list[Any], directory: Path) -> str:
    results = directory / RESULTS
    pictures = [image(picture_of(results, one), MEMBER, one.path) for one in images[:MEMBERS]]
    more = f'<span style="{MUTED}">+{len(images) - MEMBERS}</span>' if len(images) > MEMBERS else ""
    count = f"{len(images)} image{'s' * (len(images) != 1)}"
    name = f'<strong>{html.escape(cluster.name)}</strong><br><span style="{MUTED}">{count}</span>'
    cells = (prototype(prototype_of(results, cluster), PROTOTYPE), name, "".join(pictures) + more)
    return row(cells)


def image(path: Path | BinaryIO | None, size: int, label: str, *, style: str = "") -> str:
    """An <img> that holds its picture, as large as `size` pixels allow; "" for one that cannot be shown."""
    if path is None:
        return ""
    with contextlib.suppress(OSError, InvalidRequest):
        data = base64.b64encode(small_picture(path, size)).decode()
        words = html.escape(label, quote=True)
        shape = f"display:inline-block;width:{size}px;height:{size}px;object-fit:contain;margin:1px;{style}"
        return f'<img alt="{words}" title="{words}" style="{shape}" src="data:image/webp;base64,{data}">'
    return ""


def prototype(path: Path | BinaryIO | None, size: int) -> str:
    """The picture of a prototype on a ground that shows what is light and what is dark in it."""
    return image(path, size, "prototype", style=GROUND)


def box(title: str, facts: str, content: str) -> str:
    """A titled part of a notebook; `content` is HTML, the rest is text."""
    head = f'<strong>{html.escape(title)}</strong> <span style="{MUTED}">{html.escape(facts)}</span>'
    return f'<div style="{BOX}"><p>{head}</p>{content}</div>'


def day(moment: Any) -> str:
    """A moment as in the records, to the minute."""
    return str(moment or "")[:16].replace("T", " ")
