"""JSON from outside: bounded in size, in number of values and in depth."""

from __future__ import annotations

import json
import re
from typing import Any

from dti_service.datasets.guard.errors import GuardError
from dti_service.datasets.guard.limits import Limits

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def parse_json(data: bytes, subject: str, limits: Limits) -> Any:
    """The value that `data` (UTF-8, a byte order mark is forgiven) holds, or a `GuardError` about `subject`."""
    if len(data) > limits.json_bytes:
        raise GuardError(
            subject, f"more than {limits.json_bytes} bytes of JSON", "split it into several documents"
        )
    # Counted before parsing, because a value of two bytes takes a hundred in memory.
    if data.count(b",") + data.count(b"[") + data.count(b"{") > limits.json_items:
        raise GuardError(subject, f"more than {limits.json_items} values", "split it into several documents")
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except RecursionError as error:
        raise GuardError(subject, "nested too deeply", f"use at most {limits.json_depth} levels") from error
    except ValueError as error:
        if data.lstrip()[:1] == b"<":
            raise GuardError(subject, "a web page instead of JSON", "check the address") from error
        raise GuardError(subject, f"not valid JSON ({str(error)[:120]})", "check the file") from error
    _check_depth(value, subject, limits.json_depth)
    if _SURROGATE.search(data):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise GuardError(
                subject, "it holds half a character (a lone surrogate)", "check the file"
            ) from error
    return value


def _check_depth(value: Any, subject: str, most: int) -> None:
    level = [value]
    depth = 0
    while level:
        depth += 1
        if depth > most + 1:
            raise GuardError(subject, "nested too deeply", f"use at most {most} levels")
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                following += item.values()
            elif isinstance(item, list):
                following += item
        level = following
