"""What the guard raises: the input, what is wrong with it, and what its owner can do about it."""

from __future__ import annotations

from dti_service.errors import InvalidRequest

NAME_LENGTH = 160


def shown(name: str) -> str:
    """A name from outside, fit for a message: one line, printable, of bounded length."""
    text = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name
    )
    return text if len(text) <= NAME_LENGTH else text[: NAME_LENGTH - 1] + "…"


class GuardError(InvalidRequest):
    """An input that is refused. `subject` names the file or the address; a run that meets it fails as `kind`."""

    kind = "bad_input"

    def __init__(self, subject: str, reason: str, remedy: str) -> None:
        self.subject = shown(subject)
        self.reason = reason
        self.remedy = remedy
        super().__init__(
            f"{self.subject}: {reason}; {remedy}", [{"field": self.subject, "reason": f"{reason}; {remedy}"}]
        )

    def about(self, subject: str) -> GuardError:
        """The same refusal, of an input that is known to its owner by another name."""
        return GuardError(subject, self.reason, self.remedy)


class FetchError(GuardError):
    """An address that could not be read. `transient`: trying again may help. `status`: the server's answer."""

    def __init__(
        self, subject: str, reason: str, remedy: str, *, transient: bool = False, answer: int = 0
    ) -> None:
        super().__init__(subject, reason, remedy)
        self.transient = transient
        self.answer = answer


class PreparationStopped(Exception):
    """Somebody asked to stop before the dataset was complete; what was downloaded is kept for the next try."""
