"""Errors of labelling requests; the `kind` of an error decides the HTTP status."""

from __future__ import annotations

from typing import ClassVar

from preflab.errors import PreflabError
from preflab.words import count


class LabellingError(PreflabError):
    """A request that was refused; `kind` says why."""

    kind: ClassVar[str] = "invalid"


class Invalid(LabellingError):
    """A value in the request is wrong."""


class NotFound(LabellingError):
    """The object does not exist, or this person may not see it."""

    kind = "not_found"


class NotYours(NotFound):
    """A task that was never shown to this labeler; the error does not say whether the task exists."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {task_id} of yours", "a task that was shown to you", "take the next task")


class NotAllowed(LabellingError):
    """This person may not do this."""

    kind = "not_allowed"


class SignInFailed(NotAllowed):
    """A wrong name or password, or an invitation that is not valid."""


class Stale(LabellingError):
    """The object was changed elsewhere since it was read.

    Args:
        current_revision: the newest revision, which the next change must be based on.
        what: name of the changed object.
        many: whether `what` is a plural.
    """

    kind = "stale"

    def __init__(self, current_revision: int, what: str = "your judgment of this task", *, many: bool = False) -> None:
        self.current_revision = current_revision
        was, has = ("were", "they have") if many else ("was", "it has")
        super().__init__(
            f"{what} {was} changed elsewhere: {has} revision {current_revision} now",
            "a change based on the newest revision",
            "open it again and compare; nothing you wrote is lost",
        )


class TooMany(LabellingError):
    """Too many attempts.

    Args:
        retry_after: seconds to wait before the next attempt.
    """

    kind = "too_many"

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__("too many attempts", "a few at a time", f"try again in {count(retry_after, 'second')}")
