"""The base of all REST handlers: authentication before the body is read, JSON in and out, one mapping of errors."""

from __future__ import annotations

import asyncio
import errno
import functools
import getpass
import json
import math
import re
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from http.client import responses
from typing import Any, TypeVar

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

from dti_service.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    ServiceError,
    TooLarge,
    Unavailable,
)
from dti_service.experiment import IllegalTransition
from dti_service.handlers import audit
from dti_service.handlers.context import Context
from dti_sprites.errors import ConfigError, DataError

T = TypeVar("T")

MEBIBYTE = 1 << 20

# Query parameters that Jupyter itself understands; every route takes them.
JUPYTER_ARGUMENTS = frozenset({"token", "_xsrf", "no_track_activity"})


def as_service_error(error: BaseException) -> ServiceError | None:
    """The one mapping from what the layers below raise to what a client is told; None: a fault of ours."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, ConfigError):
        fields = [{"field": name, "reason": reason} for name, reason in error.errors]
        return InvalidRequest("The settings are not valid", fields)
    if isinstance(error, DataError):
        files = [{"field": name, "reason": reason} for name, reason in error.files]
        return InvalidRequest(str(error), files)
    if isinstance(error, IllegalTransition):
        return Conflict(str(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("The server's disk is full: delete old experiments or datasets first")
    if isinstance(error, FileNotFoundError):
        # A file that was there a moment ago: its experiment was deleted meanwhile.
        return NotFound("This file is no longer there")
    return None


def _text(error: web.HTTPError) -> str:
    return str(error.log_message or "") % error.args


def json_text(value: Any) -> str:
    """Compact JSON; numbers that JSON lacks (NaN, infinities) become null so that every browser can read it."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_json(body: bytes) -> Any:
    """Strict JSON (no NaN, no lone surrogates, bounded nesting) from a request's body; `BadRequest` otherwise."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # lone surrogates cannot be stored
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from error
    return value


@web.stream_request_body
class Handler(APIHandler):
    """Base of all handlers. A subclass decorates each verb with `@web.authenticated` and
    `@authorized(action, resource=...)`, both explicit: the decorator remembers what it saw first, so it must
    never be left to look the resource up, nor be put on a method that two handlers inherit.

    The body is read in pieces, after authentication: an anonymous client cannot make the server hold data.
    """

    max_body: int = MEBIBYTE
    audited: str | None = None  # the id of what a request made, where its Location does not tell
    answer_type = "application/json"
    credentials = "Send the server's token, or log in"  # what is said to whoever has none

    def initialize(self, context: Context) -> None:
        self.context = context
        self.service = context.service
        self._body = bytearray()
        self._body_size = 0

    # -- request ------------------------------------------------------------------------------------------

    async def prepare(self) -> None:  # type: ignore[override]
        await super().prepare()
        self._refuse_strangers()
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > self.max_body:
            raise self._too_large()

    def _refuse_strangers(self) -> None:
        if self.current_user is None and not self._is_public():
            raise web.HTTPError(403, self.credentials)

    def check_xsrf_cookie(self) -> None:
        """Without any credentials, or with wrong ones, it is these that a client must hear of, not of a cookie."""
        if hasattr(self, "_jupyter_current_user"):  # else it is too early, and asked again
            self._refuse_strangers()
        super().check_xsrf_cookie()

    def _is_public(self) -> bool:
        method = getattr(self, (self.request.method or "get").lower(), None)
        return self.request.method == "OPTIONS" or getattr(method, "__allow_unauthenticated", False)

    def _too_large(self) -> ServiceError:
        return TooLarge(f"The body may have at most {self.max_body} bytes")

    def data_received(self, chunk: bytes) -> None:
        # What is above the limit is read and dropped, so that the client gets to see the answer.
        self._body_size += len(chunk)
        if self._body_size <= self.max_body:
            self._body += chunk
        else:
            self._body.clear()

    @property
    def body(self) -> bytes:
        if self._body_size > self.max_body:
            raise self._too_large()
        return bytes(self._body)

    def json_body(self, *, empty: Any = None) -> dict[str, Any]:
        """The body as a JSON object. `empty`: what no body at all means; None: it is an error."""
        body = self.body
        if not body.strip():
            if empty is not None:
                return dict(empty)
            raise BadRequest("Send a JSON object as the body")
        content_type = (
            self.request.headers.get("Content-Type", "application/json").split(";")[0].strip().lower()
        )
        # A form is what curl calls whatever follows -d; Jupyter has checked where the request comes from.
        curl = content_type == "application/x-www-form-urlencoded" and body.lstrip().startswith(b"{")
        if content_type != "application/json" and not content_type.endswith("+json") and not curl:
            raise web.HTTPError(415, f"Send application/json, not {content_type}")
        value = parse_json(body)
        if not isinstance(value, dict):
            raise BadRequest("Send a JSON object as the body")
        return value

    def query(self, *names: str) -> dict[str, str]:
        """The query parameters, stripped of surrounding white space. A name outside `names` is an error, so that
        a misspelt filter is not silently ignored; given twice, the last one counts."""
        given = {name: values[-1] for name, values in self.request.query_arguments.items() if values}
        unknown = sorted(set(given) - set(names) - JUPYTER_ARGUMENTS)
        if unknown:
            known = ", ".join(names) or "none"
            raise BadRequest(
                "Unknown query parameter",
                [
                    {"field": name[:80], "reason": f"not a parameter of this route; known: {known}"}
                    for name in unknown
                ],
            )
        try:
            return {name: given[name].decode("utf-8").strip() for name in names if name in given}
        except UnicodeDecodeError as error:
            raise BadRequest("The query is not UTF-8") from error

    @property
    def username(self) -> str:
        """Who asks. Jupyter calls everybody with the token "Anonymous ..." under a name that is new at each request;
        such a server has one user, whose processes run here: the one whom the command line names too."""
        user = self.current_user
        name = str(getattr(user, "username", "") or "")
        anonymous = str(getattr(user, "display_name", "") or "").startswith("Anonymous ")
        if anonymous and re.fullmatch(r"[0-9a-f]{32}", name):
            return _system_user()
        return name

    def on_finish(self) -> None:
        super().on_finish()
        # Strangers have done nothing; Jupyter itself logs that they were turned away.
        known = self.request.method in audit.VERBS and (self.current_user or self._status_code < 400)
        if known:
            path = self.request.path.removeprefix(self.base_url)
            audit.tell(
                verb=self.request.method or "",
                path=path,
                status=self._status_code,
                user=self.username,
                made=self._headers.get("Location"),
                subject=self.audited,
            )

    async def own_experiment(self, id: str) -> None:
        """Raises Forbidden when it is another user's and the server is set up so. NotFound when there is none."""
        if self.context.settings.owner_only:
            self.own_record(await self.quick(self.service.store.get, id))

    async def own_dataset(self, id: str) -> None:
        """The same of a dataset."""
        if self.context.settings.owner_only:
            self.own_record(await self.quick(self.context.datasets.catalogue.get, id))

    def administer(self) -> None:
        """Raises Forbidden unless this user may touch what belongs to all."""
        if self.context.settings.owner_only and self.username not in self.context.settings.admins:
            raise Forbidden("Only administrators of this server may do this (setting DTI_ADMINS)")

    def own_record(self, record: Any) -> None:
        """The same of an experiment or a dataset that was read already."""
        settings, owner = self.context.settings, record.owner
        if settings.owner_only and self.username != owner and self.username not in settings.admins:
            whose = f"It belongs to {owner}" if owner else "It has no owner"
            raise Forbidden(f"{whose}: only its owner or an administrator may do this")

    # -- work ---------------------------------------------------------------------------------------------

    async def quick(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a short blocking function in a thread."""
        return await self._run_in(self.context.quick, function, *args, **kwargs)

    async def slow(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a blocking function that may take seconds in a thread."""
        return await self._run_in(self.context.slow, function, *args, **kwargs)

    async def _run_in(self, pool: Executor, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, functools.partial(function, *args, **kwargs))

    # -- answer -------------------------------------------------------------------------------------------

    def answer(self, value: Any, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Cache-Control", "no-cache")
        self.finish(json_text(value))

    def answer_list(self, items: list[Any]) -> None:
        """Answer with a list that always fits one page."""
        self.answer({"items": items, "next_cursor": None, "total": len(items)})

    def linked(self, view: dict[str, Any]) -> dict[str, Any]:
        """The view of an experiment with its links below this server's base URL."""
        links = {name: url_path_join(self.base_url, path) for name, path in view["links"].items()}
        return {**view, "links": links}

    def finish(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("set_content_type", self.answer_type)
        return super().finish(*args, **kwargs)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, StreamClosedError):
            return  # the client has gone; nobody is left to answer
        mapped = as_service_error(error) if error is not None else None
        if mapped is not None:
            status_code = mapped.status
            kwargs.pop("reason", None)
        super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        mapped = as_service_error(error) if error is not None else None
        message = responses.get(status_code, "Error")
        fields: list[dict[str, str]] = []
        if mapped is not None:
            message, fields = str(mapped), mapped.errors
        elif isinstance(error, web.HTTPError):
            message = _text(error) or message
        elif error is not None:
            message = f"The server failed to answer; its log has the details under {self._reference()}"
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.allowed_methods()))
        self.answer_type = "application/json"
        self.finish(json_text(self.error_body(message, fields)))

    def error_body(self, message: str, fields: list[dict[str, str]]) -> dict[str, Any]:
        """What an error answers with."""
        return {"message": message, "errors": fields}

    @classmethod
    def allowed_methods(cls) -> list[str]:
        """The verbs that this handler implements."""
        nothing = web.RequestHandler._unimplemented_method
        return [verb for verb in cls.SUPPORTED_METHODS if getattr(cls, verb.lower(), nothing) is not nothing]

    def _reference(self) -> str:
        if not hasattr(self, "_error_reference"):
            self._error_reference = secrets.token_hex(4)
        return self._error_reference

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        if isinstance(value, StreamClosedError) or (
            value is not None and as_service_error(value) is not None
        ):
            return
        # Without the query, in which there may be the token.
        request = f"{self.request.method} {self.request.path} ({self.request.remote_ip})"
        if isinstance(value, web.HTTPError):
            if value.log_message:
                self.log.info("%d %s: %s", value.status_code, request, _text(value))
            return
        self.log.error("Error %s in %s", self._reference(), request, exc_info=value)


class NotFoundHandler(Handler):
    """Answers in JSON below /dti/api/ where no route matches."""

    async def prepare(self) -> None:  # type: ignore[override]
        await super().prepare()
        raise NotFound("No such route; /dti/api/openapi.yaml lists them")
