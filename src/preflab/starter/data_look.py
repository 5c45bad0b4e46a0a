"""What a first recipe has to know of the data: what they are, how many, conversations or texts, splits, criteria."""

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
"""What can be learned from the data: comparisons; scores; good or bad; examples; plain texts; prompts with an answer to
check; prompts alone."""
MOST_ROWS = 50_000
"""Rows that are looked at; of a longer file the first so many."""
CHAT_FORMS = {"hh-rlhf": "hh-rlhf-chat"}
"""Format whose prompts are transcripts → the same read as turns, for models with a chat template."""
NOT_COMPARED = {"label", "test", "tests", "test_cases", "reward_model"}
"""Columns for reward functions that hold no answer to compare with: classes, programs, settings."""
ALMOST_ALL = 0.95


@dataclass(frozen=True)
class Scale:
    """The scores of one criterion."""

    low: float
    high: float
    num: int
    thirds: tuple[float, float]
    """A third of the scores lie at or below the first, a third at or above the second."""


@dataclass(frozen=True)
class DataLook:
    """The data as their rows show them."""

    path: str
    """As it was named."""
    format: str
    split: str | None
    as_turns: bool
    """Whether texts were made a user's turns."""
    other_splits: tuple[str, ...]
    num_rows: int
    whole: bool
    """Whether these are all rows."""
    num_bad: int
    first_bad: str
    notes: tuple[str, ...]
    """What was said of columns, equal rows and parts left out."""
    sort: Sort
    prompts: tuple[Prompt, ...]
    completions: Mapping[str, Completion]
    preferences: tuple[Preference, ...]
    demonstrations: tuple[str, ...]
    scales: Mapping[str, Scale] = field(default_factory=dict)
    answer: str = ""
    """Column that holds the answer to check a completion against."""

    @property
    def num_conversations(self) -> int:
        """Prompts that are turns."""
        return sum(bool(prompt.messages) for prompt in self.prompts)

    @property
    def num_pairs(self) -> int:
        """Pairs that one of two is preferred in."""
        return sum(len(preference.chosen_rejected()) for preference in self.preferences)

    @property
    def num_ties(self) -> int:
        """Pairs that are called equal."""
        return sum(pair.margin == 0 for preference in self.preferences for pair in preference.pairs)

    @property
    def judged(self) -> list[Completion]:
        """Completions that are learned from, each once."""
        ids = dict.fromkeys(i for preference in self.preferences for i in preference.completion_ids)
        return [self.completions[i] for i in (ids or dict.fromkeys(self.demonstrations))]

    def places(self) -> dict[str, float]:
        """Id of a prompt that is learned from, or of a text → where it falls, as the stages find it."""
        from preflab.stages.data import demonstration_share, prompt_share

        prompts = {prompt.id: prompt for prompt in self.prompts}
        asked = {completion.prompt_id for completion in self.judged} or set(prompts)
        places = {
            prompt.id: prompt_share(prompt)
            for prompt in self.prompts
            if prompt.id in asked and (prompt.text or prompt.messages)
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
    """Reads the file as a stage would, and says what it is.

    Args:
        path: a file, a folder, or `owner/name` of a data set on the Hub.
        split: of a folder or data set with several; None: the only one, else `train`.
        chat: whether the model has a chat template.
        limit: look at the first so many rows.
        format: of the rows; None: what the columns say, transcripts as turns for a model with a chat template.
        columns: column of the file → the name that the format knows.

    Raises:
        PreflabError: nothing to read, rows of no known layout, none that can be used, or judgments about images.
    """
    place = Path(path).expanduser()
    chosen, others = _split(place, split)
    if format is None:
        format = detect(place, rename=columns, split=chosen).format
        format = CHAT_FORMS.get(format, format) if chat else format
    most = limit or MOST_ROWS + 1
    read = read_file(place, format, limit_rows=most, skip_bad=True, rename=columns, split=chosen)
    made_turns = chat and any(prompt.text for prompt in read.prompts)
    read = with_turns(read) if made_turns else read
    if not read.prompts:
        first = read.problems[0] if read.problems else None
        raise PreflabError(
            f"{path}: no row of {read.num_rows} can be used"
            + (f"; {read.unit} {first.line}: {first.found}" if first else ""),
            first.expected if first else "rows with a prompt",
            "mend the rows, or name another file",
        )
    for campaign in read.campaigns:
        refuse_image_campaign(campaign)
    refuse_images([completion.text for completion in read.completions], path)
    return _look(path, read, chosen, others, made_turns)


def _split(place: Path, split: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The split to learn from, and the others."""
    from preflab.store.formats.folders import splits_of

    if not place.is_dir():
        return split, ()
    names = list(splits_of(place))
    if split is None and len(names) > 1:
        split = next((name for name in names if name.rpartition("/")[2].startswith("train")), None)
    return split, tuple(name for name in names if name != split) if len(names) > 1 else ()


def _look(path: str, read: Imported, split: str | None, others: Sequence[str], as_turns: bool) -> DataLook:
    preferences = tuple(read.preferences or _agreed(read))
    scales, answer = _scales(preferences), _answer(read.prompts)
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


def _agreed(read: Imported) -> list[Preference]:
    """What labelers of an archive agree on, as the stages find it."""
    from preflab.stages.preference_data import agreed_preferences

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
    """Criterion → its scores' range."""
    values: dict[str, list[float]] = {}
    for preference in preferences:
        for name, scores in preference.scores.items():
            values.setdefault(name, []).extend(score for score in scores if score is not None)
    return {name: _scale(sorted(scores)) for name, scores in values.items() if scores}


def _scale(scores: Sequence[float]) -> Scale:
    last = len(scores) - 1
    return Scale(scores[0], scores[-1], len(scores), (scores[last // 3], scores[-(last // 3) - 1]))


def _answer(prompts: Sequence[Prompt]) -> str:
    """The column beside nearly every prompt that holds an answer to check; "" for none."""
    counts = Counter(
        name
        for prompt in prompts
        for name, value in prompt.columns.items()
        if name.lower() in ANSWERS - NOT_COMPARED and isinstance(value, str | int | float) and str(value).strip()
    )
    usual = [name for name, num in counts.most_common() if num >= ALMOST_ALL * len(prompts)]
    return usual[0] if usual else ""
