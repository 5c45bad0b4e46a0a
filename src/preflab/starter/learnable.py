"""What is left to learn from once prompts are held out and rows do not fit: what `run` would refuse is refused here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from preflab.errors import PreflabError
from preflab.records import Preference
from preflab.starter.choices import Fit, Split
from preflab.starter.data_look import DataLook
from preflab.starter.kinds import Kind
from preflab.starter.lengths import Lengths
from preflab.words import count

JUDGED = ("pairs", "ratings", "thumbs")
MEANT = {
    "pairs": "pairs of which one is preferred",
    "ratings": "ratings that differ",
    "thumbs": "completions that were called good and others that were called bad",
}
"""What the data are → what a stage has to find in its part."""


@dataclass(frozen=True)
class Part:
    """What one stage learns from: neither held out of the data nor by the stage, and short enough."""

    name: str
    preferences: tuple[Preference, ...]
    too_long: frozenset[str]
    """Completions that are left out."""

    def ratings(self, criterion: str) -> list[float]:
        """The scores of completions that fit."""
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
        """The groups that fit with all their completions."""
        return [each for each in self.preferences if not self.too_long.intersection(each.completion_ids)]


def parts_of(kind: Kind, data: DataLook, split: Split, lengths: Lengths, fit: Fit) -> list[Part]:
    """The training part, and the held-out one where a judge of its own learns from it.

    Args:
        kind: of learning.
        data: the rows that the recipe reads.
        split: what is held out.
        lengths: of the rows.
        fit: beyond which length rows are left out.
    """
    from preflab.stages.data import in_split, prompt_share

    prompts = {prompt.id: prompt for prompt in data.prompts}
    names = ["train"] + ["held_out"] * (split.judge_apart and data.sort != "thumbs" and kind not in ("reward", "sft"))
    too_long = lengths.longer_than(fit.max_tokens)
    parts = []
    for name in names:
        own = [
            preference
            for preference in data.preferences
            if in_split(prompt_share(prompts[preference.prompt_id]), name, split.share)
        ]
        parts.append(Part(name, tuple(_taught(own, data)), too_long))
    return parts


def _taught(preferences: Sequence[Preference], data: DataLook) -> Iterator[Preference]:
    """Those that the stage does not hold out for its own figures."""
    from preflab.settings.learning import RewardSettings
    from preflab.training.held_out import held_out_prompts

    prompts = {prompt.id: prompt for prompt in data.prompts}
    share = RewardSettings.model_fields["held_out"].default
    try:
        apart = held_out_prompts([prompts[each.prompt_id] for each in preferences], share)
    except PreflabError as error:
        raise PreflabError(f"{data.path}: {error.found}", error.expected, "add rows") from error
    return (preference for preference in preferences if preference.prompt_id not in apart)


def varying(parts: Sequence[Part], weights: Mapping[str, float], data: DataLook) -> dict[str, float]:
    """The criteria whose ratings differ in every part, with their weights; {}: all of them, weighing alike.

    Raises:
        PreflabError: the ratings of no criterion differ.
    """
    wanted = dict(weights) or dict.fromkeys(data.scales, 1.0)
    kept = {name: weight for name, weight in wanted.items() if all(len(set(p.ratings(name))) > 1 for p in parts)}
    if not kept:
        name = next(iter(wanted))
        num = len(parts[0].ratings(name))
        raise PreflabError(
            f"{data.path}: {count(num, 'rating')} by {', '.join(wanted)} to learn from, and all of them say the same",
            MEANT["ratings"],
            "collect more ratings, or name other data",
        )
    return kept if weights or len(kept) < len(wanted) else {}


def refuse_unlearnable(data: DataLook, parts: Iterable[Part], verdicts: Mapping[str, float | str] | None) -> None:
    """Refuses comparisons and verdicts of which no part holds what a stage learns from.

    Args:
        data: the rows that the recipe reads.
        parts: of `parts_of`.
        verdicts: of ratings that are read as good and bad: criterion, good_from, bad_to.

    Raises:
        PreflabError: all that tells something is held out or too long.
    """
    for part in parts:
        if not _teaches(part, data, verdicts):
            raise PreflabError(
                f"{data.path}: nothing to learn from in its part `{part.name}`: what tells something is held out, or "
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
    """Refuses demonstrations and texts of which none that is learned fits, and prompts none of which leaves room.

    Raises:
        PreflabError: no row of a part is short enough.
    """
    from preflab.stages.data import in_split

    answered = {"train": kind in ("ppo", "grpo"), "held_out": kind != "reward" and data.sort != "texts"}
    for part, writes in answered.items():
        ids = {name for name, place in data.places().items() if in_split(place, part, split.share)}
        learned = [each for each in data.demonstrations if ids.intersection((each, data.completions[each].prompt_id))]
        fits = not learned or part == "held_out" or bool(set(learned) - lengths.longer_than(fit.max_tokens))
        if not fits or (writes and not ids - lengths.without_room):
            raise PreflabError(
                f"{data.path}: no row of its part `{part}` fits into the context of the model",
                "rows that fit, on both sides",
                "choose a model with a longer context, or shorten the rows",
            )
