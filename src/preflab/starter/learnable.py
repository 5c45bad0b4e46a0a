"""Check that enough is left to learn from after the held-out prompts and the rows that are too long are removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from preflab.errors import PreflabError
from preflab.records import Preference
from preflab.starter.choices import Fit, Split
from preflab.starter.data_look import DataLook
from preflab.starter.kind_of_learning import Kind
from preflab.starter.lengths import Lengths
from preflab.words import count

JUDGED = ("pairs", "ratings", "thumbs")
MEANT = {
    "pairs": "pairs with a preferred completion",
    "ratings": "ratings that differ",
    "thumbs": "completions marked good and others marked bad",
}
"""Type of the data → what a stage needs in its part."""


@dataclass(frozen=True)
class Part:
    """The preferences that one stage learns from: without those held out, by the data's split or by the stage."""

    name: str
    preferences: tuple[Preference, ...]
    too_long: frozenset[str]
    """Ids of completions that are left out as too long."""

    def ratings(self, criterion: str) -> list[float]:
        """The scores of the completions that are short enough."""
        return [
            score
            for preference in self.preferences
            for completion_id, score in zip(
                preference.completion_ids, preference.scores.get(criterion, ()), strict=False
            )
            if score is not None and completion_id not in self.too_long
        ]

    @property
    def whole(self) -> list[Preference]:
        """The groups whose completions are all short enough."""
        return [each for each in self.preferences if not self.too_long.intersection(each.completion_ids)]


def parts_of(kind: Kind, data: DataLook, split: Split, lengths: Lengths, fit: Fit) -> list[Part]:
    """The training part, and the held-out part if a separate judge learns from it.

    Args:
        kind: the kind of learning.
        data: the rows that the recipe reads.
        split: the held-out share.
        lengths: token counts of the rows.
        fit: settings with the length beyond which rows are left out.
    """
    from preflab.stages.common.data import in_split, prompt_share

    prompts = {prompt.id: prompt for prompt in data.prompts}
    names = ["train"] + ["held_out"] * (split.judge_apart and data.sort != "thumbs" and kind not in ("reward", "sft"))
    too_long = lengths.longer_than(fit.max_tokens)
    parts = []
    for name in names:
        in_part = [
            preference
            for preference in data.preferences
            if in_split(prompt_share(prompts[preference.prompt_id]), name, split.share)
        ]
        parts.append(Part(name, tuple(_without_held_out(in_part, data)), too_long))
    return parts


def _without_held_out(preferences: Sequence[Preference], data: DataLook) -> Iterator[Preference]:
    """The preferences that the stage does not hold out for its own accuracy figures."""
    from preflab.settings.learning import RewardSettings
    from preflab.training.held_out import held_out_prompts

    prompts = {prompt.id: prompt for prompt in data.prompts}
    share = RewardSettings.model_fields["held_out"].default
    try:
        apart = held_out_prompts([prompts[each.prompt_id] for each in preferences], share)
    except PreflabError as error:
        raise PreflabError(f"{data.path}: {error.found}", error.expected, "add rows") from error
    return (preference for preference in preferences if preference.prompt_id not in apart)


def drop_constant(parts: Sequence[Part], weights: Mapping[str, float], data: DataLook) -> dict[str, float]:
    """The weights without criteria whose ratings are all equal in some part; {}: all criteria with equal weights.

    Raises:
        PreflabError: no criterion has ratings that differ.
    """
    wanted = dict(weights) or dict.fromkeys(data.scales, 1.0)
    kept = {name: weight for name, weight in wanted.items() if all(len(set(p.ratings(name))) > 1 for p in parts)}
    if not kept:
        name = next(iter(wanted))
        num = len(parts[0].ratings(name))
        raise PreflabError(
            f"{data.path}: {count(num, 'rating')} by {', '.join(wanted)} to learn from, all of them equal",
            MEANT["ratings"],
            "collect more ratings, or name other data",
        )
    return kept if weights or len(kept) < len(wanted) else {}


def refuse_unlearnable(data: DataLook, parts: Iterable[Part], verdicts: Mapping[str, float | str] | None) -> None:
    """Refuse data with a part from which its stage could not learn.

    Args:
        data: the rows that the recipe reads.
        parts: the result of `parts_of`.
        verdicts: for ratings read as good and bad, the settings criterion, good_from and bad_to; else None.

    Raises:
        PreflabError: in a part, everything informative is held out or too long.
    """
    for part in parts:
        if not _teaches(part, data, verdicts):
            raise PreflabError(
                f"{data.path}: nothing to learn from in its part `{part.name}`: every informative row is held out, or "
                "too long for the model",
                MEANT["thumbs" if verdicts else data.sort],
                "add rows, or choose a model with a longer context",
            )


def _teaches(part: Part, data: DataLook, verdicts: Mapping[str, float | str] | None) -> bool:
    if data.sort == "pairs":
        return any(preference.chosen_rejected() for preference in part.whole)
    if verdicts:
        return _good_and_bad([score for each in part.whole for score in _verdicts(each, verdicts)])
    if data.sort == "thumbs":
        return _good_and_bad([share for each in part.whole for share in each.thumbs if share is not None])
    return True


def _verdicts(preference: Preference, verdicts: Mapping[str, float | str]) -> Iterator[float]:
    for score in preference.scores.get(str(verdicts["criterion"]), ()):
        if score is not None and score >= float(verdicts["good_from"]):
            yield 1.0
        elif score is not None and score <= float(verdicts["bad_to"]):
            yield 0.0


def _good_and_bad(shares: Sequence[float]) -> bool:
    return any(share > 0.5 for share in shares) and any(share < 0.5 for share in shares)


def refuse_no_room(kind: Kind, data: DataLook, split: Split, lengths: Lengths, fit: Fit) -> None:
    """Refuse data with a part in which no row fits into the context, or no prompt leaves room for a completion.

    Raises:
        PreflabError: no row of a part is short enough.
    """
    from preflab.stages.common.data import in_split

    sampled = {"train": kind in ("ppo", "grpo"), "held_out": kind != "reward" and data.sort != "texts"}
    for part, samples in sampled.items():
        ids = {name for name, place in data.places().items() if in_split(place, part, split.share)}
        learned = [each for each in data.demonstrations if ids.intersection((each, data.completions[each].prompt_id))]
        fits = not learned or part == "held_out" or bool(set(learned) - lengths.longer_than(fit.max_tokens))
        if not fits or (samples and not ids - lengths.without_room):
            raise PreflabError(
                f"{data.path}: no row of its part `{part}` fits into the context of the model",
                "rows that fit, in both parts",
                "choose a model with a longer context, or shorten the rows",
            )
