"""Fixes a reward model's rotary frequencies for the longest row that it will score in a stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from preflab.records import Prompt
from preflab.rewards.implicit import ImplicitScorer
from preflab.rewards.score import RewardModelScorer
from preflab.training.protocols import ScoringItem


def fix_longest(
    scorer: RewardModelScorer | ImplicitScorer,
    prompts: Sequence[tuple[Prompt, tuple[int, ...]]],
    max_new_tokens: int,
    further: Iterable[ScoringItem] = (),
) -> None:
    """Fix a reward's rotary frequencies for the longest prompt, in the reward's tokens, plus max_new_tokens.

    If the reward reads text, the completion's length in its tokens may differ slightly from the policy's. Nothing is
    done if its frequencies do not depend on the length.

    Args:
        scorer: the reward.
        prompts: all prompts of the stage with the policy's token ids.
        max_new_tokens: the longest completion, in the policy's tokens.
        further: other items that it scores.
    """
    rows, encoder = scorer.trunk.row_lengths, scorer.encoder
    if not rows or not prompts:
        return
    if scorer.takes_tokens:
        longest = max(len(ids) for _, ids in prompts)
    elif encoder.causal:
        longest = max(len(encoder.renderer.prompt_ids(prompt)) for prompt, _ in prompts)
    else:
        longest = max(len(scorer.sequence(ScoringItem(prompt, ""))) for prompt, _ in prompts)
    lengths = [longest + max_new_tokens, *(len(scorer.sequence(item)) for item in further)]
    rows.fix(min(max(lengths), encoder.max_tokens))
