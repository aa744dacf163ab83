"""`AsyncClient`: the service from a program with an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from dti_service.client import calls
from dti_service.client.base import Base, Outcome
from dti_service.client.calls import FINISHED, Call, View
from dti_service.client.streams import Download, EventStream
from dti_service.client.uploads import AsyncForm, form_of

R = TypeVar("R")


class AsyncClient(Base):
    """Talks to a server within one event loop. Close it, or use it as an async context manager."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._http = httpx.AsyncClient(**self._options)

    __init__.__doc__ = Base.__init__.__doc__

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, call: Call[R]) -> R:
        attempt = 0
        while True:
            outcome: Outcome
            try:
                outcome = await self._http.request(call.method, call.path, **call.options)
            except httpx.TransportError as error:
                outcome = error
            answer = self._check(call, attempt, outcome)
            if answer is not None:
                return call.parse(answer)
            await asyncio.sleep(self._pause(attempt, outcome))
            attempt += 1

    async def upload(self, paths: str | Path | Iterable[str | Path], *, name: str | None = None) -> View:
        """Send images, archives, PDFs or whole folders as one dataset; returns it. Its `id` goes into `submit`."""
        return await self._call(calls.upload(AsyncForm(form_of(paths, name))))

    async def iterate(self, **query: Any) -> AsyncIterator[View]:
        """All experiments of a `list` query, page after page."""
        page = await self.list(**query)
        for view in page["items"]:
            yield view
        while page["next_cursor"] is not None:
            page = await self.list(**{**query, "cursor": page["next_cursor"]})
            for view in page["items"]:
                yield view

    async def events(self, id: str, *, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The events of an experiment as they happen, each with its position `id`, until it has ended.

        A broken connection is taken up again where it stopped: no event is missed or given twice.
        """
        stream = EventStream(id, after)
        attempt = 0
        while True:
            stream.broken()
            call = stream.call
            try:
                async with self._http.stream(call.method, call.path, **call.options) as answer:
                    outcome: Outcome = answer
                    if answer.is_success:
                        async for line in answer.aiter_lines():
                            if (event := stream.feed(line)) is not None:
                                attempt = 0
                                yield event
                        # The server was stopped in between: another one goes on.
                        outcome = httpx.RemoteProtocolError("the stream ended before the experiment")
                    else:
                        await answer.aread()
            except httpx.TransportError as error:
                outcome = error
            if stream.ended:
                return
            self._check(call, attempt, outcome)
            await asyncio.sleep(self._pause(attempt, outcome))
            attempt += 1

    async def wait(
        self,
        id: str,
        *,
        progress: Callable[[dict[str, Any]], None] | None = None,
        timeout: float | None = None,
        poll_s: float = 1.0,
    ) -> View:
        """Wait until an experiment has ended; returns it. `progress` is called with each progress event (`step`,
        `total`, `unit`, `eta_s`, ...). `TimeoutError` after `timeout` seconds; it asks every `poll_s` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        after = 0
        while True:
            view = await self.get(id)
            if progress is not None:
                for event in await self.events_after(id, after=after):
                    after = event["id"]
                    if event["kind"] == "progress":
                        progress(event)
            if view["state"] in FINISHED:
                return view
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"Experiment {id} is still {view['state']} after {timeout} s")
            await asyncio.sleep(poll_s)

    async def download_results(self, id: str, to: str | Path, *, whole: bool = False) -> Path:
        """Write the results as a zip file to `to`, which appears only when it is complete; a download that broke
        off goes on where it stopped. `whole`: the whole experiment, for `dti import` (it must have ended)."""
        call = calls.whole(id) if whole else calls.results(id)
        attempt = 0
        with Download(Path(to)) as download:
            while True:
                try:
                    async with self._http.stream(
                        call.method, call.path, headers=download.headers()
                    ) as answer:
                        outcome: Outcome = answer
                        if answer.is_success:
                            download.begin(answer)
                            async for chunk in answer.aiter_raw():
                                download.write(chunk)
                                attempt = 0
                            if download.complete():
                                break
                            outcome = httpx.RemoteProtocolError("the answer was cut short")
                        else:
                            await answer.aread()
                except httpx.TransportError as error:
                    outcome = error
                self._check(call, attempt, outcome)
                await asyncio.sleep(self._pause(attempt, outcome))
                attempt += 1
        return download.target
