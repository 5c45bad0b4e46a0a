"""Everything a way of judging gives to others, as JSON: what must stay as it was for databases, scripts and pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from preflab.feedback.pair_votes import failed, pair_votes
from preflab.labelers.simulated import make_panel, measure_completions
from preflab.labelers.simulated_ways import simulate_answer
from preflab.labelling.checks import answer_json, checked_answer
from preflab.labelling.instructions import default_instructions
from preflab.labelling.options import CampaignOptions
from preflab.records import Answer, Campaign, Completion, Judgment, Prompt
from preflab.settings.feedback import PanelSettings, usual_question
from preflab.store.answers import answer_from_json, answer_to_json, failed_of
from preflab.store.formats.judgment_records import best_first
from preflab.ways.base import Way
from preflab.ways.form import Asked, hint_line

CRITERIA = ("kind", "true")
SENT: dict[str, tuple[int, list[dict[str, Any]]]] = {
    "ranking": (3, [{"ranks": [2, 1, 3]}, {"ranks": [1, 1, "F"]}, {"ranks": ["F", "F", "F"]}]),
    "side_by_side": (
        2,
        [
            {"choice": "first"}, {"choice": "second", "failed": [True, False]}, {"choice": "equal", "failed": []},
            {"choice": None, "failed": [True, True]},
        ],
    ),
    "best_of": (3, [{"best": 2}, {"best": None}, {"best": 0, "failed": [False, True, False]}]),
    "likert": (
        3,
        [
            {"scores": {"kind": [5, 1, 3], "true": [3, 3, 4]}},
            {"scores": {"true": [None, 3, 2], "kind": [None, 1, 5]}, "failed": [True, False, False]},
        ],
    ),
    "thumbs": (3, [{"up": [True, False, True]}, {"up": [None, False, True], "failed": [True, False, False]}]),
    "score_then_rank": (
        3,
        [
            {"ranks": [2, 1, 3], "scores": {"overall": [4, 6, 1]}},
            {"ranks": ["F", 1, 1], "scores": {"overall": [None, 7, 2]}},
        ],
    ),
}  # fmt: skip
"""Way → completions of a task, and answers as JSON."""


def described(way: Way[Any]) -> dict[str, Any]:
    """Words, form, answers and simulated answers of one way."""
    num, sent = SENT[way.name]
    order = (1, 0) if num == 2 else (2, 0, 1)
    return {
        "questions": [usual_question(way.name, 1), usual_question(way.name, -1)],
        "about": way.about,
        "instructions": default_instructions(options(way.name)),
        "example": way.example,
        "form": [form(way, asked(way.name, order, for_better)) for for_better in (True, False)],
        "answers": [answer(way, num, order, json) for json in sent],
        "simulated": [simulated(way.name, num, polarity) for polarity in (1, -1)],
    }


def options(way: str, **other: Any) -> CampaignOptions:
    """A campaign of this way."""
    return CampaignOptions(name="c", way=way, criteria=CRITERIA if way == "likert" else (), **other)


def asked(way: str, order: tuple[int, ...], for_better: bool = True) -> Asked:
    """What the form knows of a turn."""
    return Asked(way, order, CRITERIA if way == "likert" else (), {"kind": ("rude", "warm")}, True, for_better)


def form(way: Way[Any], turn: Asked) -> dict[str, Any]:
    """What the page says and asks."""
    return {
        "hint": hint_line(way.hint, turn),
        "keys": [list(row) for row in way.keys],
        "fail_box": way.fail_box,
        "num_steps": way.num_steps,
        "groups": [asdict(group) for group in way.groups(turn)],
    }


def answer(way: Way[Any], num: int, order: tuple[int, ...], json: dict[str, Any]) -> dict[str, Any]:
    """One answer in every shape it takes."""
    found = checked_answer(options(way.name), num, json)
    assert answer_from_json(answer_to_json(found)) == found
    back = [order.index(i) for i in range(num)]
    letters = {i: "ABC"[order.index(i)] for i in range(num)}
    fields = way.to_form(found, asked(way.name, order))
    assert checked_answer(options(way.name), num, way.from_form(asked(way.name, order), fields)) == found
    return {
        "stored": answer_to_json(found),
        "api": answer_json(found, way.name),
        "as_shown": answer_to_json(found.reordered(order)),
        "in_task": answer_to_json(found.reordered(back)),
        "fields": fields,
        "words": found.words(letters),
        "failed": failed_of(found),
        "marks": list(failed(judgment(found, num))),
        "best_first": [list(best_first(judgment(found, num, polarity))) for polarity in (1, -1)],
        "votes": {
            str(name): [list(vote[2:]) for vote in pair_votes(judgment(found, num, -1), name)]
            for name in (CRITERIA if way.name == "likert" else (None,))
        },
    }


def judgment(found: Answer, num: int, polarity: int = 1) -> Judgment:
    """Somebody's."""
    return Judgment(
        id="j", campaign_id="c", task_id="t", prompt_id="p", completion_ids=tuple("abcdef"[:num]),
        shown_order=tuple(range(num)), question="?", polarity=polarity, answer=found, labeler_id="ann",
        labeler_kind="person",
    )  # fmt: skip


def simulated(way: str, num: int, polarity: int) -> list[Any]:
    """What a panel with every habit answers, noise, ties, own scales and an F included."""
    settings = PanelSettings(
        utility="a:b", num=4, careless=1, reversed=1, length_bias=0.5, scale_offset=0.5, scale_spread=0.2
    )
    prompt = Prompt.make(text="p")
    completions = [Completion.make(prompt.id, f"text {'more ' * n}{n}", "m", index=n) for n in range(5)]
    known = measure_completions(completions, [1.0, 2.0, 2.1, None, 6.0], ())
    campaign = Campaign("c", "c", way, polarity=polarity, criteria=CRITERIA if way == "likert" else ())
    tasks: Sequence[Sequence[int]] = [(0, 1, 2)[:num], (3, 4, 0)[:num], (2, 1, 4)[:num]]
    return [
        answer_to_json(
            simulate_answer(
                campaign, labeler, [known[completions[i].id] for i in task], known, settings,
                np.random.default_rng(7 + place),
            )
        )
        for labeler in make_panel(settings, 3)
        for place, task in enumerate(tasks)
    ]  # fmt: skip
