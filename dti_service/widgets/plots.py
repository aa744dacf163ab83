"""Plots of a run as pictures inside HTML: no library, no script, and readable in a notebook that is not trusted yet."""

from __future__ import annotations

import base64
import csv
import html
from pathlib import Path

from dti_service.curations import Reading
from dti_service.curations.folders import prototype_of
from dti_service.events import EventLog
from dti_service.store import EVENTS, RESULTS
from dti_service.widgets import pictures
from dti_sprites.results.charts import HEIGHT, WIDTH, line_chart

HISTORY = "train_metrics.tsv"
MOST_BARS = 40
BAR = 24  # em, the longest one
FOOT = 6  # pixels below the axis, so that its name is not cut off
STYLE = (
    ".chart text{fill:#625c53;font:11px system-ui,sans-serif}.chart .grid{stroke:#dad5cc}"
    ".chart .line{fill:none;stroke:#1b5e7b;stroke-width:1.6;stroke-linejoin:round}.chart .end{fill:#1b5e7b}"
    ".chart .mark line{stroke:#8f877b;stroke-dasharray:3 4}"
)
PAPER = '<rect width="100%" height="100%" fill="#fff"/>'


def history(directory: Path) -> tuple[list[float], list[float]]:
    """Iterations and losses of a run, from its results, else from what it has told so far; empty before the first."""
    try:
        with (directory / RESULTS / HISTORY).open(encoding="utf-8", newline="") as file:
            rows = [(row.get("iteration"), row.get("loss")) for row in csv.DictReader(file, delimiter="\t")]
    except (OSError, ValueError):
        events = (event for _, event in EventLog(directory / EVENTS).read()[0])
        rows = [
            (event.get("iteration"), (event.get("values") or {}).get("loss"))
            for event in events
            if event.get("kind") == "metrics"
        ]
    points = [(float(x), float(y)) for x, y in rows if x not in (None, "") and y not in (None, "")]
    return [x for x, _ in points], [y for _, y in points]


def loss_html(directory: Path) -> str:
    """The loss over the iterations."""
    iterations, losses = history(directory)
    chart = line_chart(iterations, losses, "Loss over the iterations")
    if not chart:
        return pictures.box("Loss", "this run kept no curve", "")
    size = f'xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT + FOOT}"'
    whole = chart.replace(f'viewBox="0 0 {WIDTH} {HEIGHT}"', f'viewBox="0 0 {WIDTH} {HEIGHT + FOOT}"', 1)
    drawing = whole.replace("<svg", f"<svg {size}", 1).replace(">", f"><style>{STYLE}</style>{PAPER}", 1)
    words = f"Loss from {losses[0]:.4g} to {losses[-1]:.4g} over {iterations[-1]:.0f} iterations"
    picture = (
        f'<img alt="{words}" style="width:{WIDTH}px;max-width:100%"'
        f' src="data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}">'
    )
    return pictures.box("Loss", f"{losses[-1]:.4g} at the end, {iterations[-1]:.0f} iterations", picture)


def sizes_html(reading: Reading, directory: Path) -> str:
    """How many images each cluster has, the largest first, as bars beside the prototypes."""
    members = reading.members()
    clusters = sorted(reading.clusters.values(), key=lambda cluster: -len(members[cluster.id]))
    most = max((len(images) for images in members.values()), default=0) or 1
    rows = []
    for cluster in clusters[:MOST_BARS]:
        count = len(members[cluster.id])
        prototype = pictures.prototype(prototype_of(directory / RESULTS, cluster), 28)
        bar = f'<div style="background:#2f86ad;height:14px;width:{BAR * count / most:.2f}em"></div>'
        cells = (prototype, html.escape(cluster.name), bar, str(count))
        rows.append(pictures.row(cells))
    more = len(clusters) - len(rows)
    rest = f'<p style="{pictures.MUTED}">and {more} smaller ones</p>' if more > 0 else ""
    facts = f"{len(reading.images)} images in {len(reading.clusters)} clusters"
    return pictures.box(
        "Images in each cluster",
        facts,
        f'<table style="border-collapse:collapse">{"".join(rows)}</table>{rest}',
    )
