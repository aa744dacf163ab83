"""Errors that a caller can act on: each names what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable


class ConfigError(ValueError):
    """One or more settings are unknown, of the wrong type, out of range or inconsistent.

    `errors` holds every problem as `(field, reason)`, so that a form can show them all at once.
    """

    def __init__(self, errors: Iterable[tuple[str, str]]) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in self.errors))


class DataError(ValueError):
    """The images cannot be used: none found, unreadable, or too few for the request.

    `files` holds the offending files as `(name, reason)` where the problem is in single files.
    """

    def __init__(self, message: str, files: Iterable[tuple[str, str]] = ()) -> None:
        self.files = list(files)
        super().__init__(message)


class TrainingError(RuntimeError):
    """Training cannot go on (for example the loss is no longer a number); the message says where."""


class TrainingStopped(Exception):
    """Training was asked to stop; the checkpoint holds everything up to `iteration`."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration
        super().__init__(f"training stopped at iteration {iteration}; the checkpoint was saved")
