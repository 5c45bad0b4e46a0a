"""What was exported is imported as what it was: the same prompts, completions, pairs, ranks, scores and thumbs.

Many records are drawn (`drawn_records`). Whatever an export cannot hold it has to count; everything else has to come
back with the id that its content gives it, and under the format that the file is guessed to have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from drawn_records import Drawn
from preflab.records import (
    Campaign,
    Completion,
    Judgment,
    Labeler,
    Preference,
    Prompt,
    RankingAnswer,
    Task,
)
from preflab.store.exports import EXPORTS
from preflab.store.exports.base import Material, write_rows
from preflab.store.formats import read_file
from preflab.store.formats.fields import one_pair
from preflab.store.formats.imported import Imported

NUM = 60
"""Groups in a file."""
ENDINGS = (".jsonl", ".csv", ".parquet")


def written(path: Path, format: str, records: Sequence[Any], material: Material) -> list[Any]:
    """Write the file an export makes of records; those that got into it."""
    export, rows, inside = EXPORTS[format], [], []
    for record in records:
        before = sum(material.dropped.values())
        made = list(export.rows(record, material))
        rows += made
        inside += [record] * bool(made)
        assert made or sum(material.dropped.values()) > before, "what is dropped is counted"
    write_rows(path, rows, export=export, material=material, chosen={})
    return inside


def material(prompts: Sequence[Prompt], completions: Sequence[Completion], **more: Any) -> Material:
    return Material({p.id: p for p in prompts}, {c.id: c for c in completions}, **more)


def ids(records: Sequence[Any]) -> set[str]:
    return {record.id for record in records}


def learned(preferences: Sequence[Preference]) -> set[tuple[str, str, float]]:
    return {
        (group.completion_ids[i], group.completion_ids[j], weight)
        for group in preferences
        for i, j, weight in group.chosen_rejected()
    }


def scores(preferences: Sequence[Preference]) -> dict[tuple[str, str], float]:
    """(completion, criterion) → score."""
    return {
        (completion_id, name): score
        for group in preferences
        for name, row in group.scores.items()
        for completion_id, score in zip(group.completion_ids, row, strict=True)
        if score is not None
    }


def thumbs(preferences: Sequence[Preference]) -> dict[str, float | None]:
    return {i: up for group in preferences for i, up in zip(group.completion_ids, group.thumbs, strict=False)}


# (export, import, form of the prompts, model that the import supposes)
PAIRS = [
    ("trl-explicit", "trl-explicit", "text", "trl"),
    ("trl-explicit", "trl-explicit", "chat", "trl"),
    ("trl-conversational", "trl-explicit", "chat", "trl"),
    ("trl-implicit", "trl-implicit", "chat", "trl"),
    ("openai-preferences", "openai-preferences", "chat", "openai"),
    ("hh-rlhf", "hh-rlhf-chat", "plain", "hh-rlhf"),
    ("trl-explicit", "trl-explicit", "text", "some model"),
]


PAIR_FILES = [(*pair, e) for pair in PAIRS for e in ENDINGS]
VERDICT_FILES = [(form, e) for form in ("text", "chat", "both") for e in ENDINGS if (form, e) != ("both", ".parquet")]
"""A column of Parquet holds texts or turns."""


@pytest.mark.parametrize(("format", "read_as", "form", "model", "suffix"), PAIR_FILES)
def test_pairs_come_back(tmp_path: Path, format: str, read_as: str, form: str, model: str, suffix: str) -> None:
    drawn = Drawn(1)
    groups, completions = [], []
    prompts = drawn.prompts(form, NUM)
    for prompt in prompts:
        both = drawn.completions(prompt, model, 2, plain=form == "plain")
        sides = drawn.random.choice([{}, {"score": (8.5, 3.0)}, {"rating": (5.0, None)}])
        groups.append(one_pair(prompt, *both, "trl", scores=sides if format.startswith("trl") else {}))
        completions += both
    path = tmp_path / f"pairs{suffix}"
    inside = written(path, format, groups, material(prompts, completions))
    assert len(inside) > NUM / 3
    for name in dict.fromkeys([read_as, read_as if read_as == "hh-rlhf-chat" else None]):
        found = read_file(path, name)
        assert ids(found.prompts) == {group.prompt_id for group in inside}
        assert ids(found.completions) == {i for group in inside for i in group.completion_ids}
        assert learned(found.preferences) == learned(inside)
        assert scores(found.preferences) == scores(inside)


@pytest.mark.parametrize(("form", "suffix"), VERDICT_FILES)
@pytest.mark.parametrize("format", ["trl-unpaired", "ratings"])
def test_scores_and_thumbs_come_back(tmp_path: Path, format: str, form: str, suffix: str) -> None:
    drawn, rating = Drawn(2), format == "ratings"
    groups, completions = [], []
    prompts = drawn.prompts(form, NUM)
    criteria = ["score", "kind", "instruction-following", "is it right?", "ä", "a,b", "=sum"]
    for prompt in prompts:
        made = drawn.completions(prompt, "ratings" if rating else "trl", drawn.random.randint(1, 3))
        names = drawn.random.sample(criteria, 2)
        numbers = [None, 3.0, -1.5, 0.1, 1e-9, 12345.678]
        given = {name: tuple(drawn.random.choice(numbers) for _ in made) for name in names}
        shares = tuple(float(drawn.maybe()) for _ in made)
        values: dict[str, Any] = {"scores": given} if rating else {"thumbs": shares}
        groups.append(Preference.make(prompt.id, tuple(c.id for c in made), (1,) * len(made), **values))
        completions += made
    held = material(prompts, completions)
    path = tmp_path / f"verdicts{suffix}"
    written(path, format, groups, held)
    reasons = {"completions without a score", "texts that would be read as turns"}
    reasons.add("completions that turns cannot hold (no words, or a part that the policy did not write)")
    assert held.dropped.keys() <= reasons
    for name in (format, None):
        found = read_file(path, name)
        kept = ids(found.completions)
        assert len(completions) - len(kept) == sum(held.dropped.values())
        assert thumbs(found.preferences) == {
            i: up for i, up in thumbs(groups if not rating else []).items() if i in kept
        }
        assert scores(found.preferences) == {k: score for k, score in scores(groups).items() if k[0] in kept}
        assert ids(found.prompts) <= ids(prompts)


def test_prompts_and_demonstrations_come_back(tmp_path: Path) -> None:
    drawn = Drawn(3)
    bases = drawn.prompts("both", NUM)
    prompts, completions = [], []
    for prompt in bases:
        columns = {name: drawn.value() for name in ("answer", "topic", "input") if drawn.maybe()}
        prompts.append(Prompt.make(prompt.text, prompt.messages, {**prompt.columns, **columns}))
        made = drawn.completion(prompt, "demonstration")
        if made.text.strip():
            again = Completion.make(made.prompt_id, "", made.model, index=1, spans=made.spans, finish_reason="imported")
            completions += [made, again] if drawn.maybe() else [made]
    inside = written(tmp_path / "p.jsonl", "prompts", prompts, material(prompts, []))
    assert len(inside) > NUM - 5
    for name in ("prompts", None):
        assert ids(read_file(tmp_path / "p.jsonl", name).prompts) == ids(inside)
    inside = written(tmp_path / "d.jsonl", "demonstrations", completions, material(bases, completions))
    for name in ("demonstrations", None):
        found = read_file(tmp_path / "d.jsonl", name)
        assert len(found.demonstrations) == len(inside)
        assert set(found.demonstrations) == ids(found.completions) == ids(inside)
        assert ids(found.prompts) == {c.prompt_id for c in inside}


def judgment(task: Task, labeler: Labeler, ranks: tuple[int | None, ...]) -> Judgment:
    return Judgment(
        f"j-{task.id}-{labeler.id}", task.campaign_id, task.id, task.prompt_id, task.completion_ids,
        tuple(range(len(ranks))), "Which?", 1, RankingAnswer(ranks), labeler.id, "person",
    )  # fmt: skip


def words(completion: Completion) -> str:
    return json.dumps([span.parts for span in completion.spans])


def rankings(found: Imported) -> dict[tuple[str, str], dict[str, int | None]]:
    """(prompt, labeler) → completion → rank."""
    said = {c.id: words(c) for c in found.completions}
    names = {labeler.id: labeler.name for labeler in found.labelers}
    ranks: dict[tuple[str, str], dict[str, int | None]] = {}
    for each in found.judgments:
        assert isinstance(each.answer, RankingAnswer)
        both = zip(each.completion_ids, each.answer.ranks, strict=True)
        ranks[each.prompt_id, names[each.labeler_id]] = {said[i]: rank for i, rank in both}
    return ranks


@pytest.mark.parametrize(
    ("format", "suffix"), [("rankings", ".jsonl"), ("rankings", ".csv"), ("argilla", ".jsonl"), ("argilla", ".csv")]
)
def test_rankings_with_ties_and_fails_come_back(tmp_path: Path, format: str, suffix: str) -> None:
    drawn = Drawn(4)
    campaign, labelers = Campaign("campaign-1", "order", "ranking"), [Labeler(f"l-{n}", n, "person") for n in "ab"]
    judgments: list[Judgment] = []
    completions, expected = [], {}
    prompts = drawn.prompts("both", NUM)
    for number, prompt in enumerate(prompts):
        made = drawn.completions(prompt, "m", drawn.random.randint(2, 4))
        task = Task(f"task-{number}", campaign.id, prompt.id, tuple(c.id for c in made))
        for labeler in labelers[: drawn.random.randint(1, 2)]:
            marks: list[int | None] = [1, 2, 3] if format == "argilla" else [1, 2, 3, None]
            ranks = tuple(drawn.random.choice(marks) for _ in made)
            judgments.append(judgment(task, labeler, ranks))
            expected[prompt.id, labeler.name] = dict(zip(map(words, made), ranks, strict=True))
        completions += made
    held = material(prompts, completions, labelers={x.id: x for x in labelers}, campaigns={campaign.id: campaign})
    path = tmp_path / f"rankings{suffix}"
    units = written(path, format, EXPORTS[format].units(judgments), held)
    kept = [each for unit in units for each in (unit if isinstance(unit, list) else [unit])]
    assert len(kept) > NUM / 2
    for name in (format, None):
        found = read_file(path, name)
        assert rankings(found) == {key: expected[key] for key in {(j.prompt_id, j.labeler_id[-1]) for j in kept}}
        assert ids(found.prompts) == {j.prompt_id for j in kept}


def test_the_archive_holds_everything(tmp_path: Path) -> None:
    drawn = Drawn(5)
    prompts, completions, groups = drawn.prompts("both", NUM), [], []
    for prompt in prompts:
        made = drawn.completions(prompt, "m", 3)
        ranks = tuple(drawn.random.choice([1, 2, 3, None]) for _ in made)
        given = {"kind": tuple(drawn.random.choice([None, 0.25, -3.0]) for _ in made)}
        shares = tuple(drawn.random.choice([0.0, 0.25, 1.0]) for _ in made)
        groups.append(Preference.make(prompt.id, tuple(c.id for c in made), ranks, scores=given, thumbs=shares))
        completions += made
    path = tmp_path / "archive.jsonl"
    assert written(path, "preferences", groups, material(prompts, completions)) == groups
    found = read_file(path)
    assert (found.prompts, found.completions, found.preferences) == (prompts, completions, groups)
