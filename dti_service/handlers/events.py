"""The events of an experiment, as a stream that a client can take up again, or as a list."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web
from tornado.iostream import StreamClosedError

from dti_service.errors import BadRequest
from dti_service.experiment import TERMINAL
from dti_service.handlers.base import Handler, json_text
from dti_service.handlers.fields import query_integer

RESOURCE = "experiments"

POLL_S = 0.2
KEEP_ALIVE_S = 15.0
BATCH = 500  # events read and sent at a time
MOST_ITEMS = 5000
LAST_POSITION = 2**62


class EventsHandler(Handler):
    """/dti/api/experiments/{id}/events

    The id of an event is its position in the file of events, so a client that reconnects with `Last-Event-ID`
    misses nothing, whichever server answers.
    """

    _track_activity = False  # an open page must not keep an idle server from being culled

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        self._gone = asyncio.Event()

    def on_connection_close(self) -> None:
        self._gone.set()
        super().on_connection_close()

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, id: str) -> None:
        query = self.query("after", "limit")
        after = self._last_event_id()
        if after is None:
            after = query_integer(query, "after", 0, LAST_POSITION) or 0
        limit = query_integer(query, "limit", 1, MOST_ITEMS) or MOST_ITEMS
        await self.quick(self.service.get, id)  # 404 before anything else
        if self._wants_list():
            events, position, ended = await self.quick(self._read, id, after, limit)
            items = [{**event, "id": offset} for offset, event in events]
            self.answer({"items": items, "next": position, "ended": ended and len(events) < limit})
        else:
            await self._stream(id, after)

    def _last_event_id(self) -> int | None:
        given = self.request.headers.get("Last-Event-ID", "").strip()
        if not given:
            return None
        if not (given.isascii() and given.isdecimal() and len(given) < 19):
            raise BadRequest("Last-Event-ID is not the id of an event")
        return int(given)

    def _wants_list(self) -> bool:
        accept = self.request.headers.get("Accept", "")
        return "application/json" in accept and "text/event-stream" not in accept

    def _read(self, id: str, after: int, limit: int) -> tuple[list[tuple[int, dict[str, Any]]], int, bool]:
        """Events after a position, the position behind them, and whether the experiment had ended before they were
        read, so that there can be no later ones."""
        ended = self.service.store.get(id).state in TERMINAL
        events, position = self.service.store.events(id).read(after, limit)
        return events, position, ended

    async def _stream(self, id: str, after: int) -> None:
        self.answer_type = "text/event-stream"
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")
        self.write("retry: 2000\n\n")
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        try:
            await self.flush()
            while not (self._gone.is_set() or self.context.closing.is_set()):
                events, after, ended = await self.quick(self._read, id, after, BATCH)
                for offset, event in events:
                    self.write(f"id: {offset}\nevent: {event['kind']}\ndata: {json_text(event)}\n\n")
                if ended and len(events) < BATCH:
                    state = (await self.quick(self.service.store.get, id)).state
                    self.write(
                        f"id: {after}\nevent: end\ndata: {json_text({'kind': 'end', 'state': state})}\n\n"
                    )
                    break
                if events:
                    quiet_since = loop.time()
                    await self.flush()
                elif loop.time() - quiet_since >= KEEP_ALIVE_S:
                    quiet_since = loop.time()
                    self.write(": still here\n\n")
                    await self.flush()
                if not events:
                    await self._pause()
            await self.flush()
        except StreamClosedError:
            return
        self.finish()

    async def _pause(self) -> None:
        """Wait for the next look, or until the client has gone."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), POLL_S)


HANDLERS: list[tuple[str, type[Handler]]] = [(r"/dti/api/experiments/([^/]+)/events", EventsHandler)]
