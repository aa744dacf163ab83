"""Which experiments and datasets are old enough to go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from dti_service.datasets.catalogue import Catalogue, Dataset
from dti_service.errors import InvalidRequest
from dti_service.experiment import TERMINAL, timestamp
from dti_service.index import Query
from dti_service.settings import parse_duration
from dti_service.store import Store

PAGE = 500


def expired(store: Store, older_than: str | float) -> list[str]:
    """Ids of experiments that ended longer ago than `older_than` ("30d", or seconds) and are not kept.

    Raises InvalidRequest for a time that is none.
    """
    try:
        limit = timestamp(datetime.now(UTC) - timedelta(seconds=age_s(older_than)))
    except OverflowError:
        return []  # older than the calendar
    store.index.refresh(wait=True)
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = Query(limit=PAGE, cursor=cursor, sort="finished_at", state=",".join(sorted(TERMINAL)))
        page = store.page(query)
        for experiment in page.items:
            if not experiment.finished_at or experiment.finished_at >= limit:
                return found
            if not experiment.keep:
                found.append(experiment.id)
        cursor = page.next_cursor
        if cursor is None:
            return found


def age_s(text: str | float, field: str = "older_than") -> float:
    """Seconds of "30d", "12h" or a number of seconds. Raises InvalidRequest that names the field."""
    try:
        return float(text) if isinstance(text, int | float) else parse_duration(text)
    except ValueError:
        reason = f"must be a time such as 12h or 30d, not {str(text)[:40]!r}"
        raise InvalidRequest("The age cannot be used", [{"field": field, "reason": reason}]) from None


def unused(
    store: Store, catalogue: Catalogue, older_than: str | float, *, without: Collection[str] = ()
) -> list[str]:
    """Ids of datasets that no experiment uses and that nobody has used, or made, for as long as `older_than`.

    An experiment uses what its record names and what it was found to read, for as long as it exists; so one that is
    kept keeps its images. One that was begun and left is among them; one that is being made cannot be deleted, and one
    that is itself marked to be kept is not named.
    `without`: experiments that count as deleted. Raises InvalidRequest for a time that is none.
    """
    limit = time.time() - age_s(older_than, "datasets_older_than")
    old = [dataset for dataset in catalogue.all() if last_used(catalogue, dataset) < limit]
    if not old:
        return []
    named = store.named(without)
    return [
        dataset.id
        for dataset in old
        if not catalogue.kept(dataset.id) and not in_use(store, catalogue, dataset.id, named, without=without)
    ]


def in_use(
    store: Store, catalogue: Catalogue, id: str, named: Collection[str], *, without: Collection[str] = ()
) -> bool:
    """Does an experiment that still exists name this dataset (`named`: `Store.named`), or was it found to read it?"""
    uses = (catalogue.directory(id) / "uses").glob("*")
    return id in named or any(path.name not in without and (store.root / path.name).exists() for path in uses)


def last_used(catalogue: Catalogue, dataset: Dataset) -> float:
    """When a dataset was made or an experiment began to use it, whichever is later, in seconds since 1970."""
    times = [datetime.fromisoformat(dataset.finished_at or dataset.created_at).timestamp()]
    for path in (catalogue.directory(dataset.id) / "uses").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)
