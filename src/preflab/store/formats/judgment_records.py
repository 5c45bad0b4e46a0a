"""Builds tasks, labelers, judgments and preferences from judgments that were made with other tools.

Argilla, Label Studio and plain rankings share this code; only their columns differ. Every labeler's answer becomes a
judgment. Each task also gets a preference by counting votes, one per labeler, so that a file can be learned from
directly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from preflab.records import (
    Answer,
    Campaign,
    Completion,
    Judgment,
    Labeler,
    PairOutcome,
    Preference,
    Prompt,
    Task,
    content_id,
)
from preflab.store.formats.asked import Spans
from preflab.store.formats.fields import imported
from preflab.store.formats.json_rows import BadRow
from preflab.store.rows import Record

NOBODY = "nobody named"
"""The labeler of all rows that name none; together they count as one labeler."""


@dataclass(frozen=True)
class Judged:
    """One labeler's answer about completions of one prompt."""

    format: str
    question: str
    """The question's name in the file; the tasks of one question form one campaign."""
    prompt_id: str
    completion_ids: tuple[str, ...]
    answer: Answer
    """Aligned with `completion_ids`."""
    labeler: str
    created_at: str = ""
    active_ms: int = 0
    note: str = ""


def completions_of(prompt: Prompt, texts: Sequence[str | Spans], models: Sequence[str]) -> list[Completion]:
    """The completions of a row; equal ones of one model get different indices."""
    seen: Counter[tuple[str | Spans, str]] = Counter()
    completions = []
    for words, model in zip(texts, models, strict=True):
        completions.append(imported(prompt, words, model, index=seen[words, model]))
        seen[words, model] += 1
    return completions


def in_order(judged: Judged) -> Judged:
    """The answer with its completions sorted by id, so that tasks shown in different orders are the same task."""
    order = sorted(range(len(judged.completion_ids)), key=lambda i: judged.completion_ids[i])
    ids = tuple(judged.completion_ids[i] for i in order)
    return replace(judged, completion_ids=ids, answer=judged.answer.reordered(order))


def rank_of(value: object, what: str) -> int | None:
    """A rank from 1, which may be written as text; None for F (`F`, `f`, null).

    Raises:
        BadRow: anything else.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() == "f"):
        return None
    text = str(value).strip().removesuffix(".0")
    if isinstance(value, bool) or not text.isdecimal() or int(text) < 1:
        raise BadRow(f"the rank {value!r} of {what}", "1 (best), 2, 3, …, or F")
    return int(text)


def records_of(items: Sequence[Judged]) -> list[Record]:
    """Campaigns, tasks, labelers and judgments of all rows, and one preference per task.

    A labeler's second answer to a task is a further revision of the judgment.
    """
    campaigns: dict[str, Campaign] = {}
    tasks: dict[str, Task] = {}
    labelers: dict[str, Labeler] = {}
    judgments: dict[str, list[Judgment]] = defaultdict(list)
    revisions: Counter[tuple[str, str]] = Counter()
    for judged in map(in_order, items):
        campaign = _make_campaign(judged)
        task = _make_task(judged, campaign)
        labeler = _make_labeler(judged)
        revisions[task.id, labeler.id] += 1
        judgment = _make_judgment(judged, campaign, task, labeler, revisions[task.id, labeler.id])
        campaigns[campaign.id], tasks[task.id], labelers[labeler.id] = campaign, task, labeler
        judgments[task.id].append(judgment)
    preferences = [
        _make_preference(tasks[task_id], judgments_of_task) for task_id, judgments_of_task in judgments.items()
    ]
    every = [judgment for judgments_of_task in judgments.values() for judgment in judgments_of_task]
    return [*campaigns.values(), *labelers.values(), *tasks.values(), *every, *preferences]


def _make_campaign(judged: Judged) -> Campaign:
    way, criteria = judged.answer.way, judged.answer.criteria
    content = [judged.format, judged.question, way]
    return Campaign(content_id("campaign", [*content, criteria]), judged.question, way, criteria=criteria)


def _make_task(judged: Judged, campaign: Campaign) -> Task:
    content = {"campaign": campaign.id, "completions": list(judged.completion_ids)}
    return Task(content_id("task", content), campaign.id, judged.prompt_id, judged.completion_ids)


def _make_labeler(judged: Judged) -> Labeler:
    """A labeler with the name in the file; `store.incoming` replaces it by a pseudonym before anything is stored."""
    return Labeler(content_id("labeler", [judged.format, judged.labeler]), judged.labeler, "person")


def _make_judgment(judged: Judged, campaign: Campaign, task: Task, labeler: Labeler, revision: int) -> Judgment:
    return Judgment(
        id=content_id("judgment", [task.id, labeler.id, revision]),
        campaign_id=campaign.id,
        task_id=task.id,
        prompt_id=task.prompt_id,
        completion_ids=task.completion_ids,
        shown_order=tuple(range(len(task.completion_ids))),
        question=campaign.question,
        polarity=campaign.polarity,
        answer=judged.answer,
        labeler_id=labeler.id,
        labeler_kind="person",
        revision=revision,
        active_ms=judged.active_ms,
        created_at=judged.created_at,
        note=judged.note,
    )


def _make_preference(task: Task, judgments: Sequence[Judgment]) -> Preference:
    """The preference of a task with one vote per labeler.

    A completion is F if half of the labelers mark it; ranks follow from pairs won minus pairs lost.
    """
    latest = list({judgment.labeler_id: judgment for judgment in judgments}.values())
    num = len(task.completion_ids)
    votes = [judgment.answer.levels(num) for judgment in latest]
    marks = [fails(judgment.answer, num) for judgment in latest]
    failed = [sum(row[i] for row in marks) * 2 >= len(latest) for i in range(num)]
    left = [i for i in range(num) if not failed[i]]
    pairs = _count_pairs(votes, left)
    won = [sum(_sign(p.margin) * ((p.first == i) - (p.second == i)) for p in pairs) for i in range(num)]
    ranks = tuple(None if failed[i] else 1 + sum(won[j] > won[i] for j in left) for i in range(num))
    return Preference.make(
        task.prompt_id,
        task.completion_ids,
        ranks,
        pairs=pairs,
        judgment_ids=tuple(sorted(judgment.id for judgment in latest)),
        scores=_means_by_criterion([j.answer for j in latest if j.answer.criteria]),
        thumbs=_means([[_number(u) for u in j.answer.verdicts] for j in latest if j.answer.verdicts]),
        source="human",
    )


def _count_pairs(votes: Sequence[Sequence[float | None]], indices: Sequence[int]) -> tuple[PairOutcome, ...]:
    """The outcomes of all pairs of these completions with a vote, from each labeler's levels (higher is better)."""
    counts = {}
    for i, j in combinations(indices, 2):
        signs = [_sign(a - b) for a, b in ((row[i], row[j]) for row in votes) if a is not None and b is not None]
        if signs:
            counts[i, j] = (float(signs.count(1)), float(signs.count(-1)), float(signs.count(0)))
    weight = 1.0 / max(1, sum(wins != losses for wins, losses, _ in counts.values()))
    return tuple(PairOutcome(i, j, *count, weight) for (i, j), count in counts.items())


def fails(answer: Answer, num: int) -> list[bool]:
    """For each of `num` completions whether it was marked F."""
    return list(answer.failures) or [False] * num


def best_first(judgment: Judgment) -> tuple[int | None, ...]:
    """Ranks from 1 for the best, for every way of judging and both polarities; None for F or not judged."""
    ranks = judgment.answer.ranks_given
    if ranks is not None and judgment.polarity > 0:
        return ranks
    num = len(judgment.completion_ids)
    failed = fails(judgment.answer, num)
    levels = [
        None if level is None or failed[i] else level * judgment.polarity
        for i, level in enumerate(judgment.answer.levels(num))
    ]
    order = sorted({level for level in levels if level is not None}, reverse=True)
    return tuple(None if level is None else 1 + order.index(level) for level in levels)


def _number(value: bool | None) -> float | None:
    return None if value is None else float(value)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _means_by_criterion(answers: Sequence[Answer]) -> dict[str, tuple[float | None, ...]]:
    names = sorted({name for answer in answers for name in answer.ratings})
    return {name: _means([list(a.ratings[name]) for a in answers if name in a.ratings]) for name in names}


def _means(rows: Sequence[Sequence[float | None]]) -> tuple[float | None, ...]:
    """The mean of each column over the values that are not None; () without rows."""
    columns = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
    return tuple(sum(column) / len(column) if column else None for column in columns)
