"""What the two clients share: the address, the patience, the plain requests, and the errors."""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

import httpx

from dti_service import errors
from dti_service.client import calls
from dti_service.client.calls import Call

if TYPE_CHECKING:
    from dti_service.client.aio import AsyncClient
    from dti_service.client.sync import Client

P = ParamSpec("P")
R = TypeVar("R")

Outcome = httpx.Response | httpx.TransportError

# Answers that mean "later": too many requests, and a proxy whose server is restarting.
TRANSIENT = frozenset({429, 502, 503, 504})
LONGEST_PAUSE_S = 10.0


class Unreachable(errors.ServiceError):
    """The server did not answer, or answered that it is overloaded, to every try."""

    status = 503


def error_of(answer: httpx.Response) -> errors.ServiceError:
    """The service's own exception for an answer that refuses."""
    try:
        body = answer.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    message = str(body.get("message") or f"The server answered {answer.status_code} {answer.reason_phrase}")
    fields = [item for item in body.get("errors") or [] if isinstance(item, dict)]
    kinds = {
        400: errors.BadRequest,
        404: errors.NotFound,
        409: errors.Conflict,
        413: errors.TooLarge,
        422: errors.InvalidRequest,
    }
    error = kinds.get(answer.status_code, errors.ServiceError)(message, fields)
    error.status = answer.status_code
    return error


class Endpoint(Generic[P, R]):
    """A method of both clients, made from the function that describes its request."""

    def __init__(self, build: Callable[P, Call[R]]) -> None:
        self.build = build
        self.__doc__ = build.__doc__

    @overload
    def __get__(self, client: Client, owner: type) -> Callable[P, R]: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type) -> Callable[P, Awaitable[R]]: ...
    @overload
    def __get__(self, client: None, owner: type) -> Endpoint[P, R]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        @functools.wraps(self.build)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client._call(self.build(*args, **kwargs))

        return method


class Base:
    """Options and plain requests of a client."""

    submit = Endpoint(calls.submit)
    get = Endpoint(calls.get)
    list = Endpoint(calls.list_)
    cancel = Endpoint(calls.cancel)
    rerun = Endpoint(calls.rerun)
    assign = Endpoint(calls.assign)
    update = Endpoint(calls.update)
    delete = Endpoint(calls.delete)
    log = Endpoint(calls.log)
    events_after = Endpoint(calls.events)
    notebook = Endpoint(calls.notebook)
    artifacts = Endpoint(calls.artifacts)
    artifact = Endpoint(calls.artifact)
    datasets = Endpoint(calls.datasets)
    dataset = Endpoint(calls.dataset)
    add_documents = Endpoint(calls.add_documents)
    update_dataset = Endpoint(calls.update_dataset)
    delete_dataset = Endpoint(calls.delete_dataset)
    notebooks = Endpoint(calls.notebooks)
    notebook_schema = Endpoint(calls.notebook_schema)
    queue = Endpoint(calls.queue)
    workers = Endpoint(calls.workers)
    monitor = Endpoint(calls.monitor)
    cleanup = Endpoint(calls.cleanup)
    health = Endpoint(calls.health)

    def __init__(
        self,
        url: str = "http://localhost:8888",
        token: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 5,
        backoff: float = 0.2,
    ) -> None:
        """`url`: of the server, with its base URL; `token`: its Jupyter token. `timeout`: seconds without any
        answer. A request that failed on the way is sent again up to `retries` times, after `backoff` seconds at
        first, then after twice as long each time, at most 10 s."""
        self.url = url.rstrip("/") + "/"
        self.retries = retries
        self.backoff = backoff
        headers = {"Authorization": f"token {token}"} if token else {}
        self._options: dict[str, Any] = {"base_url": self.url, "headers": headers, "timeout": timeout}

    def _pause(self, attempt: int, outcome: Outcome) -> float:
        """Seconds until the next try; what the server asks for counts, up to a minute."""
        asked = outcome.headers.get("Retry-After", "") if isinstance(outcome, httpx.Response) else ""
        if asked.isdecimal():
            return min(60.0, float(asked))
        return min(LONGEST_PAUSE_S, self.backoff * 2**attempt) * random.uniform(0.75, 1.25)

    def _check(self, call: Call[Any], attempt: int, outcome: Outcome) -> httpx.Response | None:
        """The answer when it is good, None when the request is to be sent again; raises otherwise."""
        if isinstance(outcome, httpx.Response) and outcome.status_code not in TRANSIENT:
            # "No log yet" and "nothing after the end" are answers to a reader, not errors.
            if outcome.is_error and not (outcome.status_code == 416 and call.method == "GET"):
                raise error_of(outcome)
            return outcome
        # A request that never reached the server can be repeated whatever it asks for.
        unsent = isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout)
        if (call.repeatable or unsent) and attempt < self.retries:
            return None
        if isinstance(outcome, httpx.Response):
            raise Unreachable(f"The server answered {outcome.status_code} to {attempt + 1} tries")
        raise Unreachable(f"No answer from {self.url}: {outcome}") from outcome
