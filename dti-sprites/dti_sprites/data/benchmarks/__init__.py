"""Known sets under one interface, for measuring: `load_benchmark("mnist-test", root)`.

Files are read from a folder given by `root` or by the environment variable DTI_BENCH_DATA; nothing is fetched unless
asked for. Generated sets need no files.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from dti_sprites.config import DataConfig
from dti_sprites.data.benchmarks import digits, documents, objects, signs  # noqa: F401 (they register their sets)
from dti_sprites.data.benchmarks.documents import omniglot, omniglot_alphabets
from dti_sprites.data.benchmarks.registry import BENCHMARKS, ROOT_VARIABLE, Benchmark, Place
from dti_sprites.data.imageset import ImageSet
from dti_sprites.errors import DataError

__all__ = ["ROOT_VARIABLE", "Benchmark", "benchmark_info", "list_benchmarks", "load_benchmark"]

_OMNIGLOT = "omniglot-"


def list_benchmarks(root: str | Path | None = None) -> list[Benchmark]:
    """All sets by name; with the alphabets of Omniglot that are found below the root."""
    sets = dict(BENCHMARKS)
    try:
        place = Place(Path(root) if root is not None else None, DataConfig(), False, None, 0)
        sets |= {_OMNIGLOT + slug: omniglot(slug) for slug in omniglot_alphabets(place)}
    except DataError:
        pass  # no root: the alphabets are not known
    return [sets[name] for name in sorted(sets)]


def benchmark_info(name: str) -> Benchmark:
    """Title, credit and comparability of a set. Raises DataError for an unknown name."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    if name.startswith(_OMNIGLOT):
        return omniglot(name.removeprefix(_OMNIGLOT))
    near = difflib.get_close_matches(name, BENCHMARKS, n=3)
    possible = near or [*BENCHMARKS, "omniglot-<alphabet>"]
    raise DataError(f"unknown benchmark set {name!r}; possible: {', '.join(possible)}")


def load_benchmark(
    name: str,
    root: str | Path | None = None,
    config: DataConfig | None = None,
    *,
    download: bool = False,
    limit: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """The images of a set, with labels (or `masks`), at the size and channels of `config` or else at their own.

    Args:
        root: folder of all sets; None: the environment variable DTI_BENCH_DATA.
        download: let torchvision fetch what is missing (MNIST, KMNIST, Fashion-MNIST, USPS, SVHN).
        limit: at most so many images, evenly from the whole set, which may be in order of class; generators draw only
            those.
        seed: of generators.

    Raises:
        DataError: unknown name, or files that are missing (with the places they were looked for) or damaged.
    """
    place = Place(Path(root) if root is not None else None, config or DataConfig(), download, limit, seed)
    images = benchmark_info(name).load(place)
    if limit is not None and limit < len(images):
        images = images.subset([i * len(images) // limit for i in range(limit)])
    return images
