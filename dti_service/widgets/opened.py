"""An experiment opened in a notebook: what it is, its clusters, its plots, and files to take home."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dti_service.curations import Curations, read_reading
from dti_service.widgets import exports, pictures, plots
from dti_service.widgets.found import Found, find
from dti_service.widgets.shown import Shown
from dti_service.widgets.views import ClusterBrowser

STATES = {"to_see": "to see", "checked": "checked", "doubtful": "doubtful"}


class Opened(Shown):
    """What `open_experiment` gives. Shown by itself it says what the experiment is and what came out."""

    def __init__(self, found: Found) -> None:
        self.found = found
        experiment = found.experiment
        facts = [*_facts(found), *_figures(experiment.metrics)]
        super().__init__(
            pictures.facts_html(experiment.name, facts, experiment.parameters),
            "\n".join([experiment.name, *(f"  {name}: {value}" for name, value in facts)]),
        )

    @property
    def directory(self) -> Path:
        return self.found.directory

    def browse(self, reading: str | None = None) -> ClusterBrowser:
        """The clusters, to look at and to curate. `reading`: the curated version to begin with."""
        return ClusterBrowser(self.found, reading=reading)

    def loss(self) -> Shown:
        """The curve of the training."""
        return Shown(plots.loss_html(self.directory), f"loss of {self.found.experiment.name}")

    def sizes(self, reading: str | None = None) -> Shown:
        """Images in each cluster, as the run left them or as curated. Raises InvalidRequest without results."""
        found = exports.read(self.found, reading)
        sizes = {found.clusters[id].name: len(images) for id, images in found.members().items()}
        return Shown(plots.sizes_html(found, self.directory), f"images in each cluster: {sizes}")

    def readings(self) -> Shown:
        """The curated versions that people have made of this result."""
        rows = []
        for item in Curations(self.directory).all():
            clusters = read_reading(self.directory, item["name"]).clusters.values()
            states = (
                f"{sum(cluster.state == state for cluster in clusters)} {words}"
                for state, words in STATES.items()
            )
            saved = pictures.day(item.get("updated_at") or item.get("created_at"))
            author = item.get("author") or item.get("saved_by") or ""
            rows.append(
                (item["name"], item.get("title") or "", author, saved, len(clusters), ", ".join(states))
            )
        head = ("Reading", "Title", "By", "Saved", "Clusters", "Of these")
        names = ", ".join(str(row[0]) for row in rows) or "none yet"
        table = pictures.table_html(head, rows) if rows else ""
        return Shown(
            pictures.box("Curated versions", "" if rows else "none yet", table), f"curated versions: {names}"
        )

    def to_csv(self, path: str | Path | None = None, *, reading: str | None = None) -> Path:
        """Write the table of all images, as the run left them or as curated (`exports.to_csv`); returns the file."""
        return exports.to_csv(self.found, path, reading)

    def to_zip(self, path: str | Path | None = None, *, reading: str | None = None) -> Path:
        """Write the images in folders, one for each cluster (`exports.to_zip`); returns the file."""
        return exports.to_zip(self.found, path, reading)


def open_experiment(experiment: Any = None, *, data_dir: Any = None) -> Opened:
    """Open an experiment: its id, the path of its directory, or None for the newest that has succeeded.

    `data_dir`: where experiments are, by default DTI_DATA_DIR or `data`. Raises InvalidRequest with the remedy.
    """
    folder = None if data_dir is None else Path(data_dir).expanduser()
    return Opened(find(experiment, folder=folder))


def _facts(found: Found) -> list[tuple[str, str]]:
    experiment = found.experiment
    facts = [
        ("state", pictures.STATES.get(experiment.state, experiment.state)),
        ("notebook", experiment.notebook),
        ("images from", experiment.dataset or ""),
        ("begun", pictures.day(experiment.started_at or experiment.created_at)),
        ("took", _time(experiment.started_at, experiment.finished_at)),
        ("tags", ", ".join(experiment.tags)),
        ("error", str((experiment.error or {}).get("message") or "")),
        ("directory", str(found.directory)),
    ]
    return [(name, value) for name, value in facts if value]


def _figures(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that tell how good a result is, of those that the run has."""
    names = {
        "n_images": "images",
        "used_clusters": "clusters in use",
        "loss": "loss",
        "accuracy": "accuracy",
        "nmi": "NMI",
        "ari": "ARI",
        "kmeans_accuracy": "accuracy of k-means",
    }
    return [
        (words, pictures.number(metrics[name]))
        for name, words in names.items()
        if metrics.get(name) is not None
    ]


def _time(start: str | None, end: str | None) -> str:
    if not start or not end:
        return ""
    seconds = round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
    return f"{seconds // 60} min {seconds % 60:02} s" if seconds >= 60 else f"{seconds} s"
