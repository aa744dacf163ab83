"""Names of the files in a result tree, in one place.

The names are relied upon by viewers and scripts that exist already. Three of their habits bind us:
`prototypes/` holds `prototype{k}.png` for every k (also for clusters without images) and nothing else;
the stem of every `*_raw.png` is the image's number; the table's `cluster_id` agrees with the folder.
"""

from __future__ import annotations

from pathlib import Path

PROTOTYPES = "prototypes"
CLUSTERS = "clusters"
ANIMATIONS = "animations"
VARIANCES = "variances"
MASKED_PROTOTYPES = "masked_prototypes"
MASKS = "masks"
BACKGROUNDS = "backgrounds"

TABLE_CSV = "cluster_by_path.csv"
TABLE_JSON = "cluster_by_path.json"
ORIGINALS = "original.json"
OVERVIEW = "clusters.html"
REPORT = "report.html"
CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
HISTORY = "train_metrics.tsv"
ENVIRONMENT = "environment.json"
METRICS = "metrics.json"
"""Written last: a tree without it is not complete."""

OWNED = frozenset(
    {
        *(PROTOTYPES, CLUSTERS, ANIMATIONS, VARIANCES, MASKED_PROTOTYPES, MASKS, BACKGROUNDS),
        *(TABLE_CSV, TABLE_JSON, ORIGINALS, OVERVIEW, REPORT, CONFIG, WEIGHTS, HISTORY, ENVIRONMENT, METRICS),
    }
)
"""Entries that an export replaces as a whole; anything else in the folder belongs to somebody else."""

IMAGE_SETS: dict[str, tuple[str, str]] = {
    "prototypes": (PROTOTYPES, "prototype"),
    "variances": (VARIANCES, "variance"),
    "masked_prototypes": (MASKED_PROTOTYPES, "prototype"),
    "masks": (MASKS, "mask"),
    "backgrounds": (BACKGROUNDS, "background"),
}
"""What a model calls its pictures -> (folder, file stem)."""


def prototype(k: int) -> str:
    return f"{PROTOTYPES}/prototype{k}.png"


def learned_image(name: str, k: int) -> str:
    """Path of picture `k` of the learned set `name` ("prototypes", "masks", ...)."""
    folder, stem = IMAGE_SETS.get(name, (name, name.removesuffix("s")))
    return f"{folder}/{stem}{k}.png"


def cluster(k: int) -> str:
    return f"{CLUSTERS}/cluster{k}"


def raw(k: int, i: int, suffix: str = "png") -> str:
    """Image `i` as the model saw it, in cluster `k`; `suffix` is "png" or "jpg"."""
    return f"{CLUSTERS}/cluster{k}/{i}_raw.{suffix}"


def transformed(k: int, i: int, suffix: str = "png") -> str:
    """Prototype `k` as fitted to image `i`."""
    return f"{CLUSTERS}/cluster{k}/{i}_tsf.{suffix}"


def existing(root: Path, name: str) -> Path | None:
    """`name` (written with .png) below `root`, or the .jpg in its place, or None."""
    for candidate in (root / name, (root / name).with_suffix(".jpg")):
        if candidate.is_file():
            return candidate
    return None


def animation(k: int) -> str:
    return f"{ANIMATIONS}/prototype{k}.gif"


def find_results(path: str | Path) -> Path:
    """The result tree in `path`: the tree itself, or the folder of a run or experiment that holds `results/`.

    Raises FileNotFoundError when neither has a table and weights.
    """
    path = Path(path)
    for candidate in (path, path / "results"):
        if (candidate / WEIGHTS).is_file() and (candidate / TABLE_CSV).is_file():
            return candidate
    raise FileNotFoundError(
        f"{path}: no results found; expected a folder with {TABLE_CSV} and {WEIGHTS}, or one with results/ inside"
    )


def checkpoint_beside(out: Path) -> Path:
    """Default place of the checkpoint: beside a folder called `results`, else inside the run's own folder.

    Neighbouring runs (`runs/a`, `runs/b`) must never share a checkpoint, hence not simply the parent.
    """
    return out.parent / "checkpoint" if out.name == "results" else out / "checkpoint"
