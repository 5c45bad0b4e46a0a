"""The longest row that a reward will score: the longest prompt in its own tokens, and the longest completion more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from preflab.records import Prompt
from preflab.rewards.longest_row import fix_longest
from preflab.training.protocols import ScoringItem

SHORT, LONG = Prompt.make("ask"), Prompt.make("ask me more")
PROMPTS = [(SHORT, (1, 2, 3, 4, 5)), (LONG, (1, 2, 3))]
"""In the policy's tokens the short one is the longer."""


def fixed(
    prompts: Any, max_new_tokens: int, further: Any = (), *, takes_tokens: bool = False, causal: bool = True
) -> list[int]:
    """What is fixed by a scorer whose tokens are words, with one more in an encoder's frame."""
    lengths: list[int] = []
    scorer: Any = SimpleNamespace(
        trunk=SimpleNamespace(row_lengths=SimpleNamespace(fix=lengths.append)),
        encoder=SimpleNamespace(
            causal=causal,
            max_tokens=20,
            renderer=SimpleNamespace(prompt_ids=lambda prompt: prompt.text.split()),
        ),
        takes_tokens=takes_tokens,
        sequence=lambda item: [*item.prompt.text.split(), *item.text.split(), "end"],
    )
    fix_longest(scorer, prompts, max_new_tokens, further)
    return lengths


@pytest.mark.parametrize(
    ("takes_tokens", "causal", "expected"), [(True, True, 5 + 7), (False, True, 3 + 7), (False, False, 4 + 7)]
)
def test_longest_prompt_is_in_the_tokens_it_is_scored_in(takes_tokens: bool, causal: bool, expected: int) -> None:
    assert fixed(PROMPTS, 7, takes_tokens=takes_tokens, causal=causal) == [expected]


def test_further_items_count_and_the_context_is_the_limit() -> None:
    beside = ScoringItem(LONG, "word " * 9)
    assert fixed(PROMPTS, 7, [beside, ScoringItem(SHORT, "")]) == [3 + 9 + 1]
    assert fixed(PROMPTS, 30, [beside]) == [20]
    assert fixed([], 7, [beside]) == []
