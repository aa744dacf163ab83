"""Is what a dataset was made from still what it was? The servers are asked; nothing is believed for its age alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from dti_service.datasets.fetch import Fetcher, Kind
from dti_service.datasets.files import sha256_of
from dti_service.datasets.guard.errors import FetchError, GuardError
from dti_service.datasets.guard.limits import Limits
from dti_service.datasets.sources.folder import fingerprint, list_files

Input = Mapping[str, str]  # url, kind and sha256; or folder, or file, and sha256


def unchanged(inputs: Iterable[Input], fetcher: Fetcher) -> bool:
    """Whether all inputs have the content that they had. Raises `FetchError` when a server does not answer now, and
    `PreparationStopped`."""
    with ThreadPoolExecutor(fetcher.limits.parallel_downloads, "dti-check") as pool:
        try:
            # map() raises what a check raises when its turn comes; the rest is cancelled
            return all(pool.map(lambda read: _same(read, fetcher), inputs))
        finally:
            pool.shutdown(cancel_futures=True)


def _same(read: Input, fetcher: Fetcher) -> bool:
    try:
        if "url" in read:
            kind = _kinds(fetcher.limits)[read["kind"]]
            return fetcher.fetch(read["url"], kind, body=False).sha256 == read["sha256"]
        if "folder" in read:
            root = Path(read["folder"]).expanduser().resolve()
            return fingerprint(root, list_files(root)) == read["sha256"]
        return sha256_of(Path(read["file"])) == read["sha256"]
    except FetchError as error:
        if error.transient:
            raise
        return False
    except (GuardError, OSError):
        return False


def _kinds(limits: Limits) -> dict[str, Kind]:
    return {
        "document": Kind.document(limits),
        "image": Kind.image(limits),
        "iiif_image": Kind.iiif_image(limits),
        "json": Kind.json(limits),
        "info": replace(Kind.json(limits), trusted_age_s=limits.trusted_age_s),
    }
