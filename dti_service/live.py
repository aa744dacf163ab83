"""The live view of a run in its notebook, and the callback that feeds it while the library trains."""

from __future__ import annotations

import base64
import html
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dti_service.cell_views import MIME, view
from dti_service.ownership import _ipython

if TYPE_CHECKING:
    from dti_service.run import Run

REFRESH_S = 1.0
SHOWN = ("", "prototypes", "masked_prototypes")  # the later, the better
TILE = 72  # pixels of an image in the live view


class Display:
    """One output of the current cell, refreshed in place: a bar, and the latest prototypes.

    Plain HTML with a text fallback: the saved notebook keeps the last state without widgets or JavaScript. Where the
    run is an experiment, the output says so too, and JupyterLab shows the page's own view of it instead.
    """

    def __init__(self) -> None:
        self._view: dict[str, Any] | None = None
        self._handle: Any = None
        self._live = _ipython() is not None
        self._bar = ""
        self._text = ""
        self._picture = ""
        self._rank = 0
        self._shown_at = 0.0
        self._begun = time.monotonic()

    def follow(self, run: Run) -> None:
        """Let JupyterLab show the page's view of the run from now on."""
        self._view = _view_of(run)

    def progress(self, step: int, total: int, unit: str, eta_s: float | None, phase: str) -> None:
        share = 100 * step / total if total else 0
        left = f", about {_minutes(eta_s)} left" if eta_s is not None and step < total else ""
        elapsed = _minutes(time.monotonic() - self._begun)
        self._text = f"{phase or 'running'}: {step} of {total} {unit}, {elapsed} elapsed{left}"
        self._bar = (
            f'<progress value="{share:.1f}" max="100" style="width:24em" aria-label="progress"></progress>'
            f"<div>{html.escape(self._text)}</div>"
        )
        self._refresh(final=step >= total)

    def images(self, name: str, images: np.ndarray) -> None:
        # Of several sets the one that tells most: sprites cut out, rather than masks or backgrounds.
        rank = SHOWN.index(name) if name in SHOWN else 0
        self._rank = max(self._rank, rank)
        if not self._live or rank < self._rank:
            return
        from dti_sprites.pictures import contact_sheet

        buffer = io.BytesIO()
        contact_sheet(images, size=TILE, columns=10).save(buffer, format="PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        self._picture = f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">'
        self._refresh()

    def finished(self) -> None:
        self._refresh(final=True)

    def _refresh(self, final: bool = False) -> None:
        now = time.monotonic()
        if not self._live or (not final and now - self._shown_at < REFRESH_S):
            return
        self._shown_at = now
        from IPython.display import display

        content: dict[str, Any] = {
            "text/html": f"<div>{self._bar}{self._picture}</div>",
            "text/plain": self._text,
        }
        if self._view is not None:
            content[MIME] = self._view
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


class TrainingCallback:
    """Hands what `dti_sprites` says while it trains to a run; has the methods of `dti_sprites.training.Callback`."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.images: int | None = None

    def on_start(self, info: Any) -> None:
        self.images = info.n_images
        self.run._show(lambda display: display.follow(self.run))
        if info.start_iteration:
            self.run.event("resumed", iteration=info.start_iteration)

    def on_progress(self, progress: Any) -> None:
        phase = f"training, epoch {min(progress.epoch + 1, progress.epochs)} of {progress.epochs}"
        self.run.progress(
            progress.iteration,
            progress.total_iterations,
            unit="iterations",
            eta_s=progress.eta_s,
            phase=phase,
            images=self.images,
        )

    def on_metrics(self, iteration: int, metrics: Mapping[str, float]) -> None:
        self.run.metrics(iteration, **metrics)

    def on_prototypes(self, iteration: int, images: Mapping[str, np.ndarray]) -> None:
        for name, pictures in images.items():
            if len(pictures):
                self.run.live_images(name, np.asarray(pictures), iteration)

    def on_event(self, kind: str, **data: Any) -> None:
        if kind == "phase":  # reading images, writing results: long enough to be shown as progress
            self.run.progress(data["done"], data["total"], unit="images", phase=data["name"])
        else:
            self.run.event(kind, **data)

    def on_checkpoint(self, path: Path, iteration: int) -> None:
        self.run._event("checkpoint", iteration=iteration)

    def should_stop(self) -> bool:
        return self.run.should_stop()

    def on_end(self, result: Any) -> None:
        self.run.event("training_ended", iteration=result.iterations, stopped=result.stopped)


def _view_of(run: Run) -> dict[str, Any] | None:
    """The page's view of a run; None for one in a directory that no server looks at."""
    experiments = run.directory.parent
    if run.experiment_id is None or experiments.name != "experiments":
        return None
    return view("progress", f"#/e/{run.experiment_id}", experiments.parent, run.experiment_id)


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
