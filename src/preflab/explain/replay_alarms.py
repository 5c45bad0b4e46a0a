"""Chooses the tokens or rollouts of a step that a person should see when an alarm fired."""

from __future__ import annotations

from typing import NamedTuple

from preflab.training.standstill import HARDLY_MOVED


class AlarmView(NamedTuple):
    """The view that the replay opens for an alarm."""

    quantity: str
    """Quantity of tokens that the tokens are ranked by; "" if the alarm is not about tokens."""
    order: str
    """The order of the tokens: largest, smallest, or farthest (from the quantity's neutral value) first."""
    sort: str
    """Order of the step's rollouts: kept, highest, lowest, longest, shortest, most_kl."""
    shows: str
    """The view as a sentence."""


VIEWS = {
    "kl above budget": AlarmView("kl", "largest", "most_kl", "The tokens with the largest KL to the reference."),
    "entropy collapse": AlarmView(
        "entropy", "smallest", "kept", "The tokens that were sampled with the least entropy."
    ),
    "length drift": AlarmView("", "", "longest", "The step's rollouts, the longest first."),
    "repeated n-grams": AlarmView("repeat", "largest", "longest", "The tokens that end a 3-gram written before."),
    "reward up, held-out down": AlarmView("", "", "highest", "The step's rollouts, the highest reward first."),
    "first ratio is not 1": AlarmView(
        "ratio",
        "farthest",
        "kept",
        "The tokens with the ratio farthest from 1 when they were last visited in the step's update.",
    ),
    "sampler holds other weights": AlarmView(
        "mismatch", "farthest", "kept", "The tokens on which sampler and trainer differ most."
    ),
    "chosen becomes unlikely": AlarmView(
        "logratio", "smallest", "lowest", "The tokens that became unlikeliest against the reference."
    ),
    "groups without spread": AlarmView("", "", "kept", "The step's rollouts with their rewards."),
    HARDLY_MOVED: AlarmView("logratio", "farthest", "kept", "The tokens that moved farthest from the reference."),
}
STEP_ONLY = AlarmView("", "", "kept", "The step's rollouts.")


def alarm_view(name: str) -> dict[str, str]:
    """The view of an alarm as JSON; an unknown alarm leads to its step."""
    return VIEWS.get(name, STEP_ONLY)._asdict()
