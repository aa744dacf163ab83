"""`Client`: the service from a script or a notebook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from dti_service.client import calls
from dti_service.client.base import Base, Outcome
from dti_service.client.calls import FINISHED, Call, View
from dti_service.client.streams import Download, EventStream
from dti_service.client.uploads import form_of

R = TypeVar("R")


class Client(Base):
    """Talks to a server; may be shared between threads. Close it, or use it as a context manager."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._http = httpx.Client(**self._options)

    __init__.__doc__ = Base.__init__.__doc__

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, call: Call[R]) -> R:
        attempt = 0
        while True:
            outcome: Outcome
            try:
                outcome = self._http.request(call.method, call.path, **call.options)
            except httpx.TransportError as error:
                outcome = error
            answer = self._check(call, attempt, outcome)
            if answer is not None:
                return call.parse(answer)
            time.sleep(self._pause(attempt, outcome))
            attempt += 1

    def upload(self, paths: str | Path | Iterable[str | Path], *, name: str | None = None) -> View:
        """Send images, archives, PDFs or whole folders as one dataset; returns it. Its `id` goes into `submit`."""
        return self._call(calls.upload(form_of(paths, name)))

    def iterate(self, **query: Any) -> Iterator[View]:
        """All experiments of a `list` query, page after page."""
        page = self.list(**query)
        yield from page["items"]
        while page["next_cursor"] is not None:
            page = self.list(**{**query, "cursor": page["next_cursor"]})
            yield from page["items"]

    def events(self, id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """The events of an experiment as they happen, each with its position `id`, until it has ended.

        A broken connection is taken up again where it stopped: no event is missed or given twice.
        """
        stream = EventStream(id, after)
        attempt = 0
        while True:
            stream.broken()
            call = stream.call
            try:
                with self._http.stream(call.method, call.path, **call.options) as answer:
                    outcome: Outcome = answer
                    if answer.is_success:
                        for line in answer.iter_lines():
                            if (event := stream.feed(line)) is not None:
                                attempt = 0
                                yield event
                        # The server was stopped in between: another one goes on.
                        outcome = httpx.RemoteProtocolError("the stream ended before the experiment")
                    else:
                        answer.read()
            except httpx.TransportError as error:
                outcome = error
            if stream.ended:
                return
            self._check(call, attempt, outcome)
            time.sleep(self._pause(attempt, outcome))
            attempt += 1

    def wait(
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
            view = self.get(id)
            if progress is not None:
                for event in self.events_after(id, after=after):
                    after = event["id"]
                    if event["kind"] == "progress":
                        progress(event)
            if view["state"] in FINISHED:
                return view
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"Experiment {id} is still {view['state']} after {timeout} s")
            time.sleep(poll_s)

    def download_results(self, id: str, to: str | Path, *, whole: bool = False) -> Path:
        """Write the results as a zip file to `to`, which appears only when it is complete; a download that broke
        off goes on where it stopped. `whole`: the whole experiment, for `dti import` (it must have ended)."""
        call = calls.whole(id) if whole else calls.results(id)
        attempt = 0
        with Download(Path(to)) as download:
            while True:
                try:
                    with self._http.stream(call.method, call.path, headers=download.headers()) as answer:
                        outcome: Outcome = answer
                        if answer.is_success:
                            download.begin(answer)
                            for chunk in answer.iter_raw():
                                download.write(chunk)
                                attempt = 0
                            if download.complete():
                                break
                            outcome = httpx.RemoteProtocolError("the answer was cut short")
                        else:
                            answer.read()
                except httpx.TransportError as error:
                    outcome = error
                self._check(call, attempt, outcome)
                time.sleep(self._pause(attempt, outcome))
                attempt += 1
        return download.target
