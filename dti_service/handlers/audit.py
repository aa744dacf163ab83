"""One audit line for each request that changes something, refused ones too."""

from __future__ import annotations

import re

from dti_service.audit import note

VERBS = ("POST", "PUT", "PATCH", "DELETE")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What a request does, by its place below the base URL; the first that fits.
_ACTIONS = [
    (re.compile(pattern), verb, action)
    for pattern, verb, action in (
        (r"dti/api/experiments", "POST", "submit experiment"),
        (r"dti/api/experiments/[^/]+", "PATCH", "update experiment"),
        (r"dti/api/experiments/[^/]+", "DELETE", "delete experiment"),
        (r"dti/api/experiments/[^/]+/cancel", "POST", "cancel experiment"),
        (r"dti/api/experiments/[^/]+/rerun", "POST", "rerun experiment"),
        (r"dti/api/experiments/[^/]+/assign", "POST", "assign images to experiment"),
        (r"dti/api/experiments/[^/]+/curations/[^/]+", "PUT", "save reading of experiment"),
        (r"dti/api/experiments/[^/]+/curations/[^/]+", "DELETE", "delete reading of experiment"),
        (r"dti/api/datasets", "POST", "create dataset"),
        (r"dti/api/datasets/[^/]+", "PATCH", "update dataset"),
        (r"dti/api/datasets/[^/]+", "DELETE", "delete dataset"),
        (r"dti/api/uploads/[^/]+", "PUT", "upload file"),
        (r"dti/api/cleanup", "POST", "clean up"),
        (r"/*clustering/start/?", "POST", "submit experiment"),
        (r"/*clustering/monitor/clear/?", "POST", "clean up"),
        (r"/*clustering/monitor/clear/[^/]+/?", "POST", "delete experiment"),
        (r"/*(clustering/)?[^/]+/cancel/?", "POST", "cancel experiment"),
    )
]


def action_of(verb: str, path: str) -> str:
    """What a request does, in words; verb and path where no action has a name (the routes of demos)."""
    for pattern, known, action in _ACTIONS:
        if verb == known and pattern.fullmatch(path):
            return action
    return f"{verb.lower()} {path}"


def tell(
    *, verb: str, path: str, status: int, user: str, made: str | None = None, subject: str | None = None
) -> None:
    """Log a request. `path`: below the base URL; `made`: where what it made is; `subject`: the id, if it is known."""
    ids = _ID.findall(made or "") or _ID.findall(path)
    note(user, action_of(verb, path), about=subject or (ids[-1] if ids else None), status=status)
