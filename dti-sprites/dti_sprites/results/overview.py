"""clusters.html: every image of every cluster on one plain page, with links to the files beside it."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

import numpy as np

from dti_sprites.results import layout
from dti_sprites.results.report_tables import number
from dti_sprites.results.tables import Assignments

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 24px; max-width: 1320px; }
section { display: grid; grid-template-columns: 140px 1fr; gap: 20px; border-top: 1px solid #8884; padding: 16px 0; }
h2 { font-size: 1rem; margin: 0 0 6px; }
ol { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 8px; }
li img { width: 72px; height: 72px; object-fit: contain; }
li span { display: block; font-size: 0.72rem; opacity: 0.7; }
section > div > img { width: 128px; }
img { border-radius: 4px; display: block; }
"""


def render_overview(assignments: Assignments, prototype_folder: str, suffix: str) -> str:
    """The page: per cluster its prototype and its images, best fit first.

    `prototype_folder` is the learned set that is shown ("prototypes" or "masked_prototypes"), `suffix`
    that of the images of clusters.
    """
    parts = []
    for k, size in enumerate(assignments.sizes):
        members = np.flatnonzero(assignments.labels == k)
        members = members[np.argsort(assignments.best[members], kind="stable")]
        items = "".join(_item(assignments, k, int(i), suffix) for i in members)
        prototype = quote(layout.learned_image(prototype_folder, k))
        parts.append(
            f'<section id="cluster{k}"><div><h2>Cluster {k}, {size:,} images</h2>'
            f'<img src="{prototype}" alt="Prototype {k}"></div><ol>{items}</ol></section>'
        )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Clusters</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{len(assignments):,} images in {assignments.n_clusters} clusters</h1>"
        f"{''.join(parts)}</body></html>\n"
    )


def _item(assignments: Assignments, k: int, i: int, suffix: str) -> str:
    name = escape(assignments.names[i])
    address = quote(layout.raw(k, i, suffix))
    return (
        f'<li><img loading="lazy" src="{address}" alt="{name}" title="{name}">'
        f"<span>{number(assignments.best[i])}</span></li>"
    )
