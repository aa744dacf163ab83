"""Who did what: one line for each action, by whichever way it came, in the log and in a file that is kept.

The file is `audit/<year>-<month>.<host>.jsonl` in the data directory: one JSON object a line. Servers and commands of
one machine append to the same one; machines that share the directory have one each, because a shared file system does
not keep their lines apart.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dti_service.errors import ServiceError

log = logging.getLogger("dti_service.audit")
FOLDER = "audit"


def note(
    user: str | None,
    action: str,
    *,
    about: str | None = None,
    status: int = 200,
    via: str = "rest",
    **facts: Any,
) -> None:
    """Log an action. `about`: the id of what it was done to, or made; `status`: what it ended with, as over HTTP;
    `via`: the way it came."""
    given: dict[str, Any] = {
        "event": "audit",
        "user": user or "",
        "action": action,
        "status": status,
        "via": via,
    }
    if about is not None:
        given["dataset_id" if action.endswith("dataset") else "experiment_id"] = about
    outcome = "" if status < 400 else f" refused ({status})"
    subject = f" {about}" if about else ""
    log.info("%s: %s%s%s", user or "-", action, subject, outcome, extra={**given, **facts})


@dataclass
class Line:
    """What an audit line is about, as soon as it is known."""

    about: str = ""


@contextlib.contextmanager
def audited(user: str | None, action: str, about: str = "", *, via: str) -> Iterator[Line]:
    """One line for what is done inside, refused or not."""
    line = Line(about)
    status = 200
    try:
        yield line
    except ServiceError as error:
        status = error.status
        raise
    except BaseException:
        status = 500
        raise
    finally:
        note(user, action, about=line.about or None, status=status, via=via)


class AuditFile(logging.Handler):
    """Appends each line to this month's file. Several processes may do so at once."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(logging.INFO)
        self.folder = data_dir / FOLDER
        self._host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        month = time.strftime("%Y-%m", time.gmtime(record.created))
        path = self.folder / f"{month}.{self._host}.jsonl"
        line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                os.write(handle, line)  # at once, so that lines of others do not come between
            finally:
                os.close(handle)
        except OSError as error:
            # The action is done; a disk that is full must not make it look as if it were not.
            if not self._failed:
                logging.getLogger("dti_service").warning(
                    "The audit file %s cannot be written: %s", path, error
                )
            self._failed = True
        else:
            self._failed = False
