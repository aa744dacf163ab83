"""What the service's processes log: a line for each event, as text or as JSON, to rotating files if wanted; no secrets.

A JSON line has `time` (UTC), `level`, `logger`, `host`, `pid`, `message`; where they are known `experiment_id` and
`event`; what the caller gave as `extra`; and `exception` with the traceback. In files and in JSON every secret that
this process knows is left out, whoever logged it, and so is whatever stands where tokens and passwords usually do.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dti_service import audit
from dti_service.errors import InvalidRequest
from dti_service.settings import Settings

OURS = ("dti_service", "rq")
SERVERS = ("ServerApp", "DTIServiceApp", "LabApp")  # tornado logs through the first

FILE_BYTES = 10 * 2**20
FILES_KEPT = 5
HIDDEN = "***"
SHORTEST_SECRET = 6  # anything shorter would hide ordinary words

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_ABOUT = re.compile(rf"experiments?[/ :]+({_ID})", re.IGNORECASE)
_PLACES = (
    re.compile(
        r"((?:token|password|passwd|secret|api_?key)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;)\]}]+", re.IGNORECASE
    ),
    re.compile(r"((?:token|bearer|basic)\s+)[A-Za-z0-9+/=_.-]{16,}", re.IGNORECASE),
    re.compile(r"(\w://)[^\s/@]+(?=@)"),
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Secrets:
    """Takes secrets out of texts: `values` wherever they stand, and what stands where one is to be expected."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        known = {value for value in values if len(value) >= SHORTEST_SECRET}
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if known else None

    def remove(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for place in _PLACES:
            text = place.sub(rf"\g<1>{HIDDEN}", text)
        return text


def known_secrets(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """The tokens and passwords that this process has been given."""
    values = [environment.get(name, "") for name in ("JUPYTER_TOKEN", "DTI_TOKEN", "JPY_API_TOKEN")]
    values.append(settings.notify_secret or "")
    if settings.redis_url:
        password = urlsplit(settings.redis_url).password or ""
        values += [password, unquote(password)]
    file = environment.get("JUPYTER_TOKEN_FILE")
    if file:
        with contextlib.suppress(OSError, ValueError):  # Jupyter itself says what is wrong with it
            values.append(Path(file).read_text(encoding="utf-8").strip())
    return [value for value in values if value]


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO dti_service.dispatch.local: Experiment ... starts on cuda:0`"""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, secrets: Secrets) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return self.secrets.remove(super().format(record))


class JSONFormatter(logging.Formatter):
    """One JSON object, in one line."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self.secrets = secrets
        self.host = socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "host": self.host,
            "pid": record.process,
            "message": message,
        }
        about = _ABOUT.search(message)
        if about:
            line["experiment_id"] = about.group(1)
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(self._clean(line), ensure_ascii=False, default=str)

    def _clean(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._clean(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.secrets.remove(str(value))


class _Console(logging.StreamHandler[Any]):
    """Standard error as it is at the moment: whoever redirects it later gets the lines."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


class _Withheld(logging.Formatter):
    """Another handler's own format, without secrets."""

    def __init__(self, inner: logging.Formatter, secrets: Secrets) -> None:
        super().__init__()
        self.inner = inner
        self.secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return self.secrets.remove(self.inner.format(record))


def set_up(settings: Settings, name: str, *, level: int = logging.INFO, secrets: Iterable[str] = ()) -> None:
    """Make this process log as the settings say; `name` is that of its file in `log_dir`. May be called again.

    In a server, what Jupyter itself logs goes the same way; on the console it keeps Jupyter's look unless JSON was
    asked for. Raises InvalidRequest when the folder cannot be written.
    """
    hide = Secrets([*known_secrets(settings, os.environ), *secrets])
    formatter = JSONFormatter(hide) if settings.log_json else TextFormatter(hide)
    console = _Console()
    console.setFormatter(formatter)
    handlers: list[logging.Handler] = [console]
    if settings.log_dir is not None:
        handlers.append(_rotating(settings.log_dir, name, formatter))
    for handler in handlers:
        handler.setLevel(level)
    for logger in map(logging.getLogger, OURS):
        _take_over(logger, handlers)
        logger.setLevel(level if logger.name == "dti_service" else logging.WARNING)
    keep_audit(settings, secrets=hide)
    for logger in map(logging.getLogger, SERVERS):
        if settings.log_json:
            _take_over(logger, handlers)
            continue
        # People at a terminal need the address with the token that Jupyter prints; a log that is kept does not.
        for handler in logger.handlers:
            if settings.profile == "production" and not isinstance(handler.formatter, _Withheld):
                handler.setFormatter(_Withheld(handler.formatter or logging.Formatter(), hide))
        _take_over(logger, handlers[1:], only=RotatingFileHandler)


def keep_audit(settings: Settings, *, secrets: Secrets | None = None) -> None:
    """Let this process write its audit lines into the data directory. May be called again."""
    handler = audit.AuditFile(settings.data_dir)
    handler.setFormatter(JSONFormatter(secrets or Secrets(known_secrets(settings, os.environ))))
    _take_over(audit.log, [handler], only=audit.AuditFile)
    audit.log.setLevel(logging.INFO)


def _take_over(
    logger: logging.Logger, handlers: list[logging.Handler], *, only: type[logging.Handler] = logging.Handler
) -> None:
    """Replace the handlers of a kind."""
    for earlier in list(logger.handlers):
        if isinstance(earlier, only):
            logger.removeHandler(earlier)
            earlier.close()
    for handler in handlers:
        logger.addHandler(handler)


def _rotating(folder: Path, name: str, formatter: logging.Formatter) -> RotatingFileHandler:
    """A file of its own for each process: two that turned the same file over would lose lines."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{name}-{socket.gethostname()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            folder / f"{plain}.log", maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8"
        )
    except OSError as error:
        problem = {"field": "DTI_LOG_DIR", "reason": f"{folder} cannot be written: {error.strerror}"}
        raise InvalidRequest("The settings cannot be used", [problem]) from error
    handler.setFormatter(formatter)
    return handler
