"""report.html: one page that tells what a run found, opens offline and can be sent to a colleague.

No script, no request to anywhere: pictures are `data:` addresses, curves inline SVG, and the page's own
policy (a Content-Security-Policy) forbids anything else. Every text that comes from outside is escaped.
The number of pictures is bounded, so the page stays small for any number of images; where images are
left out the page says how many.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dti_sprites.results.charts import cluster_color
from dti_sprites.results.decompositions import Pictures
from dti_sprites.results.images import data_uri, look, to_pil
from dti_sprites.results.report_sprites import decompositions_section, parts_section
from dti_sprites.results.report_tables import cross_table, facts, number, parameters, skipped_files
from dti_sprites.results.report_training import training_section
from dti_sprites.results.snapshots import Snapshots
from dti_sprites.results.tables import Assignments

MEMBERS_SHOWN = 480  # over all clusters
MEMBERS_MIN, MEMBERS_MAX = 8, 65  # in one cluster
ROW = 13  # members in a row of a wide screen
DOUBTFUL_SHOWN, UNFIT_SHOWN = 24, 52
DOUBTFUL_MARGIN = 0.25  # second best at most a third further away than the best
THUMBNAIL, PROTOTYPE = 80, 160  # pixels
MANY_PROTOTYPES = 60  # from here on prototypes are as small as members


@dataclass
class ReportContent:
    """What the page is made from.

    `picture(i)` and `fitted(i)` give image i as the model saw it, and its prototype as fitted to it
    (None where it was not kept), `decomposed(i)` its layers. `prototypes` are (K, H, W, C) uint8.
    """

    assignments: Assignments
    prototypes: np.ndarray
    picture: Callable[[int], Image.Image | None]
    fitted: Callable[[int], Image.Image | None] = lambda i: None
    title: str = "DTI clustering"
    metrics: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    film: Snapshots = field(default_factory=Snapshots)
    skipped: Sequence[tuple[str, str]] = ()
    masks: np.ndarray | None = None  # (K, h, w, 1) uint8, of sprites
    backgrounds: np.ndarray | None = None  # (M, H, W, C) uint8
    decomposed: Callable[[int], Pictures | None] = lambda i: None

    def name(self, k: int) -> str:
        """What cluster `k` is called; the one after all sprites holds images in which none of them shows."""
        return "No sprite" if self.masks is not None and k >= len(self.masks) else f"Cluster {k}"


def render(content: ReportContent) -> str:
    """The page as text."""
    order = np.argsort(-content.assignments.sizes, kind="stable")
    sections = [
        ("prototypes", "Prototypes", _prototypes(content, order)),
        ("parts", "Masks and backgrounds", _parts(content, order)),
        ("unfit", "Images that fit nowhere", _unfit(content)),
        ("clusters", "Clusters", _clusters(content, order)),
        ("layers", "Images in layers", _layers(content, order)),
        ("doubtful", "Doubtful images", _doubtful(content)),
        ("classes", "Known classes", _classes(content, order)),
        ("sources", "Sources", _sources(content, order)),
        ("training", "Training", training_section(content.history, content.events, content.film, order)),
        ("run", "Settings and environment", _settings(content)),
    ]
    shown = [(anchor, title, body) for anchor, title, body in sections if body]
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in shown)
    switch = ""
    if len(content.assignments) and content.fitted(0) is not None:
        switch = '<label class="switch"><input type="checkbox" id="fitted"> Show prototypes as fitted</label>'
    body = "".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title"><h2 id="{anchor}-title">{title}</h2>{inner}</section>'
        for anchor, title, inner in shown
    )
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(content.title)}</title><style>{style}</style></head><body>"
        f'<header class="top"><h1>{escape(content.title)}</h1>{_lead(content)}</header>'
        f'<nav aria-label="Sections"><div>{links}{switch}</div></nav>'
        f"<main>{body}</main><footer>{_footer(content)}</footer></body></html>\n"
    )


def _lead(content: ReportContent) -> str:
    metrics, assignments = content.metrics, content.assignments
    total = metrics.get("n_prototypes", assignments.n_clusters)
    used = int((assignments.sizes[:total] > 0).sum())
    parts = [
        f"{len(assignments):,} images",
        f"{total} prototypes" if used == total else f"{total} prototypes, {used} in use",
        f"mean distance {number(metrics.get('loss', assignments.best.mean()))}",
    ]
    parts += [
        f"{name} {metrics[key]:.1%}"
        for key, name in (("accuracy", "accuracy"), ("nmi", "NMI"), ("ari", "ARI"))
        if isinstance(metrics.get(key), float)
    ]
    notice = ""
    if metrics.get("partial"):
        notice = (
            f'<p class="notice">The training was stopped at iteration {metrics.get("iterations", 0):,}; '
            "this is the state that it had reached.</p>"
        )
    return f'<p class="lead">{escape(" · ".join(parts))}</p>{notice}'


def _footer(content: ReportContent) -> str:
    packages = content.environment.get("packages", {})
    library = packages.get("dti-sprites", "")
    return escape(
        f"Made by dti-sprites {library} on {content.environment.get('created_at', 'an unknown date')}"
    )


def _img(uri: str, alt: str, image: Image.Image, kind: str = "") -> str:
    names = " ".join(filter(None, (kind, look(image))))
    attribute = f' class="{names}"' if names else ""
    return f'<img{attribute} src="{uri}" alt="{escape(alt)}" title="{escape(alt)}">'


@functools.lru_cache(maxsize=4096)
def _prototype_uri(pixels: bytes, shape: tuple[int, ...], side: int) -> str:
    return data_uri(to_pil(np.frombuffer(pixels, np.uint8).reshape(shape)), side)


def _prototype_img(content: ReportContent, k: int, side: int = PROTOTYPE) -> str:
    pixels = np.ascontiguousarray(content.prototypes[k])
    if len(content.prototypes) > MANY_PROTOTYPES:
        side = THUMBNAIL
    uri = _prototype_uri(pixels.tobytes(), pixels.shape, side)
    return _img(uri, f"Prototype {k}", to_pil(pixels))


def _prototypes(content: ReportContent, order: np.ndarray) -> str:
    sizes = content.assignments.sizes
    largest = max(1, int(sizes.max(initial=1)))
    cards = []
    for k in map(int, order):
        inner = (
            f'{_prototype_img(content, k)}<div class="name"><span>{content.name(k)}</span>'
            f"<span>{sizes[k]:,}</span></div>"
            f'<div class="share"><i style="width:{sizes[k] / largest:.1%};background:{cluster_color(k)}"></i></div>'
        )
        cards.append(
            f'<a href="#cluster{k}" aria-label="Cluster {k}, {sizes[k]} images">{inner}</a>'
            if sizes[k]
            else f'<div class="empty" title="No image chose this prototype">{inner}</div>'
        )
    height, width = content.prototypes.shape[1:3]
    hint = "The motifs that were found, the most frequent first, with the number of images of each."
    if content.masks is not None:
        hint += " The pattern of squares is where a sprite is transparent."
    return f'<p class="hint">{hint}</p><div class="prototypes" style="--ratio:{width}/{height}">{"".join(cards)}</div>'


def _parts(content: ReportContent, order: np.ndarray) -> str:
    return parts_section(content.prototypes, content.masks, content.backgrounds, order)


def _layers(content: ReportContent, order: np.ndarray) -> str:
    return decompositions_section(
        content.assignments, order, content.picture, content.fitted, content.decomposed
    )


def _unfit(content: ReportContent) -> str:
    """Of images that a finished model was applied to: those that it does not know."""
    fits = content.assignments.fits
    if fits is None:
        return ""
    unfit = np.flatnonzero(~fits)
    if not len(unfit):
        return '<p class="hint">Every image lies as near to its prototype as images did in training.</p>'
    unfit = unfit[np.argsort(-content.assignments.best[unfit], kind="stable")]
    items = "".join(_member(content, int(i)) for i in unfit[:UNFIT_SHOWN])
    more = len(unfit) - UNFIT_SHOWN
    hint = (
        f"{len(unfit):,} of {len(fits):,} images lie further from their prototype than any image did in training"
        f"{f'; the {UNFIT_SHOWN} furthest are shown' if more > 0 else ''}."
    )
    return f'<p class="hint">{hint}</p><ol class="members">{items}</ol>'


def _clusters(content: ReportContent, order: np.ndarray) -> str:
    assignments = content.assignments
    used = [int(k) for k in order if assignments.sizes[k]]
    limit = min(MEMBERS_MAX, max(MEMBERS_MIN, MEMBERS_SHOWN // max(1, len(used))))
    limit -= limit % ROW if limit > ROW else 0  # whole rows on a wide screen
    # With very many clusters even the minimum is too much: the smallest ones then show no members.
    with_members = set(used[: max(1, 2 * MEMBERS_SHOWN // limit)])
    hint = "Images from the best fit to the worst, each with its distance to the prototype."
    if len(assignments) and content.fitted(0) is not None:
        hint += " The switch above shows the prototype as it was fitted to each image instead."
    rows = "".join(_cluster(content, k, limit if k in with_members else 0) for k in used)
    return f'<p class="hint">{hint}</p>{rows}'


def _cluster(content: ReportContent, k: int, limit: int) -> str:
    assignments = content.assignments
    members = np.flatnonzero(assignments.labels == k)
    members = members[np.argsort(assignments.best[members], kind="stable")]
    hidden = max(0, len(members) - limit)
    n_worst = limit // 3 - limit // 3 % ROW if limit >= 3 * ROW else limit // 3
    head = members[: limit - n_worst] if hidden else members
    tail = members[len(members) - n_worst :] if hidden else members[:0]
    items = [_member(content, int(i)) for i in head]
    if hidden:
        items.append(f'<li class="gap">{_hidden(hidden, len(tail))}</li>')
    items += [_member(content, int(i)) for i in tail]
    distances = assignments.best[members]
    rows = [("images", f"{len(members):,}"), ("mean", number(distances.mean()))]
    rows += [("worst", number(distances[-1]))]
    if assignments.known_labels is not None:
        known = [label for i in members if (label := assignments.known_labels[i]) is not None]
        if known:
            values, counts = np.unique(known, return_counts=True)
            rows.append(("mostly", f"{values[counts.argmax()]} ({counts.max() / len(known):.0%})"))
    table = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    height, width = content.prototypes.shape[1:3]
    return (
        f'<div class="cluster" id="cluster{k}"><div class="proto" style="--ratio:{width}/{height}">'
        f'<h3><i class="dot" style="background:{cluster_color(k)}"></i>{content.name(k)}</h3>'
        f'{_prototype_img(content, k)}<dl>{table}</dl></div><ol class="members">{"".join(items)}</ol></div>'
    )


def _hidden(count: int, worst: int) -> str:
    images = "image is" if count == 1 else "images are"
    return f"{count:,} {images} not shown{'; the worst fits follow' if worst else ''}"


def _member(content: ReportContent, i: int) -> str:
    name = content.assignments.names[i]
    image, fitted = content.picture(i), content.fitted(i)
    raw = _img(data_uri(image, THUMBNAIL), name, image, "raw" if fitted else "") if image else escape(name)
    fit = _img(data_uri(fitted, THUMBNAIL), f"prototype fitted to {name}", fitted, "fit") if fitted else ""
    labels = content.assignments.known_labels
    label = labels[i] if labels is not None else None
    tag = f' <b class="tag">{escape(label)}</b>' if label is not None else ""
    return f"<li>{raw}{fit}<span>{number(content.assignments.best[i])}{tag}</span></li>"


def _doubtful(content: ReportContent) -> str:
    assignments = content.assignments
    second, margin = assignments.runner_up()
    doubtful = np.flatnonzero(margin < DOUBTFUL_MARGIN)
    if assignments.n_clusters < 2 or not len(doubtful):
        return ""
    chosen = doubtful[np.argsort(margin[doubtful], kind="stable")][:DOUBTFUL_SHOWN]
    items = []
    for i in map(int, chosen):
        name, best, other = assignments.names[i], int(assignments.labels[i]), int(second[i])
        image = content.picture(i)
        picture = _img(data_uri(image, THUMBNAIL), name, image) if image else ""
        items.append(
            f'<li><div class="three"><figure>{picture}image</figure>'
            f"<figure>{_prototype_img(content, best, THUMBNAIL)}"
            f'<a href="#cluster{best}">cluster {best}</a><br>{number(assignments.best[i])}</figure>'
            f"<figure>{_prototype_img(content, other, THUMBNAIL)}"
            f"or {other}?<br>{number(assignments.distances[i, other])}</figure></div>"
            f'<p><span title="{escape(name)}">{escape(name)}</span><span>margin {margin[i]:.1%}</span></p></li>'
        )
    more = len(doubtful) - len(chosen)
    hint = (
        f"{len(doubtful):,} images lie almost as near to a second prototype (margin below {DOUBTFUL_MARGIN:.0%})"
        f"{f'; the {len(chosen)} nearest to call are shown, {more:,} are not' if more else ''}."
    )
    return f'<p class="hint">{hint}</p><ol class="doubtful">{"".join(items)}</ol>'


def _classes(content: ReportContent, order: np.ndarray) -> str:
    known = content.assignments.known_labels
    if known is None:
        return ""
    return _cross(content, order, known, "Images of each known class (columns) in each cluster (rows).")


def _sources(content: ReportContent, order: np.ndarray) -> str:
    sources = content.assignments.sources
    if sources is None:
        return ""
    documents: list[str | None] = [
        str(source["document"]) if source.get("document") else None for source in sources
    ]
    return _cross(content, order, documents, "Images of each document (columns) in each cluster (rows).")


def _cross(content: ReportContent, order: np.ndarray, groups: Sequence[str | None], hint: str) -> str:
    table = cross_table(content.assignments.labels, groups, map(int, order), content.assignments.sizes)
    return f'<p class="hint">{hint}</p>{table}' if table else ""


def _settings(content: ReportContent) -> str:
    figures = {key: value for key, value in content.metrics.items() if not isinstance(value, (list, dict))}
    blocks: Iterable[tuple[str, str]] = (
        ("Figures", facts(figures)),
        ("Parameters", parameters(content.config)),
        ("Environment", facts(content.environment)),
        (f"Files left out ({len(content.skipped):,})", skipped_files(content.skipped)),
    )
    return "".join(
        f"<details{' open' if i == 0 else ''}><summary>{title}</summary>{body}</details>"
        for i, (title, body) in enumerate(blocks)
        if body
    )
