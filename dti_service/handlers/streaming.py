"""Answers that go on: server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

from tornado.iostream import StreamClosedError

from dti_service.handlers.base import Handler, json_text

POLL_S = 0.2
KEEP_ALIVE_S = 15.0


class Step(Enum):
    """What came of a look for events."""

    QUIET = "nothing new"
    NEWS = "something was written, and there may be more"
    END = "that was the last"


class StreamHandler(Handler):
    """Base of the handlers of streams."""

    _track_activity = False  # an open page must not keep an idle server from being culled

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        self._gone = asyncio.Event()

    def on_connection_close(self) -> None:
        self._gone.set()
        super().on_connection_close()

    def wants_list(self) -> bool:
        accept = self.request.headers.get("Accept", "")
        return "application/json" in accept and "text/event-stream" not in accept

    def last_event_id(self) -> str | None:
        return self.request.headers.get("Last-Event-ID", "").strip() or None

    def write_event(self, position: int | str | None, event: dict[str, Any]) -> None:
        """Without a position the client's stays as it is: the event is not sent again."""
        head = "" if position is None else f"id: {position}\n"
        self.write(f"{head}event: {event['kind']}\ndata: {json_text(event)}\n\n")

    async def stream(self, look: Callable[[], Awaitable[Step]]) -> None:
        """Call `look`, which writes events, again and again until it says that this is the end, the client has gone
        or the server stops."""
        self.answer_type = "text/event-stream"
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")
        self.write("retry: 2000\n\n")
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        step = Step.QUIET
        try:
            await self.flush()
            while step is not Step.END and not (self._gone.is_set() or self.context.closing.is_set()):
                step = await look()
                if step is not Step.QUIET:
                    quiet_since = loop.time()
                elif loop.time() - quiet_since >= KEEP_ALIVE_S:
                    quiet_since = loop.time()
                    self.write(": still here\n\n")
                await self.flush()
                if step is Step.QUIET:
                    await self._pause()
        except StreamClosedError:
            return
        self.finish()

    async def _pause(self) -> None:
        """Wait for the next look, or until the client has gone."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), POLL_S)
