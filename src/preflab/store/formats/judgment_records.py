"""Judgments made elsewhere, one at a time → tasks, labelers, judgments, and the preferences counted from them.

Argilla, Label Studio and plain rankings differ in their columns alone. Every labeler's answer is kept as a judgment;
beside them each task's votes are counted, one labeler one vote, so that a file can also be learned from directly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
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
"""The labeler of rows that name none: all of them count as one."""
TOO_FEW = "tasks with fewer than two completions"


@dataclass(frozen=True)
class Judged:
    """One labeler's answer about the completions of one prompt."""

    format: str
    question: str
    """What the export calls the question; tasks of one question make one campaign."""
    prompt_id: str
    completion_ids: tuple[str, ...]
    answer: Answer
    """Aligned with `completion_ids`."""
    labeler: str
    created_at: str = ""
    active_ms: int = 0
    note: str = ""


def completions_of(prompt: Prompt, texts: Sequence[str | Spans], models: Sequence[str]) -> list[Completion]:
    """The completions of a row; equal ones of one model are told apart by their number."""
    seen: Counter[tuple[str | Spans, str]] = Counter()
    completions = []
    for words, model in zip(texts, models, strict=True):
        completions.append(imported(prompt, words, model, index=seen[words, model]))
        seen[words, model] += 1
    return completions


def in_order(judged: Judged) -> Judged:
    """The same with its completions by id, so that what was shown in another order is the same task."""
    order = sorted(range(len(judged.completion_ids)), key=lambda i: judged.completion_ids[i])
    ids = tuple(judged.completion_ids[i] for i in order)
    return replace(judged, completion_ids=ids, answer=judged.answer.reordered(order))


def rank_of(value: object, what: str) -> int | None:
    """A rank from 1 or F (`F`, `f`, null); numbers may stand as text.

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
    """Campaigns, tasks, labelers and judgments of all rows, and a preference per task; a second answer is an edit."""
    campaigns: dict[str, Campaign] = {}
    tasks: dict[str, Task] = {}
    labelers: dict[str, Labeler] = {}
    judgments: dict[str, list[Judgment]] = defaultdict(list)
    revisions: Counter[tuple[str, str]] = Counter()
    for judged in map(in_order, items):
        campaign = _campaign(judged)
        task = _task(judged, campaign)
        labeler = _labeler(judged)
        revisions[task.id, labeler.id] += 1
        judgment = _judgment(judged, campaign, task, labeler, revisions[task.id, labeler.id])
        campaigns[campaign.id], tasks[task.id], labelers[labeler.id] = campaign, task, labeler
        judgments[task.id].append(judgment)
    preferences = [
        _counted(tasks[task_id], judgments_of_task, campaigns) for task_id, judgments_of_task in judgments.items()
    ]
    every = [judgment for judgments_of_task in judgments.values() for judgment in judgments_of_task]
    return [*campaigns.values(), *labelers.values(), *tasks.values(), *every, *preferences]


def _campaign(judged: Judged) -> Campaign:
    way, criteria = judged.answer.way, judged.answer.criteria
    content = [judged.format, judged.question, way]
    return Campaign(content_id("campaign", [*content, criteria]), judged.question, way, criteria=criteria)


def _task(judged: Judged, campaign: Campaign) -> Task:
    content = {"campaign": campaign.id, "completions": list(judged.completion_ids)}
    return Task(content_id("task", content), campaign.id, judged.prompt_id, judged.completion_ids)


def _labeler(judged: Judged) -> Labeler:
    """Provisional: `store.incoming` gives another id and name before anything is stored."""
    return Labeler(content_id("labeler", [judged.format, judged.labeler]), judged.labeler, "person")


def _judgment(judged: Judged, campaign: Campaign, task: Task, labeler: Labeler, revision: int) -> Judgment:
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


def _counted(task: Task, judgments: Sequence[Judgment], campaigns: Mapping[str, Campaign]) -> Preference:
    """One labeler, one vote: pairs counted, F by half of the labelers, ranks by pairs won minus pairs lost."""
    latest = list({judgment.labeler_id: judgment for judgment in judgments}.values())
    num = len(task.completion_ids)
    votes = [judgment.answer.levels(num) for judgment in latest]
    failing = [fails(judgment.answer, num) for judgment in latest]
    gone = [sum(row[i] for row in failing) * 2 >= len(latest) for i in range(num)]
    pairs = _pairs(votes, [i for i in range(num) if not gone[i]])
    won = [sum(_sign(p.margin) * ((p.first == i) - (p.second == i)) for p in pairs) for i in range(num)]
    ranks = tuple(None if gone[i] else 1 + sum(won[j] > won[i] for j in range(num) if not gone[j]) for i in range(num))
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


def _pairs(votes: Sequence[Sequence[float | None]], kept: Sequence[int]) -> tuple[PairOutcome, ...]:
    counts = {}
    for i, j in combinations(kept, 2):
        signs = [_sign(a - b) for a, b in ((row[i], row[j]) for row in votes) if a is not None and b is not None]
        if signs:
            counts[i, j] = (float(signs.count(1)), float(signs.count(-1)), float(signs.count(0)))
    weight = 1.0 / max(1, sum(wins != losses for wins, losses, _ in counts.values()))
    return tuple(PairOutcome(i, j, *count, weight) for (i, j), count in counts.items())


def fails(answer: Answer, num: int) -> list[bool]:
    """Which completions were marked F."""
    return list(answer.failures) or [False] * num


def best_first(judgment: Judgment) -> tuple[int | None, ...]:
    """Ranks from 1 for the best, whatever the way of judging and the question's polarity; None for F or not judged."""
    ranks = judgment.answer.ranks_given
    if ranks is not None and judgment.polarity > 0:
        return ranks
    num = len(judgment.completion_ids)
    gone = fails(judgment.answer, num)
    indices = [
        None if level is None or gone[i] else level * judgment.polarity
        for i, level in enumerate(judgment.answer.levels(num))
    ]
    order = sorted({level for level in indices if level is not None}, reverse=True)
    return tuple(None if level is None else 1 + order.index(level) for level in indices)


def _number(value: bool | None) -> float | None:
    return None if value is None else float(value)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _means_by_criterion(answers: Sequence[Answer]) -> dict[str, tuple[float | None, ...]]:
    names = sorted({name for answer in answers for name in answer.ratings})
    return {name: _means([list(a.ratings[name]) for a in answers if name in a.ratings]) for name in names}


def _means(rows: Sequence[Sequence[float | None]]) -> tuple[float | None, ...]:
    """Column means over what is not None; () of no rows."""
    columns = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
    return tuple(sum(column) / len(column) if column else None for column in columns)
