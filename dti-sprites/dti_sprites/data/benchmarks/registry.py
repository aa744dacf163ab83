"""The sets by name, and where their files are looked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dti_sprites.config import DataConfig
from dti_sprites.data.imageset import ImageSet
from dti_sprites.errors import DataError

ROOT_VARIABLE = "DTI_BENCH_DATA"


@dataclass(frozen=True)
class Place:
    """Where a loader may look, and what it may do."""

    root: Path | None  # folder of all sets
    config: DataConfig
    download: bool  # torchvision may fetch what is missing
    limit: int | None  # number of scenes that a generator draws
    seed: int  # of generators


@dataclass(frozen=True)
class Benchmark:
    """A set: `published` tells whether its numbers compare with a published table."""

    name: str
    title: str
    published: bool
    credit: str
    load: Callable[[Place], ImageSet]


BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(
    name: str, title: str, *, published: bool, credit: str = ""
) -> Callable[[Callable[[Place], ImageSet]], Callable[[Place], ImageSet]]:
    """Register a loader under `name`."""

    def register(load: Callable[[Place], ImageSet]) -> Callable[[Place], ImageSet]:
        BENCHMARKS[name] = Benchmark(name, title, published, credit, load)
        return load

    return register


def root_of(place: Place) -> Path:
    """The folder of all sets. Raises DataError when none is given or it does not exist."""
    root = place.root or (Path(os.environ[ROOT_VARIABLE]) if os.environ.get(ROOT_VARIABLE) else None)
    if root is None:
        raise DataError(f"no folder of benchmark sets: give root, or set {ROOT_VARIABLE}")
    if not root.is_dir():
        raise DataError(f"the folder of benchmark sets {root} does not exist")
    return root


def find(place: Place, candidates: Iterable[str], what: str) -> Path:
    """The first of `candidates` (relative to the root) that exists. Raises DataError that names them all."""
    root, candidates = root_of(place), list(candidates)
    for candidate in candidates:
        for path in sorted(root.glob(candidate)):
            return path
    raise DataError(f"{what} is not in {root}: expected {' or '.join(candidates)}")
