"""Inspect the data for a first recipe: type, number of rows, conversations or texts, splits, criteria."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from preflab.errors import PreflabError
from preflab.records import Completion, Preference, Prompt
from preflab.store.formats import Imported, read_file
from preflab.store.formats.as_turns import with_turns
from preflab.store.formats.columns import ANSWERS
from preflab.store.formats.detect import detect
from preflab.store.image_texts import refuse_image_campaign, refuse_images

Sort = Literal["pairs", "ratings", "thumbs", "demonstrations", "texts", "answers", "prompts"]
"""The type of the data: comparisons; scores; good or bad; prompts with completions; plain texts; prompts with an answer
to check; prompts alone."""
MOST_ROWS = 50_000
"""Most rows that are inspected, from the start of the file."""
CHAT_FORMS = {"hh-rlhf": "hh-rlhf-chat"}
"""Format whose prompts are transcripts → the format that reads them as turns, for models with a chat template."""
NOT_COMPARED = {"label", "test", "tests", "test_cases", "reward_model"}
"""Columns for reward functions that are not an answer to compare with: classes, programs, settings."""
ALMOST_ALL = 0.95
"""Share of prompts that must have a column for it to count as the answer column."""


@dataclass(frozen=True)
class Scale:
    """The range of the scores of one criterion."""

    low: float
    high: float
    num: int
    thirds: tuple[float, float]
    """A third of the scores are at or below the first number, a third at or above the second."""


@dataclass(frozen=True)
class DataLook:
    """The inspected data."""

    path: str
    """The path or id as given by the user."""
    format: str
    split: str | None
    as_turns: bool
    """Whether text prompts were turned into user turns."""
    other_splits: tuple[str, ...]
    num_rows: int
    whole: bool
    """Whether all rows of the file were inspected."""
    num_bad: int
    """Rows that cannot be used."""
    first_bad: str
    """Line and problem of the first such row."""
    notes: tuple[str, ...]
    """The reader's notes on columns, equal rows and parts left out."""
    sort: Sort
    prompts: tuple[Prompt, ...]
    completions: Mapping[str, Completion]
    preferences: tuple[Preference, ...]
    demonstrations: tuple[str, ...]
    scales: Mapping[str, Scale] = field(default_factory=dict)
    answer: str = ""
    """Name of the column with the answer that completions are checked against; "" without one."""

    @property
    def num_conversations(self) -> int:
        """Number of prompts that are conversations."""
        return sum(bool(prompt.messages) for prompt in self.prompts)

    @property
    def num_pairs(self) -> int:
        """Number of pairs with a preferred completion."""
        return sum(len(preference.chosen_rejected()) for preference in self.preferences)

    @property
    def num_ties(self) -> int:
        """Number of pairs judged equal."""
        return sum(pair.margin == 0 for preference in self.preferences for pair in preference.pairs)

    @property
    def judged(self) -> list[Completion]:
        """The completions to learn from, each once."""
        ids = dict.fromkeys(i for preference in self.preferences for i in preference.completion_ids)
        return [self.completions[i] for i in (ids or dict.fromkeys(self.demonstrations))]

    def places(self) -> dict[str, float]:
        """Id of a prompt (or text) to learn from → its place in [0, 1), by which the stages hold out prompts."""
        from preflab.stages.common.data import demonstration_share, prompt_share

        prompts = {prompt.id: prompt for prompt in self.prompts}
        learned = {completion.prompt_id for completion in self.judged} or set(prompts)
        places = {
            prompt.id: prompt_share(prompt)
            for prompt in self.prompts
            if prompt.id in learned and (prompt.text or prompt.messages)
        }
        texts = [each for each in self.judged if each.prompt_id not in places]
        return places | {each.id: demonstration_share(prompts[each.prompt_id], each) for each in texts}


def look_at_data(
    path: str,
    *,
    split: str | None = None,
    chat: bool,
    limit: int | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> DataLook:
    """Read the file as a stage would and describe it.

    Args:
        path: a file, a folder, or `owner/name` of a data set on the Hub.
        split: split of a folder or data set with several; None: the only one, else `train`.
        chat: whether the model has a chat template.
        limit: most rows to read; None: one more than `MOST_ROWS`.
        format: format of the rows; None: guessed from the columns, with transcripts read as turns if `chat` is set.
        columns: column of the file → the format's name for it.

    Raises:
        PreflabError: the file is missing, has no known layout or no usable row, or its judgments are about images.
    """
    place = Path(path).expanduser()
    chosen, others = _choose_split(place, split)
    if format is None:
        format = detect(place, rename=columns, split=chosen).format
        format = CHAT_FORMS.get(format, format) if chat else format
    # One row more than is inspected shows whether the file has further rows.
    limit_rows = limit or MOST_ROWS + 1
    read = read_file(place, format, limit_rows=limit_rows, skip_bad=True, rename=columns, split=chosen)
    made_turns = chat and any(prompt.text for prompt in read.prompts)
    read = with_turns(read) if made_turns else read
    if not read.prompts:
        first = read.problems[0] if read.problems else None
        raise PreflabError(
            f"{path}: none of the {read.num_rows:,} rows can be used"
            + (f"; {read.unit} {first.line}: {first.found}" if first else ""),
            first.expected if first else "rows with a prompt",
            "correct the rows, or name another file",
        )
    for campaign in read.campaigns:
        refuse_image_campaign(campaign)
    refuse_images([completion.text for completion in read.completions], path)
    return _describe(path, read, chosen, others, made_turns)


def _choose_split(place: Path, split: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The split to learn from, and the others."""
    from preflab.store.formats.folders import splits_of

    if not place.is_dir():
        return split, ()
    names = list(splits_of(place))
    if split is None and len(names) > 1:
        split = next((name for name in names if name.rpartition("/")[2].startswith("train")), None)
    return split, tuple(name for name in names if name != split) if len(names) > 1 else ()


def _describe(path: str, read: Imported, split: str | None, others: Sequence[str], as_turns: bool) -> DataLook:
    preferences = tuple(read.preferences or _consensus(read))
    scales, answer = _scales(preferences), _find_answer_column(read.prompts)
    bad = read.problems[0] if read.problems else None
    return DataLook(
        path=path,
        format=read.format,
        split=split,
        as_turns=as_turns,
        other_splits=tuple(others),
        num_rows=min(read.num_rows, MOST_ROWS),
        whole=read.num_rows <= MOST_ROWS,
        num_bad=len(read.problems),
        first_bad=f"{read.unit} {bad.line}: {bad.found}" if bad else "",
        notes=tuple(read.lines()),
        sort=_sort(read, preferences, scales, answer),
        prompts=tuple(read.prompts),
        completions={completion.id: completion for completion in read.completions},
        preferences=preferences,
        demonstrations=tuple(read.demonstrations),
        scales=scales,
        answer=answer,
    )


def _consensus(read: Imported) -> list[Preference]:
    """The consensus of the archive's judgments, computed as in the stages."""
    from preflab.stages.common.preference_data import agreed_preferences

    completions = {completion.id: completion for completion in read.completions}
    return agreed_preferences(read.judgments, completions)


def _sort(read: Imported, preferences: Sequence[Preference], scales: Mapping[str, Scale], answer: str) -> Sort:
    if any(preference.chosen_rejected() for preference in preferences):
        return "pairs"
    if any(preference.thumbs for preference in preferences):
        return "thumbs"
    if scales:
        return "ratings"
    if preferences:
        return "pairs"
    if read.demonstrations:
        return "texts" if all(not (p.text or p.messages) for p in read.prompts) else "demonstrations"
    return "answers" if answer else "prompts"


def _scales(preferences: Sequence[Preference]) -> dict[str, Scale]:
    """Criterion → the range of its scores."""
    values: dict[str, list[float]] = {}
    for preference in preferences:
        for name, scores in preference.scores.items():
            values.setdefault(name, []).extend(score for score in scores if score is not None)
    return {name: _scale(sorted(scores)) for name, scores in values.items() if scores}


def _scale(scores: Sequence[float]) -> Scale:
    last = len(scores) - 1
    return Scale(scores[0], scores[-1], len(scores), (scores[last // 3], scores[-(last // 3) - 1]))


def _find_answer_column(prompts: Sequence[Prompt]) -> str:
    """The column with an answer to check that nearly every prompt has; "" for none."""
    counts = Counter(
        name
        for prompt in prompts
        for name, value in prompt.columns.items()
        if name.lower() in ANSWERS - NOT_COMPARED and isinstance(value, str | int | float) and str(value).strip()
    )
    columns = [name for name, num in counts.most_common() if num >= ALMOST_ALL * len(prompts)]
    return columns[0] if columns else ""
