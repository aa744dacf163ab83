"""The parts of the report that only sprites have: masks and backgrounds, and images taken apart into layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from PIL import Image

from dti_sprites.results.charts import cluster_color
from dti_sprites.results.decompositions import Pictures
from dti_sprites.results.images import data_uri, look, to_pil
from dti_sprites.results.tables import Assignments

IMAGES_SHOWN = 16
MASKS_SHOWN = 60
_THUMBNAIL = 96


def parts_section(
    prototypes: np.ndarray, masks: np.ndarray | None, backgrounds: np.ndarray | None, order: np.ndarray
) -> str:
    """Colours and mask of each sprite (K, h, w, C), in `order`, and the backgrounds (M, H, W, C)."""
    parts = []
    if masks is not None:
        chosen = [int(k) for k in order if k < len(masks)][:MASKS_SHOWN]
        items = "".join(
            f'<li><div class="pair">{_img(prototypes[k][..., :-1], f"Colours of sprite {k}")}'
            f"{_img(masks[k], f'Mask of sprite {k}')}</div>Sprite {k}</li>"
            for k in chosen
        )
        hint = "What each sprite is made of: its colours, and its mask (white: opaque)."
        parts.append(f'<p class="hint">{hint}</p><ul class="parts">{items}</ul>')
    if backgrounds is not None and len(backgrounds):
        items = "".join(
            f'<li><div class="pair">{_img(picture, f"Background {m}")}</div>Background {m}</li>'
            for m, picture in enumerate(backgrounds)
        )
        parts.append(f'<p class="hint">What lies behind all layers.</p><ul class="parts">{items}</ul>')
    return "".join(parts)


def decompositions_section(
    assignments: Assignments,
    order: np.ndarray,
    picture: Callable[[int], Image.Image | None],
    fitted: Callable[[int], Image.Image | None],
    decomposed: Callable[[int], Pictures | None],
) -> str:
    """Some images beside their reconstruction, layers and label maps; "" where they were not kept."""
    items = []
    for i in typical(assignments, order, IMAGES_SHOWN):
        found = decomposed(i)
        if found is None:
            continue
        name = assignments.names[i]
        figures = [_figure(picture(i), escape(name), name), _figure(fitted(i), "recomposed")]
        figures.append(_figure(found.background, "background"))
        figures += [
            _figure(layer, _sprite(assignments, i, number)) for number, layer in enumerate(found.layers)
        ]
        figures.append(_figure(found.semantic, "by sprite"))
        if len(found.layers) > 1:
            figures.append(_figure(found.instance, "by layer"))
        items.append(f"<li>{''.join(figures)}</li>")
    if not items:
        return ""
    hint = (
        "Typical images of the most frequent sprites, taken apart into background and layers. The last pictures show "
        "which pixels belong to which sprite" + (", and to which layer." if _several(assignments) else ".")
    )
    return f'<p class="hint">{hint}</p><ol class="layered">{"".join(items)}</ol>'


def _several(assignments: Assignments) -> bool:
    return assignments.layers is not None


def typical(assignments: Assignments, order: Sequence[int] | np.ndarray, count: int) -> list[int]:
    """At most `count` images: of each cluster in turn those in the middle of its range of distances."""
    queues = []
    for k in order:
        members = np.flatnonzero(assignments.labels == k)
        members = members[np.argsort(assignments.best[members], kind="stable")]
        middle = np.argsort(np.abs(np.arange(len(members)) - len(members) // 2), kind="stable")
        if len(members):
            queues.append([int(i) for i in members[middle]])
    chosen: list[int] = []
    while queues and len(chosen) < count:
        chosen += [queue.pop(0) for queue in queues]
        queues = [queue for queue in queues if queue]
    return chosen[:count]


def _sprite(assignments: Assignments, i: int, layer: int) -> str:
    k = int(assignments.labels[i] if assignments.layers is None else assignments.layers[i, layer])
    if k < 0:
        return "shows nothing"
    return f'<i class="dot" style="background:{cluster_color(k)}"></i>sprite {k}'


def _figure(image: Image.Image | None, caption: str, alt: str | None = None) -> str:
    """`caption` is HTML; `alt` the text for it, if that is another."""
    if image is None:
        return ""
    text = alt if alt is not None else re.sub("<[^>]*>", "", caption)
    return f"<figure>{_tag(image, text)}<figcaption>{caption}</figcaption></figure>"


def _img(pixels: np.ndarray, alt: str) -> str:
    return _tag(to_pil(np.ascontiguousarray(pixels)), alt)


def _tag(image: Image.Image, alt: str) -> str:
    names = look(image)
    attribute = f' class="{names}"' if names else ""
    return f'<img{attribute} src="{data_uri(image, _THUMBNAIL)}" alt="{escape(alt)}" title="{escape(alt)}">'
