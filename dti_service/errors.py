"""What can be wrong with a request: each error says what, where, and knows its HTTP status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class ServiceError(Exception):
    """An expected error with a message for people; `errors` lists single problems as {"field", "reason"}."""

    status = 500

    def __init__(self, message: str, errors: Iterable[Mapping[str, str]] = ()) -> None:
        self.errors = [dict(error) for error in errors]
        super().__init__(message)

    def _render_traceback_(self) -> list[str]:
        """A notebook shows what is wrong, not where in our code it was found."""
        details = [f"{error.get('field')}: {error.get('reason')}" for error in self.errors]
        return [
            f"{type(self).__name__}: {self}",
            *(f"  {line}" for line in details if line not in str(self)),
        ]


class BadRequest(ServiceError):
    """The request cannot be read at all."""

    status = 400


class Forbidden(ServiceError):
    """It is somebody else's."""

    status = 403


class NotFound(ServiceError, KeyError):
    """There is nothing of that id or name."""

    status = 404

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0])


class Conflict(ServiceError):
    """The request is fine, but not in this state of things."""

    status = 409


class TooLarge(ServiceError):
    """More than a limit allows."""

    status = 413


class InvalidRequest(ServiceError):
    """The request can be read, but some of its values cannot be used."""

    status = 422


class Unavailable(ServiceError):
    """Not now: a resource such as disk space is missing."""

    status = 503
