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
DECOMPOSITIONS = "decompositions"

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
        DECOMPOSITIONS,
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


def aligned(k: int, i: int, suffix: str = "png") -> str:
    """Image `i` at its own resolution, warped so that its motif lies as in prototype `k`."""
    return f"{CLUSTERS}/cluster{k}/{i}_aligned.{suffix}"


def layer(i: int, number: int) -> str:
    """Layer `number` (from 1) of image `i` as placed, its mask as transparency."""
    return f"{DECOMPOSITIONS}/{i}_layer{number}.png"


def background(i: int) -> str:
    """The background as fitted to image `i`."""
    return f"{DECOMPOSITIONS}/{i}_background.png"


def label_map(i: int, kind: str) -> str:
    """Label map of image `i`; `kind` is "instance" (layers from 1) or "semantic" (sprite k is k + 1); 0: background."""
    return f"{DECOMPOSITIONS}/{i}_{kind}.png"


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
