"""Writes the result tree of a run: one pass of the model feeds the pictures, the tables and the report."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dti_sprites.config import RunConfig
from dti_sprites.results import layout
from dti_sprites.results.decompositions import reader
from dti_sprites.results.files import UNDECODABLE, dump_json, staged
from dti_sprites.results.images import ImageWriter, to_uint8
from dti_sprites.results.limits import within
from dti_sprites.results.members import suffix_of, write_members
from dti_sprites.results.overview import render_overview
from dti_sprites.results.provenance import environment
from dti_sprites.results.report import ReportContent, render
from dti_sprites.results.scores import score
from dti_sprites.results.snapshots import Snapshots, write_animation
from dti_sprites.results.tables import (
    Assignments,
    common_root,
    curves_tsv,
    originals,
    write_assignments,
)
from dti_sprites.results.weights import save_weights

# Figures that say nothing where nothing was trained.
_OF_TRAINING = {"training_loss", "iterations", "epochs", "duration_s", "images_per_s", "partial"}
_BARE_NAMES = {"images", "image", "img", "input", "data", "train", "dataset", "datasets", "crops", "tmp"}
_IDENTIFIER = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}")  # a UUID or another long number


@dataclass
class TrainingRecord:
    """What the training leaves besides the model; all empty for images that a finished model is applied to."""

    curves: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # columns of train_metrics.tsv
    events: Sequence[Mapping[str, Any]] = ()
    film: Snapshots = field(default_factory=Snapshots)
    iterations: int = 0
    epochs: int = 0
    duration_s: float = 0.0
    loss: float | None = None  # of the last epoch, while the model was still changing
    images_per_s: float | None = None
    partial: bool = False  # stopped before the last epoch


def export(
    model: Any,
    images: Any,
    config: RunConfig,
    out: Path,
    training: TrainingRecord,
    progress: Callable[[int, int], None] | None = None,
    title: str | None = None,
    limits: np.ndarray | None = None,
) -> tuple[Assignments, dict[str, Any]]:
    """Write the tree into `out` (replacing an earlier one as a whole); returns the table and the metrics.

    `images` is the ImageSet that was trained on, or another one that the finished model is applied to: then
    `limits` (K,) are the distances up to which an image counts as fitting. `progress(done, total)` counts
    images; `title` heads the report (default: the folder of the images).
    """
    started = time.perf_counter()
    pictures = {
        name: to_uint8(values.float().cpu().numpy()) for name, values in model.prototype_images().items()
    }
    with staged(out) as folder:
        with ImageWriter(folder) as writer:
            assignments = write_members(writer, model, images, config, progress)
            if limits is not None:
                assignments.fits = within(assignments.best, limits[assignments.labels])
            for name in {"prototypes", "masked_prototypes"} & pictures.keys():
                pictures[name] = one_per_cluster(pictures[name], assignments.n_clusters)
            for name, stack in pictures.items():
                for k, picture in enumerate(stack):
                    writer.write(layout.learned_image(name, k), picture)
            if config.results.animation and len(training.film) > 1:
                for k in range(training.film.frames[0].shape[0]):
                    frames = [frame[k] for frame in training.film.frames]
                    target = layout.animation(k)
                    writer.submit(target, functools.partial(write_animation, folder / target, frames))
        metrics = run_metrics(assignments, training, images.labels)
        # Without the cluster of images that show none.
        metrics["n_prototypes"] = model.n_prototypes
        metrics["used_clusters"] = int((assignments.sizes[: model.n_prototypes] > 0).sum())
        if assignments.fits is not None and limits is not None:
            metrics = {name: value for name, value in metrics.items() if name not in _OF_TRAINING}
            metrics |= {"unfit": int((~assignments.fits).sum()), "limits": limits.tolist()}
        facts = environment(str(next(model.parameters()).device), config.training.seed)
        root = common_root(images.paths)
        _, channels, height, width = images.images.shape
        save_weights(folder / layout.WEIGHTS, model, config, channels, (height, width))
        write_assignments(folder, assignments)
        shown = "masked_prototypes" if "masked_prototypes" in pictures else "prototypes"
        content = ReportContent(
            assignments=assignments,
            prototypes=pictures[shown],
            masks=pictures.get("masks"),
            backgrounds=pictures.get("backgrounds"),
            decomposed=reader(folder, config.model.sprites.n_layers),
            picture=functools.partial(_open, folder, assignments, layout.raw),
            fitted=functools.partial(_open, folder, assignments, layout.transformed),
            title=title
            or title_of(root, "DTI-Sprites" if config.model.kind == "sprites" else "DTI clustering"),
            metrics=metrics,
            config=config.to_dict(),
            environment=facts,
            history=training.curves,
            events=training.events,
            film=training.film,
            skipped=images.skipped,
        )
        texts = {
            layout.CONFIG: config.to_yaml(),
            layout.HISTORY: curves_tsv(training.curves),
            layout.ORIGINALS: dump_json(
                originals(images.names, images.paths, images.original_sizes, root), indent=None
            ),
            layout.ENVIRONMENT: dump_json({**facts, "skipped": images.skipped}),
            layout.OVERVIEW: render_overview(assignments, shown, suffix_of(config)),
        }
        if config.results.report:
            texts[layout.REPORT] = render(content)
        metrics["export_s"] = round(time.perf_counter() - started, 3)
        texts[layout.METRICS] = dump_json(metrics)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", errors=UNDECODABLE)
    return assignments, metrics


def one_per_cluster(pictures: np.ndarray, n_clusters: int) -> np.ndarray:
    """(K, h, w, C) with blank pictures added: viewers need one for every cluster, also for "no sprite at all"."""
    missing = n_clusters - len(pictures)
    if missing <= 0:
        return pictures
    return np.concatenate([pictures, np.zeros((missing, *pictures.shape[1:]), np.uint8)])


def title_of(root: Path | None, otherwise: str = "DTI clustering") -> str:
    """A heading from the folder of the images: the nearest name that tells something, or `otherwise`."""
    for folder in (root, root.parent) if root is not None else ():
        if folder.name and folder.name.lower() not in _BARE_NAMES and not _IDENTIFIER.search(folder.name):
            return folder.name
    return otherwise


def _open(
    folder: Path, assignments: Assignments, name: Callable[[int, int], str], i: int
) -> Image.Image | None:
    path = layout.existing(folder, name(int(assignments.labels[i]), i))
    if path is None:
        return None
    with Image.open(path) as image:
        image.load()
        return image


def run_metrics(
    assignments: Assignments, training: TrainingRecord, labels: np.ndarray | None
) -> dict[str, Any]:
    """The figures of a run; with known `labels` (N,), -1 for unknown, also accuracy, nmi and ari."""
    sizes = assignments.sizes
    metrics: dict[str, Any] = {
        "loss": float(assignments.best.mean(dtype=np.float64)),
        "n_images": len(assignments),
        "n_prototypes": assignments.n_clusters,
        "used_clusters": int((sizes > 0).sum()),
        "cluster_sizes": sizes.tolist(),
        "training_loss": training.loss,
        "iterations": training.iterations,
        "epochs": training.epochs,
        "duration_s": round(training.duration_s, 3),
        "images_per_s": training.images_per_s,
        "partial": training.partial,
    }
    if labels is not None:
        metrics.update(score(labels, assignments.labels, assignments.n_clusters))
    return metrics
