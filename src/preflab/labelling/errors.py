"""What can be wrong with a request, by kind; whoever speaks HTTP turns kinds into statuses."""

from __future__ import annotations

from typing import ClassVar

from preflab.errors import PreflabError
from preflab.words import count


class LabellingError(PreflabError):
    """A request that cannot be done, with a `kind` that says why."""

    kind: ClassVar[str] = "invalid"


class Invalid(LabellingError):
    """What was given is not what was asked for."""


class NotFound(LabellingError):
    """There is no such thing, or not for this person."""

    kind = "not_found"


class NotYours(NotFound):
    """A task that was never shown to this labeler: nothing is said about whether it exists."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task {task_id} of yours", "a task that was shown to you", "take the next task")


class NotAllowed(LabellingError):
    """This person may not do it."""

    kind = "not_allowed"


class SignInFailed(NotAllowed):
    """A name and password, or an invitation, that open nothing."""


class Stale(LabellingError):
    """It was changed elsewhere meanwhile.

    Args:
        current_revision: the revision to look at and to base the next one on.
        what: what was changed.
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
    """Tried too often.

    Args:
        retry_after: seconds to wait.
    """

    kind = "too_many"

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__("too many attempts", "a few at a time", f"try again in {count(retry_after, 'second')}")
