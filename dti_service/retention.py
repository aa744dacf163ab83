"""Which experiments are old enough to go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
        age = float(older_than) if isinstance(older_than, int | float) else parse_duration(older_than)
        limit = timestamp(datetime.now(UTC) - timedelta(seconds=age))
    except (ValueError, OverflowError):
        reason = f"must be a time such as 12h or 30d, not {str(older_than)[:40]!r}"
        raise InvalidRequest("The age cannot be used", [{"field": "older_than", "reason": reason}]) from None
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
