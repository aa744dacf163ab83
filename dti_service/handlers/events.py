"""The events of one experiment and the news of all, as a stream that a client can take up again, or as a list."""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from dti_service.errors import BadRequest
from dti_service.experiment import TERMINAL
from dti_service.feed import PROGRESS_S
from dti_service.handlers.base import Handler
from dti_service.handlers.fields import query_integer
from dti_service.handlers.streaming import Step, StreamHandler

RESOURCE = "experiments"

BATCH = 500  # events read and sent at a time
MOST_ITEMS = 5000
MOST_NEWS = 500
LAST_POSITION = 2**62


class EventsHandler(StreamHandler):
    """/dti/api/experiments/{id}/events

    The id of an event is its position in the file of events, so a client that reconnects with `Last-Event-ID`
    misses nothing, whichever server answers.
    """

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        query = self.query("after", "limit")
        after = self._position()
        if after is None:
            after = query_integer(query, "after", 0, LAST_POSITION) or 0
        limit = query_integer(query, "limit", 1, MOST_ITEMS) or MOST_ITEMS
        await self.quick(self.service.get, id)  # 404 before anything else
        if self.wants_list():
            events, position, ended = await self.quick(self._read, id, after, limit)
            items = [{**event, "id": offset} for offset, event in events]
            self.answer({"items": items, "next": position, "ended": ended and len(events) < limit})
        else:
            await self._follow(id, after)

    def _position(self) -> int | None:
        given = self.last_event_id()
        if given is None:
            return None
        if not (given.isascii() and given.isdecimal() and len(given) < 19):
            raise BadRequest("Last-Event-ID is not the id of an event")
        return int(given)

    def _read(self, id: str, after: int, limit: int) -> tuple[list[tuple[int, dict[str, Any]]], int, bool]:
        """Events after a position, the position behind them, and whether the experiment had ended before they were
        read, so that there can be no later ones."""
        ended = self.service.store.get(id).state in TERMINAL
        events, position = self.service.store.events(id).read(after, limit)
        return events, position, ended

    async def _follow(self, id: str, after: int) -> None:
        async def look() -> Step:
            nonlocal after
            events, after, ended = await self.quick(self._read, id, after, BATCH)
            for offset, event in events:
                self.write_event(offset, event)
            if ended and len(events) < BATCH:
                state = (await self.quick(self.service.store.get, id)).state
                self.write_event(after, {"kind": "end", "state": state})
                return Step.END
            return Step.NEWS if events else Step.QUIET

        await self.stream(look)


class NewsHandler(StreamHandler):
    """/dti/api/experiments/events

    The id of an event is its place in the index of this data directory. The present progress of running experiments
    is told in between, without ids.
    """

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self) -> None:
        query = self.query("after", "limit")
        after = self.last_event_id() or query.get("after") or None
        limit = query_integer(query, "limit", 1, MOST_NEWS) or MOST_NEWS
        if self.wants_list():
            news = await self.quick(self.context.feed.news, after, limit)
            items = [{**self._shown(event), "id": position} for position, event in news.events]
            self.answer({"items": items, "next": news.position, "complete": news.complete})
        else:
            await self.quick(self.context.feed.news, after)  # 400 before anything else
            await self._follow(after)

    async def _follow(self, after: str | None) -> None:
        loop = asyncio.get_running_loop()
        looked_at = float("-inf")
        told: dict[str, dict[str, Any]] = {}

        async def look() -> Step:
            nonlocal after, looked_at, told
            news = await self.quick(self.context.feed.news, after)
            step = Step.NEWS if news.events else Step.QUIET
            if not news.complete:
                self.write_event(news.position, {"kind": "reset"})
            elif after is None:  # from the first moment the client has an id to come back with
                self.write_event(news.position, {"kind": "hello"})
            for position, event in news.events:
                self.write_event(position, self._shown(event))
            after = news.position
            if loop.time() - looked_at >= PROGRESS_S:
                looked_at = loop.time()
                found = await self.quick(self.context.feed.progress)
                for id, progress in found.items():
                    if told.get(id) != progress:
                        step = Step.NEWS
                        self.write_event(
                            None, {"kind": "progress", "experiment_id": id, "progress": progress}
                        )
                told = found
            return step

        await self.stream(look)

    def _shown(self, event: dict[str, Any]) -> dict[str, Any]:
        view = event["experiment"]
        return event if view is None else {**event, "experiment": self.linked(view)}


HANDLERS: list[tuple[str, type[Handler]]] = [
    (r"/dti/api/experiments/events", NewsHandler),
    (r"/dti/api/experiments/([^/]+)/events", EventsHandler),
]
