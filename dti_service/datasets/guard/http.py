"""HTTP to addresses from outside: every connection goes to the very address that was checked.

The name is resolved once per connection, the address is judged, and the socket is opened to that address, so a
name that resolves differently a moment later gains nothing. Above the socket the name is used as ever: TLS checks
the certificate against it, the server sees it in the Host header. Proxies of the environment are not used, as they
would resolve the name themselves. Redirects are followed by hand and judged like the first address.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from dti_service.datasets.guard.addresses import AllowList, parse_url, resolve
from dti_service.datasets.guard.errors import FetchError, GuardError
from dti_service.datasets.guard.limits import Limits

REDIRECTS = (301, 302, 303, 307, 308)
AGENT = "dti-service"


class _Deadline(threading.local):
    """The moment at which the request that this thread is making must be over."""

    at: float = float("inf")

    def cap(self, timeout: float | None) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time allowed for the whole transfer is over")
        return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A connection on which no number of small delays can add up to more than the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.cap(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.cap(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, self._deadline.cap(timeout))
        return _Stream(secure, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens connections to checked addresses only."""

    def __init__(self, allow: AllowList, deadline: _Deadline) -> None:
        self._allow = allow
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in resolve(host, port, self._allow):
            try:
                stream = self._plain.connect_tcp(
                    address, port, self._deadline.cap(timeout), local_address, socket_options
                )
                return _Stream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise httpcore.UnsupportedProtocol("sockets of this machine are not reached by address")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass
class Answer:
    """A response whose body is still to come. `url` is where it came from after redirects."""

    url: str
    status: int
    headers: Mapping[str, str]  # names in lower case
    _raw: Iterator[bytes]

    def body(self, limit: int, subject: str) -> Iterator[bytes]:
        """The body in pieces, decoded; a `GuardError` as soon as it exceeds `limit` bytes, packed or unpacked."""
        too_large = GuardError(
            subject, f"larger than {limit} bytes", "offer a smaller file, or raise the limit"
        )
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise too_large
        size = 0
        for piece in _decoded(self._raw, self.headers.get("content-encoding", "identity"), subject, limit):
            size += len(piece)
            if size > limit:
                raise too_large
            yield piece


def _decoded(raw: Iterator[bytes], encoding: str, subject: str, limit: int) -> Iterator[bytes]:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        yield from raw
        return
    if name not in ("gzip", "x-gzip", "deflate"):
        raise FetchError(subject, f"the server packed its answer as {name[:40]!r}", "serve the file as it is")
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, told by the header
    try:
        for packed in raw:
            while packed:
                yield decoder.decompress(packed, 1 << 18)
                packed = decoder.unconsumed_tail
            if decoder.eof:
                break
        yield decoder.flush()
    except zlib.error as error:
        raise FetchError(
            subject, "the server's answer cannot be unpacked", "serve the file as it is"
        ) from error
    if not decoder.eof:
        raise FetchError(subject, "the server's answer ended early", "try again", transient=True)


class GuardedHTTP:
    """Requests to addresses from outside. Safe to use from several threads; close it when done."""

    def __init__(self, allow: AllowList, limits: Limits) -> None:
        self.limits = limits
        self._deadline = _Deadline()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=2 * limits.parallel_downloads,
            keepalive_expiry=10.0,
            network_backend=_Backend(allow, self._deadline),
        )

    def close(self) -> None:
        self._pool.close()

    def __enter__(self) -> GuardedHTTP:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        time_s: float,
        follow: bool = True,
    ) -> Iterator[Answer]:
        """Send a request and give its answer, whatever the status; `FetchError` when there is none within `time_s`
        seconds, `GuardError` for an address that may not be reached. `follow`: go where redirects lead."""
        current = parse_url(url, length=self.limits.url_length)
        before = self._deadline.at
        self._deadline.at = time.monotonic() + time_s
        try:
            for _ in range(self.limits.redirects + 1):
                with self._once(method, current, headers or {}, content) as answer:
                    target = answer.headers.get("location")
                    if not follow or answer.status not in REDIRECTS or target is None:
                        yield answer
                        return
                current = self._next(url, current, target)
            raise FetchError(url, f"more than {self.limits.redirects} redirects", "give the final address")
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise self._failure(url, error) from error
        finally:
            self._deadline.at = before

    def _next(self, first: str, current: httpx.URL, target: str) -> httpx.URL:
        try:
            joined = str(current.join(target))
        except (httpx.InvalidURL, ValueError) as error:
            raise FetchError(
                first, "the server redirects to an invalid address", "give the final address"
            ) from error
        return parse_url(joined, length=self.limits.url_length)

    @contextmanager
    def _once(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], content: bytes | None
    ) -> Iterator[Answer]:
        sent = {"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        host = url.netloc
        timeout = {
            "connect": self.limits.connect_s,
            "read": self.limits.silence_s,
            "write": self.limits.silence_s,
            "pool": self.limits.silence_s,
        }
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        pairs = [(b"Host", host), *((name.encode(), value.encode()) for name, value in sent.items())]
        if content is not None:
            pairs.append((b"Content-Length", str(len(content)).encode()))
        with self._pool.stream(
            method, target, headers=pairs, content=content, extensions={"timeout": timeout}
        ) as got:
            received: dict[str, str] = {}
            for name, value in got.headers:
                key = name.decode("latin-1").lower()
                received.setdefault(key, value.decode("latin-1"))
            yield Answer(str(url), got.status, received, iter(got.iter_stream()))

    @staticmethod
    def _failure(url: str, error: Exception) -> FetchError:
        if isinstance(error, httpcore.ReadTimeout | httpcore.WriteTimeout):
            return FetchError(url, "the server is too slow", "try again later", transient=True)
        if isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
            certificate = "CERTIFICATE_VERIFY_FAILED" in str(error)
            if certificate:
                return FetchError(
                    url, "the server's certificate is not valid", "have it renewed, or use http"
                )
            return FetchError(
                url, "the server cannot be reached", "check the address, try again", transient=True
            )
        return FetchError(url, "the connection broke off", "try again later", transient=True)
