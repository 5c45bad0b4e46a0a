"""Converts preferences into the groups that a `dpo` stage learns from: pairs for pairwise losses, verdicts for KTO.

Pairs are never converted into verdicts or verdicts into pairs: a completion that is better than another is not
necessarily good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from preflab.errors import PreflabError
from preflab.settings.dpo import DpoSettings, VerdictSettings
from preflab.stages.common.preference_data import PreferenceData
from preflab.words import count

if TYPE_CHECKING:
    from preflab.policy.dpo_groups import Group
    from preflab.records import Preference
    from preflab.rewards.rankings import Encoder, Ranking
    from preflab.training.token_limits import TokenLimits
    from preflab.training.too_long import LongRows


@dataclass(frozen=True)
class FoundGroups:
    """The groups made from preferences, and what was left out."""

    train: list[Group]
    held_out: list[Group]
    num_equal: int
    """Number of pairs left out because both completions have the same tokens, possibly only after a cut."""
    long: LongRows
    """The groups that were too long, and how they are handled."""


def find_groups(
    data: PreferenceData, encoder: Encoder, settings: DpoSettings, *, max_tokens: int | TokenLimits
) -> FoundGroups:
    """Tokenizes the preferences and makes the pairs and verdicts that the losses need, split into train and held out.

    All groups of a prompt are on the same side of the split.

    Raises:
        PreflabError: the losses can learn nothing from the preferences, fewer than two prompts remain, a completion
            is empty, or a prompt with its completion exceeds `max_tokens` and the settings refuse that.
    """
    from preflab.policy.dpo_groups import only_used, with_mismatched
    from preflab.rewards.rankings import make_rankings
    from preflab.training.held_out import held_out_prompts, parted, refuse_all_held_out
    from preflab.training.too_long import LongRows

    rankings = make_rankings(
        data.preferences,
        data.prompts,
        data.completions,
        encoder,
        soft_labels=settings.soft_labels,
        fail_as_rejected=settings.fail_as_rejected,
    )
    long = LongRows(max_tokens, settings.too_long)
    fitting = [(_fitted(r, data, long), p) for r, p in zip(rankings, data.preferences, strict=True)]
    kept = [(ranking, preference) for ranking, preference in fitting if ranking is not None]
    long.check(len(kept))
    num_equal = sum(_num_equal(ranking) for ranking, _ in kept) if settings.learns_pairs else 0
    made = [_group(ranking, preference, settings) for ranking, preference in kept]
    groups = [only_used(group) for group in made if group.pairs or group.verdicts]
    _refuse_nothing(groups, data, num_equal, settings)
    _refuse_empty(groups, data)
    train, held_out = parted(groups, held_out_prompts(data.asked, settings.held_out))
    refuse_all_held_out(len(train), len(held_out), data.name, "groups")
    if settings.learns_verdicts:
        train, held_out = with_mismatched(train), with_mismatched(held_out)
    return FoundGroups(train, held_out, num_equal, long)


def _fitted(ranking: Ranking, data: PreferenceData, long: LongRows) -> Ranking | None:
    """The ranking with sequences that fit the model, cut if the settings say so; None if it is left out."""
    sequences = long.fitted(ranking.sequences, data.where(ranking.prompt_id))
    return None if sequences is None else replace(ranking, sequences=sequences)


def verdicts_of(preference: Preference, settings: VerdictSettings) -> list[float | None]:
    """For each completion a verdict in [0, 1], where 1 means good; None without a verdict.

    Thumbs are the share of labelers who call the completion good. A Likert score gives 1 from `good_from` up, 0 from
    `bad_to` down, and None in between.

    Raises:
        PreflabError: there are several criteria and none is named, or the named one does not exist.
    """
    if preference.thumbs:
        return list(preference.thumbs)
    if not preference.scores:
        return [None] * len(preference.completion_ids)
    names = sorted(preference.scores)
    name = settings.criterion or (names[0] if len(names) == 1 else None)
    if name is None or name not in preference.scores:
        raise PreflabError(
            f"Likert scores for {', '.join(names)}; verdicts.criterion is {settings.criterion or 'not set'}",
            "one of these criteria",
            "set verdicts.criterion to its name",
        )
    return [_likert(score, settings) for score in preference.scores[name]]


def _likert(score: float | None, settings: VerdictSettings) -> float | None:
    if score is None or settings.bad_to < score < settings.good_from:
        return None
    return 1.0 if score >= settings.good_from else 0.0


def _group(ranking: Ranking, preference: Preference, settings: DpoSettings) -> Group:
    """The pairs and verdicts of one preference; without soft labels an even split of thumbs gives no verdict."""
    from preflab.policy.dpo_groups import Group, LabelledPair, Verdict
    from preflab.rewards.rankings import same_text

    pairs, verdicts = [], []
    if settings.learns_pairs:
        differing = [pair for pair in ranking.pairs if not same_text(ranking, pair)]
        pairs = [LabelledPair(p.first, p.second, p.label, p.weight) for p in differing]
    if settings.learns_verdicts:
        numbered = enumerate(verdicts_of(preference, settings.verdicts))
        known = [(index, up) for index, up in numbered if up is not None and (settings.soft_labels or up != 0.5)]
        verdicts = [Verdict(index, up if settings.soft_labels else float(up > 0.5), 1.0) for index, up in known]
    return Group(ranking.prompt_id, ranking.sequences, tuple(pairs), tuple(verdicts))


def _num_equal(ranking: Ranking) -> int:
    from preflab.rewards.rankings import same_text

    return sum(same_text(ranking, pair) for pair in ranking.pairs)


def _refuse_nothing(groups: Sequence[Group], data: PreferenceData, num_equal: int, settings: DpoSettings) -> None:
    """Raises an error if a kind of loss has no pairs, no verdicts, or only good or only bad verdicts to learn from."""
    num = f"{data.name}: {count(len(data.preferences), 'preference')}"
    if settings.learns_pairs and not any(group.pairs for group in groups):
        equal = f"; {count(num_equal, 'pair is', 'pairs are')} of two equal texts" if num_equal else ""
        raise PreflabError(
            f"{num} without a pair to learn from{equal}",
            "at least one completion that is preferred to another one",
            "check why all are tied, failed or equal; to train on thumbs, set `losses: [{kind: kto}]`",
        )
    if settings.learns_verdicts and not any(group.verdicts for group in groups):
        raise PreflabError(
            f"{num} without thumbs, and without Likert scores beyond verdicts.good_from and verdicts.bad_to",
            "completions that were judged good or bad individually",
            "collect thumbs or Likert scores, or learn from pairs with `losses: [{kind: dpo}]`",
        )
    thumbs = [verdict.up for group in groups for verdict in group.verdicts]
    if settings.learns_verdicts and (min(thumbs) >= 0.5 or max(thumbs) <= 0.5):
        raise PreflabError(
            f"{num} with {count(len(thumbs), 'verdict')}, none of them {'bad' if min(thumbs) >= 0.5 else 'good'}",
            "completions that were judged good and others that were judged bad",
            "collect both, or lower verdicts.good_from or raise verdicts.bad_to; good ones alone suit stage sft",
        )


def _refuse_empty(groups: Sequence[Group], data: PreferenceData) -> None:
    from preflab.policy.dpo_groups import num_policy_tokens

    for group in groups:
        if any(num_policy_tokens(sequence) == 0 for sequence in group.sequences):
            raise PreflabError(
                f"{data.where(group.prompt_id)}: a completion without a token",
                "at least one token per completion",
                "remove it from the preferences",
            )
