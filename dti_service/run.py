"""What a notebook uses to tell how its run is going: progress, metrics, pictures, files.

`current_run()` gives the run of this notebook. Under the service that is the experiment being executed; by hand or in
plain papermill it is a new experiment, owned by this process. Nothing here knows of HTTP, Redis or Jupyter servers:
a run only writes into its experiment directory.
"""

from __future__ import annotations

import glob
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dti_service import atomic
from dti_service.events import EventLog
from dti_service.ids import is_id
from dti_service.plain import plain

if TYPE_CHECKING:
    from dti_service.datasets.prepare import Resolved
    from dti_service.live import Display, TrainingCallback
    from dti_service.ownership import OwnRecord
    from dti_sprites import Run as Trained
    from dti_sprites import Start
    from dti_sprites.data import ImageSet

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 0.25
STOP_INTERVAL_S = 0.5
KEPT_PICTURES = 3  # of each live series: enough for a reader that is a little late

_current: Run | None = None


class Run:
    """One run in its experiment directory. A full disk or a broken display never stops a training."""

    def __init__(self, directory: Path, *, device: str = "auto", own: OwnRecord | None = None) -> None:
        self.directory = directory
        self.results = directory / "results"
        self.checkpoint = directory / "checkpoint"
        self.device = device
        self._own = own
        self._events = EventLog(directory / "events.jsonl")
        self._warned: set[str] = set()
        self._progress_at = 0.0
        self._stop_at = 0.0
        self._stop = False
        self._display: Display | None = None
        for folder in (self.results, self.checkpoint):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def data_dir(self) -> Path:
        """The data directory: DTI_DATA_DIR, by default `data` in the current folder."""
        return data_dir()

    @property
    def experiment_id(self) -> str | None:
        """The id of the experiment, unless its directory was chosen by hand."""
        return self.directory.name if is_id(self.directory.name) else None

    # What happens

    def progress(
        self,
        step: int,
        total: int,
        *,
        unit: str = "steps",
        eta_s: float | None = None,
        phase: str = "",
        images: int | None = None,
    ) -> None:
        """`step` of `total` units are done, with so many `images`. At most four a second are written, and the last."""
        now = time.monotonic()
        if step < total and now - self._progress_at < PROGRESS_INTERVAL_S:
            return
        self._progress_at = now
        self._event(
            "progress", step=step, total=total, unit=unit, eta_s=_rounded(eta_s), phase=phase, images=images
        )
        self._show(lambda display: display.progress(step, total, unit, eta_s, phase))

    def metrics(self, iteration: int, **values: float) -> None:
        """Points of the curves at `iteration`."""
        self._event("metrics", iteration=iteration, values=plain(values))

    def image(self, path: str, array: np.ndarray, caption: str = "", **details: Any) -> None:
        """Write a picture ((H, W) or (H, W, C), uint8 or float in [0, 1]) to `path` in the directory, and say so."""

        def write() -> None:
            import io

            from dti_sprites.pictures import to_picture

            buffer = io.BytesIO()
            to_picture(array).save(buffer, format="PNG", compress_level=1)
            target = self.directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(target, buffer.getvalue(), sync=False)

        if self._safely("picture", write):
            self._event("image", path=path, caption=caption, **details)

    def live_images(self, name: str, images: np.ndarray, iteration: int) -> None:
        """Show N images (N, H, W, C) as they are at `iteration`, in one picture; only the latest pictures are kept."""
        sheet, columns = tile(images)
        path = Path("live") / f"{name}-{iteration:08d}.png"
        height, width = images.shape[1:3]
        layout = {"count": len(images), "columns": columns, "width": width, "height": height}
        self.image(path.as_posix(), sheet, caption=name, iteration=iteration, name=name, tiles=layout)
        self._safely("picture", lambda: self._forget_old_pictures(name))
        self._show(lambda display: display.images(name, images))

    def _forget_old_pictures(self, name: str) -> None:
        """Also those of an earlier attempt; the numbers in their names have one length, so they sort by age."""
        pattern = f"{glob.escape(name)}-{'[0-9]' * 8}.png"
        for path in sorted((self.directory / "live").glob(pattern))[:-KEPT_PICTURES]:
            path.unlink(missing_ok=True)

    def artifact(self, path: Path) -> None:
        """A file in the directory is complete."""
        self._event("artifact", path=path.relative_to(self.directory).as_posix(), size=path.stat().st_size)

    def event(self, name: str, /, **data: Any) -> None:
        """Something worth noting, such as a new transformation becoming active."""
        self._event("event", name=name, **data)

    def log(self, text: str) -> None:
        self._event("log", stream="run", text=text)

    def warn(self, message: str) -> None:
        """Something that the person should know about the result."""
        self._event("warning", message=message)
        log.warning("%s", message)

    def should_stop(self) -> bool:
        """Was this run asked to stop? Looks at the disk at most twice a second."""
        now = time.monotonic()
        if not self._stop and now - self._stop_at >= STOP_INTERVAL_S:
            self._stop_at = now
            self._stop = any((self.directory / name).exists() for name in ("cancel.json", "stop.json"))
        return self._stop

    def callback(self) -> TrainingCallback:
        """A training callback of `dti_sprites` that reports to this run."""
        from dti_service.live import TrainingCallback

        self._display = None  # a view of its own, in the cell that trains
        return TrainingCallback(self)

    # Beginning and end

    def resolve_dataset(self, dataset: str) -> Resolved:
        """The local `folder` (or .npz file) of `dataset`: "sample", a path, a dataset's id, or an address; and the
        `sources` of its images. Raises GuardError when there is none.
        """
        from dti_service.dataset_paths import resolve

        return resolve(dataset, self)

    def finished(self, experiment: str) -> Trained:
        """The finished run to apply, with its model on this run's device: an experiment's id, or the path of its
        directory. Raises InvalidRequest (`dti_service.errors`) when there is none.
        """
        from dti_service.finished import open_finished

        return open_finished(experiment, self.data_dir / "experiments", self.device)

    def curated_start(
        self, start_from: str | None, images: ImageSet, *, prototypes: str = "free", members: str = "free"
    ) -> Start | None:
        """Where to begin when clusters exist already; None without `start_from`.

        start_from: an experiment's id, or "id/reading". prototypes: "free" or "fixed". members: "free", or "pinned"
        when images stay in their clusters. Raises InvalidRequest (`dti_service.errors`) when it cannot be used.
        """
        from dti_service.start_from import curated_start

        return curated_start(
            self.directory,
            self.data_dir / "experiments",
            start_from,
            images,
            fixed=prototypes == "fixed",
            pinned=members == "pinned",
        )

    def finish(self, metrics: Mapping[str, Any] | None = None) -> None:
        """The run has done its work; `metrics` join those in results/metrics.json."""
        path = self.results / "metrics.json"
        known = atomic.read_json(path) if path.exists() else {}
        merged = plain({**known, **(metrics or {})})
        atomic.write_json(path, merged)
        self._event("event", name="finished")
        self._show(lambda display: display.finished())
        if self._own is not None:
            if self._own.experiment.state in ("failed", "cancelled"):
                log.warning("This run has %s already: run the notebook again", self._own.experiment.state)
            self._own.end("succeeded", self._events, metrics=merged)

    def fail(self, kind: str, message: str) -> None:
        """The run cannot go on. Under the service the supervisor says so; here it matters for a run by hand."""
        if self._own is not None:
            self._own.end("failed", self._events, error={"kind": kind, "message": message, "cell": None})

    def cancel(self) -> None:
        """A run by hand is given up, for example because the notebook is run again from the top."""
        if self._own is not None:
            self._own.end("cancelled", self._events)

    @property
    def ended(self) -> bool:
        return self._own is not None and self._own.ended

    # Inside

    def _event(self, kind: str, /, **data: Any) -> None:
        self._safely("event", lambda: self._events.append(kind, **data))
        if self._own is not None:
            self._own.give_sign()

    def _safely(self, what: str, action: Callable[[], None]) -> bool:
        try:
            action()
        except OSError as error:
            if what not in self._warned:
                self._warned.add(what)
                log.warning("A %s of this run could not be written: %s", what, error)
            return False
        return True

    def _show(self, action: Callable[[Display], None]) -> None:
        from dti_service.live import Display

        try:
            if self._display is None:
                self._display = Display()
            action(self._display)
        except Exception as error:  # a display that fails must not end a training
            if "display" not in self._warned:
                self._warned.add("display")
                log.warning("The live view does not work: %s", error)


def current_run(
    experiment_dir: str | Path | None = None,
    notebook: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Run:
    """The run that this process belongs to.

    Under the service: the experiment that is being executed. Otherwise a new experiment in `experiment_dir`, by
    default in the data directory, which lasts until `finish`, `fail`, an error in a later cell, or the end of the
    process. Raises OSError when the directory cannot be written.
    """
    global _current
    directory = os.environ.get("DTI_EXPERIMENT_DIR")
    if directory and (not experiment_dir or Path(experiment_dir) == Path(directory)):
        if _current is None or _current.directory != Path(directory):
            _current = Run(Path(directory), device=os.environ.get("DTI_DEVICE", "auto"))
        return _current

    from dti_service.ownership import begin

    if _current is not None and not _current.ended:
        _current.cancel()
    own, folder = begin(data_dir(), experiment_dir, notebook or "notebook", dict(parameters or {}))
    _current = Run(folder, device=str((parameters or {}).get("device") or "auto"), own=own)
    own.watch_errors(_current)
    return _current


def data_dir() -> Path:
    """DTI_DATA_DIR, by default `data` in the current folder."""
    return Path(os.environ.get("DTI_DATA_DIR") or "data").expanduser().resolve()


def tile(images: np.ndarray) -> tuple[np.ndarray, int]:
    """N images (N, H, W, C) side by side in a nearly square grid, and its number of columns."""
    count, height, width, channels = images.shape
    columns = max(1, int(np.ceil(np.sqrt(count))))
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width, channels), images.dtype)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width, channels), columns


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
