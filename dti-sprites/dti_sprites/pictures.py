"""Small composed pictures for notebooks and pages: contact sheets of images and of prototypes.

Arrays are uint8 or float in [0, 1], shaped (N, H, W), (N, H, W, C) with C of 1, 3 or 4; pictures are RGB `PIL.Image`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

MARGIN = 4
CAPTION = 14
PAPER, SLATE, INK = (255, 255, 255), (58, 62, 68), (60, 60, 60)
LIGHT = 0.6  # mean brightness from which something transparent is shown on slate instead of paper


def contact_sheet(
    images: np.ndarray | Sequence[np.ndarray],
    captions: Sequence[str] = (),
    *,
    size: int = 64,
    columns: int = 12,
) -> Image.Image:
    """Images in rows, each scaled to fit a square of `size` pixels, with a caption below if given.

    Raises ValueError when there is no image.
    """
    if len(images) == 0:
        raise ValueError("a contact sheet needs at least one image")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    step_x, step_y = size + MARGIN, size + MARGIN + (CAPTION if captions else 0)
    sheet = Image.new("RGB", (columns * step_x + MARGIN, rows * step_y + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        x, y = MARGIN + index % columns * step_x, MARGIN + index // columns * step_y
        tile = to_picture(image)
        # Small sprites are enlarged without smoothing: their pixels are what was learnt.
        scale = size / max(tile.size)
        shape = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
        tile = tile.resize(shape, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
        sheet.paste(tile, (x + (size - tile.width) // 2, y + (size - tile.height) // 2))
        if captions:
            draw.text(
                (x + size // 2, y + size + 1), str(captions[index]), fill=INK, anchor="ma", font_size=10
            )
    return sheet


def to_picture(image: np.ndarray) -> Image.Image:
    """One image (H, W) or (H, W, 1 to 4) as RGB; transparency is laid on paper, what is light itself on slate."""
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8:
        pixels = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    picture = Image.fromarray(pixels)
    if picture.mode in ("LA", "RGBA"):
        return on_ground(picture, SLATE if is_light(pixels) else PAPER)
    return picture.convert("RGB")


def on_ground(picture: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    """A picture with transparency as RGB on a uniform ground."""
    canvas = Image.new("RGBA", picture.size, (*ground, 255))
    return Image.alpha_composite(canvas, picture.convert("RGBA")).convert("RGB")


def is_light(pixels: np.ndarray) -> bool:
    """Whether what shows of (..., 2 or 4) uint8 pixels, transparency last, would be lost on white paper."""
    values = pixels[..., :-1].astype(np.float32).mean(-1) / 255
    opacity = pixels[..., -1].astype(np.float32)
    return bool((values * opacity).sum() > LIGHT * opacity.sum())


def prototypes_sheet(run: object, *, size: int = 96, columns: int = 10) -> Image.Image:
    """The prototypes of a finished run, largest cluster first, with their sizes."""
    learned = run.prototype_images()  # type: ignore[attr-defined]
    prototypes = learned.get("masked_prototypes", learned["prototypes"])
    sizes = np.bincount(np.asarray(run.labels), minlength=len(prototypes))  # type: ignore[attr-defined]
    # Images in which no sprite shows have a cluster, but no prototype.
    order = np.argsort(-sizes[: len(prototypes)], kind="stable")
    captions = [f"{k}: {sizes[k]}" for k in order]
    return contact_sheet(prototypes[order], captions, size=size, columns=columns)


def parts_sheets(run: object, *, size: int = 96) -> Iterator[tuple[str, Image.Image]]:
    """A title and a picture for each of what sprites are made of: colours, masks, backgrounds. None without sprites."""
    learned = run.prototype_images()  # type: ignore[attr-defined]
    if "masks" not in learned:
        return
    sizes = np.bincount(np.asarray(run.labels), minlength=len(learned["masks"]))  # type: ignore[attr-defined]
    order = np.argsort(-sizes[: len(learned["masks"])], kind="stable")
    yield (
        "colours",
        contact_sheet(learned["prototypes"][order], [str(k) for k in order], size=size, columns=10),
    )
    yield "masks", contact_sheet(learned["masks"][order], [str(k) for k in order], size=size, columns=10)
    if "backgrounds" in learned:
        yield "backgrounds", contact_sheet(learned["backgrounds"], size=size, columns=10)


def layers_sheet(run: object, *, images: int = 8, size: int = 80) -> Image.Image | None:
    """Typical images of a run with sprites, one in a row: the image, recomposed, its background, its layers, and which
    pixels belong to which sprite. None where the run kept no layers.
    """
    from dti_sprites.results.decompositions import read_decomposition
    from dti_sprites.results.report_sprites import typical

    out, config, assignments = run.out, run.config, run.assignments  # type: ignore[attr-defined]
    order = np.argsort(-assignments.sizes, kind="stable")
    tiles: list[np.ndarray] = []
    captions: list[str] = []
    for i in typical(assignments, order, images):
        found = read_decomposition(out, config.model.sprites.n_layers, i)
        if found is None:
            return None
        shown: list[tuple[str, np.ndarray]] = [
            ("image", run.images([i])[0]),  # type: ignore[attr-defined]
            ("recomposed", run.reconstructions([i])[0]),  # type: ignore[attr-defined]
        ]
        shown += [("background", np.asarray(found.background))] if found.background else []
        shown += [(f"layer {n}", np.asarray(layer)) for n, layer in enumerate(found.layers, start=1)]
        shown += [("by sprite", np.asarray(found.semantic))]
        captions += [name for name, _ in shown]
        tiles += [tile for _, tile in shown]
        columns = len(shown)
    return contact_sheet(tiles, captions, size=size, columns=columns) if tiles else None


def unfit_sheet(run: object, *, images: int = 48) -> Image.Image | None:
    """Of images that were assigned to a finished model, those that fit nowhere, the furthest first;
    None when all fit."""
    assignments = run.assignments  # type: ignore[attr-defined]
    if assignments.fits is None or assignments.fits.all():
        return None
    unfit = np.flatnonzero(~assignments.fits)
    unfit = unfit[np.argsort(-assignments.best[unfit], kind="stable")][:images]
    captions = [f"{assignments.best[i]:.4f}" for i in unfit]
    return contact_sheet(run.images(unfit.tolist()), captions)  # type: ignore[attr-defined]


def members_sheets(run: object, *, clusters: int = 6, members: int = 14) -> Iterator[tuple[str, Image.Image]]:
    """A title and a picture for each of the largest clusters: its best-fitting images, with their distances."""
    labels, distances = np.asarray(run.labels), np.asarray(run.distances)  # type: ignore[attr-defined]
    best = distances[np.arange(len(labels)), labels]
    sizes = np.bincount(labels, minlength=distances.shape[1])
    for k in np.argsort(-sizes, kind="stable")[:clusters]:
        chosen = np.flatnonzero(labels == k)
        chosen = chosen[np.argsort(best[chosen], kind="stable")][:members]
        if len(chosen):
            images = run.images(chosen.tolist())  # type: ignore[attr-defined]
            captions = [f"{best[i]:.4f}" for i in chosen]
            yield f"motif {k}: {sizes[k]} images", contact_sheet(images, captions, columns=members)
