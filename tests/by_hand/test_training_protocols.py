"""What goes from a loop to a scorer, and which scores are refused."""

from __future__ import annotations

import math

import pytest
import torch

from preflab.errors import PreflabError
from preflab.records import Completion, Message, Prompt, Span
from preflab.training.protocols import ScoringItem, check_scores

ASKED = Prompt.make("Where?")
ITEMS = [ScoringItem(ASKED, text) for text in ("here", "there", "nowhere")]


def test_one_finite_score_per_completion_is_taken() -> None:
    check_scores(torch.tensor([1.0, -2.0, 0.0]), ITEMS)


@pytest.mark.parametrize("scores", [torch.zeros(2), torch.zeros(4), torch.zeros(3, 1), torch.zeros(())])
def test_scores_of_another_shape_are_refused(scores: torch.Tensor) -> None:
    with pytest.raises(PreflabError, match="for 3 completions"):
        check_scores(scores, ITEMS)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.0, math.nan, math.inf], "2 of 3 rewards are not finite; the first is nan, of completion 1 'there' to"),
        ([-math.inf, 0.0, 0.0], "1 of 3 rewards are not finite; the first is -inf, of completion 0 'here'"),
    ],
)  # fmt: skip
def test_scores_that_are_not_finite_are_named(scores: list[float], message: str) -> None:
    with pytest.raises(PreflabError) as refused:
        check_scores(torch.tensor(scores), ITEMS)
    assert refused.value.found.startswith(message)


def test_item_of_a_record_keeps_turns_that_its_text_cannot_hold() -> None:
    plain = ScoringItem.of(ASKED, Completion.make(ASKED.id, "Here.", "m", finish_reason="length"))
    assert (plain.text, plain.turns, plain.finish_reason) == ("Here.", (), "length")
    assert plain.completion.text == "Here."
    assert plain.completion.finish_reason == "length"
    spans = (Span("Here."), Span("Thanks", role="user", by_policy=False))
    turned = ScoringItem.of(ASKED, Completion.make(ASKED.id, "", "m", spans=spans))
    assert turned.turns == (Message("assistant", "Here."), Message("user", "Thanks"))
    by_user = ScoringItem.of(ASKED, Completion.make(ASKED.id, "", "m", spans=(Span("Hm", role="user"),)))
    assert by_user.turns == (Message("user", "Hm"),)
    message = Message("assistant", "Here.")
    thought = ScoringItem.of(ASKED, Completion.make(ASKED.id, "", "m", spans=(Span("Here.", message=message),)))
    assert thought.turns == (message,)
    assert [span.role for span in turned.completion.spans] == ["assistant", "user"]
