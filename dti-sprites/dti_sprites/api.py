"""The library in three names: `train` a model on images, look at the `Run`, `load_run` it again later."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from dti_sprites.config import DataConfig, RunConfig
from dti_sprites.data import ImageSet, check_enough, load_images
from dti_sprites.data.imageset import encode_labels
from dti_sprites.data.labels import read_labels
from dti_sprites.data.masks import read_masks
from dti_sprites.errors import DataError, TrainingStopped
from dti_sprites.evaluation.scenes import scene_metrics
from dti_sprites.models import build_model
from dti_sprites.results import layout
from dti_sprites.results.archive import pack
from dti_sprites.results.inference import Decomposition, infer_batches
from dti_sprites.results.limits import training_limits, within
from dti_sprites.results.members import layers_of
from dti_sprites.results.recorder import Recorder
from dti_sprites.results.reuse import check_reuse
from dti_sprites.results.scores import score
from dti_sprites.results.tables import Assignments, curves, read_assignments
from dti_sprites.results.tree import TrainingRecord, export
from dti_sprites.results.weights import load_weights, read_metadata
from dti_sprites.start import Start
from dti_sprites.training import Callback, FitResult, fit, resolve_device
from dti_sprites.training.checkpoint import load_checkpoint

PHASE_INTERVAL_S = 0.5


def train(
    config: RunConfig | Mapping[str, Any],
    images: Any,
    out: str | Path,
    labels: Any = None,
    callbacks: Sequence[Callback] = (),
    checkpoint_dir: str | Path | None = None,
    resume: bool = True,
    title: str | None = None,
    start: Start | None = None,
) -> Run:
    """Train on `images`, write the result tree into `out` and return the run.

    Args:
        config: what to train, a RunConfig or nested settings.
        images: a folder, an .npz file, paths, an array (N, H, W[, C]), a tensor (N, C, H, W), a PyTorch dataset
            or an ImageSet.
        out: folder of the results; an earlier tree there is replaced, other files stay.
        labels: known classes, only to measure accuracy: one per image, or the path of a CSV file (name, label).
        callbacks: told about the training as it goes on.
        checkpoint_dir: by default `checkpoint` beside a folder called `results`, else within `out`.
        title: heading of the report; by default the name of the folder of the images.
        start: prototypes to begin with, and images that belong to them (see `start_from_clusters`).
        resume: go on from the checkpoint if there is one; of a complete training only the export is redone.

    Raises:
        ConfigError, DataError: the settings or the images cannot be used, or a complete training of other settings
            or images lies in `checkpoint_dir`.
        TrainingStopped: a callback or Ctrl-C stopped it; results so far are in `out`, marked as partial.
        TrainingError: the loss is no longer a number.
    """
    if not isinstance(config, RunConfig):
        config = RunConfig.from_dict(config)
    out = Path(out)
    checkpoint = Path(checkpoint_dir) if checkpoint_dir is not None else layout.checkpoint_beside(out)

    image_set = load_images(images, config.data, progress=_phase("reading images", callbacks), labels=labels)
    check_enough(image_set, config)
    if start is not None and start.pins is not None:
        image_set = dataclasses.replace(image_set, pins=start.pins)
    if resume:
        check_reuse(checkpoint, config, image_set)
    model = build_model(config, image_set.channels, image_set.size)
    recorder = Recorder(checkpoint, resume)
    result = fit(
        model,
        image_set,
        config,
        checkpoint_dir=checkpoint,
        callbacks=[recorder, *callbacks],
        resume=resume,
        start=start,
    )
    if result.stopped and not _restore(model, checkpoint):
        raise TrainingStopped(result.iterations)  # before anything was learnt that could be shown
    record = TrainingRecord(
        curves=curves(result.history),
        events=recorder.events,
        film=recorder.film,
        iterations=result.iterations,
        epochs=result.epochs_done,
        duration_s=result.duration_s,
        loss=result.loss,
        images_per_s=_images_per_s(result, len(image_set), config.training.batch_size),
        partial=result.stopped,
    )
    progress = _phase("writing results", callbacks)
    assignments, metrics = export(model, image_set, config, out, record, progress, title)
    if result.stopped:
        raise TrainingStopped(result.iterations)
    return Run(out, config, assignments, metrics, model)


def _restore(model: Any, checkpoint_dir: Path) -> bool:
    """Give `model` the state of the checkpoint; after an interruption its own may be that of half a step."""
    checkpoint = load_checkpoint(checkpoint_dir)
    if checkpoint is None:
        return False
    model.load_state_dict(checkpoint.model)
    model.set_stage(checkpoint.state["stage"])
    return True


def _images_per_s(result: FitResult, n_images: int, batch_size: int) -> float | None:
    """Images per second of training, over all its sessions."""
    per_epoch = -(-n_images // min(batch_size, n_images))
    seen = result.epochs_done * n_images
    seen += max(0, result.iterations - result.epochs_done * per_epoch) * min(batch_size, n_images)
    return round(seen / result.duration_s, 2) if result.duration_s > 0 else None


def _phase(name: str, callbacks: Sequence[Callback]) -> Callable[[int, int], None]:
    """A counter that tells the callbacks of a phase as `on_event("phase", ...)`, twice a second and at its end."""
    told = time.monotonic()

    def count(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= PHASE_INTERVAL_S or done == total:
            told = now
            for callback in callbacks:
                callback.on_event("phase", name=name, done=done, total=total)

    return count


def load_run(path: str | Path, device: str = "auto") -> Run:
    """Open the results in `path`: a result tree, or the folder of a run or experiment that holds `results/`.

    Works wherever the folder was copied to. The model is loaded when it is first used, onto `device`.
    Raises FileNotFoundError (no results there), DataError (damaged).
    """
    out = layout.find_results(path)
    try:
        metrics = json.loads((out / layout.METRICS).read_text(encoding="utf-8"))
        assignments = read_assignments(out)
    except (OSError, ValueError) as error:
        raise DataError(f"{out}: the results are incomplete or damaged ({error})") from error
    return Run(out, read_metadata(out / layout.WEIGHTS)["config"], assignments, metrics, device=device)


@dataclass(frozen=True)
class Assignment:
    """What a trained model says about new images."""

    names: list[str]
    labels: np.ndarray  # (N,) int64, the cluster of each image
    distances: np.ndarray  # (N, K) float32, to the best fit of every prototype
    reconstructions: np.ndarray  # (N, H, W, C) uint8, the prototype of its cluster fitted to each image
    matrices: dict[str, np.ndarray]  # transformation -> (N, ...) parameters of that fit
    fits: np.ndarray  # (N,) bool, False for images further from their prototype than any was in training
    decomposition: Decomposition | None = None  # of a model with sprites: each image taken apart
    layers: np.ndarray | None = None  # (N, L) int64, with several layers: the sprite of each, -1 for none

    def table(self) -> Assignments:
        """As a table like the one of a run (`cluster_by_path.csv`)."""
        return Assignments(
            self.names, self.labels, self.distances, self.matrices, layers=self.layers, fits=self.fits
        )


class Run:
    """A finished run: its clusters, its figures and its model.

    labels: (N,) int64, the cluster of each image.
    distances: (N, K) float32, mean squared difference to the best fit of every prototype.
    prototypes: (K, H, W, C) float32 in [0, 1].
    names: N texts, unique.  metrics: figures by name.  config: the RunConfig.  out: the result tree.
    """

    def __init__(
        self,
        out: Path,
        config: RunConfig,
        assignments: Assignments,
        metrics: dict[str, Any],
        model: Any = None,
        device: str = "auto",
    ) -> None:
        self.out = out
        self.config = config
        self.assignments = assignments
        self.metrics = metrics
        self._device = device
        if model is not None:
            self.model = model.eval()

    @cached_property
    def model(self) -> Any:
        """The trained model, in eval mode."""
        return load_weights(self.out / layout.WEIGHTS, resolve_device(self._device))

    @property
    def labels(self) -> np.ndarray:
        return self.assignments.labels

    @property
    def distances(self) -> np.ndarray:
        return self.assignments.distances

    @property
    def names(self) -> list[str]:
        return self.assignments.names

    @cached_property
    def prototypes(self) -> np.ndarray:
        return self.prototype_images()["prototypes"]

    def prototype_images(self) -> dict[str, np.ndarray]:
        """Everything learnt that can be shown, each (K, H, W, C) float32 in [0, 1]: prototypes, masks, ..."""
        with torch.no_grad():
            pictures = self.model.prototype_images()
        return {name: stack.float().cpu().permute(0, 2, 3, 1).numpy() for name, stack in pictures.items()}

    def images(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """(n, H, W, C) uint8: images as the model saw them, all or those of `indices`, from the result tree.

        Where transparency counted it is the last channel. Raises FileNotFoundError when a file is missing.
        """
        return self._read(layout.raw, indices)

    def reconstructions(self, indices: Sequence[int] | None = None) -> np.ndarray:
        """(n, H, W, C) uint8: the prototype of its cluster as fitted to each image.

        Read from the result tree, or computed again where the run did not keep them.
        """
        try:
            return self._read(layout.transformed, indices)
        except FileNotFoundError:
            return self.assign(self._as_image_set(self.images(indices))).reconstructions

    @cached_property
    def limits(self) -> np.ndarray:
        """(K,) how far from each prototype its images were in training, at most: beyond it, an image fits nowhere.

        A prototype with too few images to say (fewer than 10) takes the largest distance of all images.
        """
        if "limits" in self.metrics:  # results of `assign_into`: those of the training count
            return np.array(self.metrics["limits"], dtype=np.float64)
        return training_limits(self.assignments)

    def assign(self, images: Any, batch_size: int | None = None) -> Assignment:
        """Assign new images (anything that `train` takes) to the prototypes of this run. Raises DataError."""
        image_set = self.load_new(images)
        batches = list(infer_batches(self.model, image_set, batch_size or self.config.training.batch_size))
        parts = [batch.decomposition for batch in batches if batch.decomposition is not None]
        labels = np.concatenate([batch.labels for batch in batches])
        distances = np.concatenate([batch.distances for batch in batches])
        return Assignment(
            names=list(image_set.names),
            labels=labels,
            distances=distances,
            reconstructions=np.concatenate([batch.reconstructions for batch in batches]),
            matrices={
                name: np.concatenate([batch.matrices[name] for batch in batches])
                for name in batches[0].matrices
            },
            fits=within(distances[np.arange(len(labels)), labels], self.limits[labels]),
            decomposition=Decomposition.joined(parts) if parts else None,
            layers=layers_of([part.choices for part in parts], self.model.n_prototypes),
        )

    def assign_into(
        self,
        out: str | Path,
        images: Any,
        labels: Any = None,
        callbacks: Sequence[Callback] = (),
        title: str | None = None,
    ) -> Run:
        """Assign new images and write a result tree like that of a training into `out`; returns it as a run.

        `images` as for `train`, or from `load_new`; `labels`: known classes, only to measure accuracy. `metrics`
        has `unfit`, the number of images that fit nowhere; the table says which. Raises DataError.
        """
        image_set = self.load_new(images)
        if labels is not None:
            image_set = load_images(image_set, self.new_data, labels=labels)
        out = Path(out)
        progress = _phase("labelling images", callbacks)
        assignments, metrics = export(
            self.model, image_set, self.config, out, TrainingRecord(), progress, title, self.limits
        )
        return Run(out, self.config, assignments, metrics, self.model)

    @property
    def new_data(self) -> DataConfig:
        """How new images are brought to the size and channels of the model."""
        channels, size = self._shape
        return dataclasses.replace(
            self.config.data, image_size=size, channels="grey" if channels == 1 else "rgb"
        )

    def load_new(
        self,
        images: Any,
        unreadable: Literal["error", "skip"] | None = None,
        sources: Mapping[str, Mapping[str, Any]] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> ImageSet:
        """New images as the model takes them.

        unreadable: what to do about files that cannot be read (default: as in the run). sources: where images come
        from (document, page ...), by their names; it goes through to the tables. Raises DataError.
        """
        data = self.new_data
        if unreadable is not None:
            data = dataclasses.replace(data, unreadable=unreadable)
        found = load_images(images, data, progress=_phase("reading images", callbacks))
        if not sources:
            return found
        return dataclasses.replace(found, sources=[dict(sources.get(name, {})) for name in found.names])

    def evaluate(self, labels: Any = None) -> dict[str, Any]:
        """{"accuracy", "nmi", "ari", "mean_class_accuracy", "n_labelled"} against known classes.

        `labels` is one per image (None, "" or negative: not known), a mapping from names, or the path of a CSV
        file with columns name and label; without it, those that the run was given. Raises DataError.
        """
        if labels is None:
            labels = self.assignments.known_labels
            if labels is None:
                raise DataError("labels: this run was trained without known labels; give them")
        elif isinstance(labels, (str, Path)):
            labels = read_labels(Path(labels), self.names)
        elif isinstance(labels, Mapping):
            labels = [labels.get(name) for name in self.names]
        if len(labels) != len(self.names):
            raise DataError(f"labels: {len(labels)} given for {len(self.names)} images")
        encoded, _ = encode_labels(labels)
        figures = score(encoded, self.labels, self.assignments.n_clusters)
        if not figures:
            raise DataError("labels: none of the images has a known label")
        return figures

    def evaluate_masks(
        self, images: Any, masks: str | Path | None = None, classes: str | Path | None = None
    ) -> dict[str, float]:
        """How well the model (of kind sprites) decomposes `images`, given as to `train`: `scene_metrics` of all.

        `masks` and `classes` are folders with a picture for each image, of the same name, whose values number its
        objects, or the classes of its pixels; 0 is the background. Raises DataError.
        """
        image_set = load_images(images, self.new_data)
        truth = {
            name: read_masks(Path(folder), image_set, self.new_data)
            for name, folder in (("instance", masks), ("semantic", classes))
            if folder is not None
        }
        known = dataclasses.replace(image_set, masks={**image_set.masks, **truth})
        return scene_metrics(self.model, known, n_images=None)

    def export(self, to: str | Path | None = None) -> Path:
        """Pack the result tree as a zip file (default: beside the tree, named after it) and return its path."""
        target = Path(to) if to is not None else self.out.with_name(f"{self.out.name}.zip")
        return pack(self.out, target)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        sizes = self.assignments.sizes
        return f"Run({str(self.out)!r}: {len(self)} images, {(sizes > 0).sum()} of {len(sizes)} prototypes in use)"

    @cached_property
    def _shape(self) -> tuple[int, tuple[int, int]]:
        known = read_metadata(self.out / layout.WEIGHTS)
        return known["channels"], known["image_size"]

    def _as_image_set(self, pictures: np.ndarray) -> ImageSet:
        channels, _ = self._shape
        planes = torch.from_numpy(np.moveaxis(pictures, -1, 1).copy())
        return ImageSet(
            images=planes[:, :channels],
            alpha=planes[:, channels:] if planes.shape[1] > channels else None,
            names=[f"{i:06d}" for i in range(len(planes))],
        )

    def _read(self, name: Any, indices: Sequence[int] | None) -> np.ndarray:
        pictures = []
        for i in range(len(self)) if indices is None else indices:
            expected = name(int(self.labels[i]), int(i))
            path = layout.existing(self.out, expected)
            if path is None:
                raise FileNotFoundError(f"{self.out / expected} is missing from the results")
            with Image.open(path) as image:
                pixels = np.asarray(image)
            pictures.append(pixels if pixels.ndim == 3 else pixels[..., None])
        return np.stack(pictures)
