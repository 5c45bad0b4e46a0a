"""The six ways of judging as forms: which groups of radios each has, and form fields ↔ the answer's JSON.

Pure functions; `labelling.checks` has the last word on what is an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.records import Answer, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer
from preflab.web.pages.label_form import Asked, Fields, Group, Option, Way, chosen_place, failed_marks, number

ENDS_OF_SCORES = {"overall": ("very bad", "very good")}
PLAIN_ENDS = ("not at all", "completely")


def _failed_fields(failed: Sequence[bool], asked: Asked) -> dict[str, str]:
    marks = asked.by_place(failed) if failed else []
    return {f"failed_{place}": "1" for place, mark in enumerate(marks) if mark}


def _rank_groups(asked: Asked, *, fail: bool, step: int | None = None) -> list[Group]:
    last = str(asked.num)
    ends = {"1": "1, best", last: f"{last}, worst"} if asked.for_better else {"1": "1, most", last: f"{last}, least"}
    options = [Option(rank, rank, ends.get(rank, rank), rank) for rank in map(str, range(1, asked.num + 1))]
    if fail:
        options.append(Option("F", "F", "F, failed: nonsense, irrelevant or unreadable", "f"))
    return [
        Group(f"rank_{place}", "Rank", "a rank", tuple(options), place, step=step, ranks=True)
        for place in range(asked.num)
    ]


def _score_groups(asked: Asked, criteria: Sequence[str], top: int, step: int | None = None) -> list[Group]:
    found = []
    for place in range(asked.num):
        for which, criterion in enumerate(criteria):
            low, high = asked.scale_ends.get(criterion, ENDS_OF_SCORES.get(criterion, PLAIN_ENDS))
            title = criterion[:1].upper() + criterion[1:] if step is None else "Score on its own"
            name = f"score_{place}_{which}"
            found.append(Group(name, title, "a score", _scale(top, low, high), place, low, high, step=step))
    return found


def _scale(top: int, low: str, high: str) -> tuple[Option, ...]:
    spoken = {"1": f"1, {low}", str(top): f"{top}, {high}"}
    return tuple(Option(score, score, spoken.get(score, score), score) for score in map(str, range(1, top + 1)))


def _scores(asked: Asked, fields: Fields, criteria: Sequence[str]) -> dict[str, list[int | None]]:
    return {
        criterion: asked.by_task([number(fields, f"score_{place}_{which}") for place in range(asked.num)])
        for which, criterion in enumerate(criteria)
    }


def _score_fields(scores: Mapping[str, Sequence[int | None]], criteria: Sequence[str], asked: Asked) -> dict[str, str]:
    return {
        f"score_{place}_{which}": str(score)
        for which, criterion in enumerate(criteria)
        for place, score in enumerate(asked.by_place(scores.get(criterion, [None] * asked.num)))
        if score is not None
    }


def _rank(asked: Asked, fields: Fields, place: int) -> int | str | None:
    if f"failed_{place}" in fields or fields.get(f"rank_{place}") == "F":
        return "F"
    return number(fields, f"rank_{place}")


def _ranking_json(asked: Asked, fields: Fields) -> dict[str, Any]:
    return {"ranks": asked.by_task([_rank(asked, fields, place) for place in range(asked.num)])}


def _ranking_fields(answer: RankingAnswer, asked: Asked) -> dict[str, str]:
    return {f"rank_{place}": str(rank or "F") for place, rank in enumerate(asked.by_place(answer.ranks))}


def _side_groups(asked: Asked) -> list[Group]:
    first, second = (f"{letter} is better" if asked.for_better else f"It is {letter}" for letter in asked.letters[:2])
    options = (
        Option("0", first, first, "1"),
        Option("equal", "Roughly equal", "Roughly equal", "0"),
        Option("1", second, second, "2"),
    )
    return [Group("choice", "Your choice", "a choice", options, excused="any")]


def _side_json(asked: Asked, fields: Fields) -> dict[str, Any]:
    place = chosen_place(asked, fields)
    choice = fields.get("choice") if place is None else ("first", "second")[asked.shown_order[place]]
    failed = asked.by_task(failed_marks(asked, fields))
    return {"choice": choice if choice in ("first", "second", "equal") else None, "failed": failed}


def _side_fields(answer: SideBySideAnswer, asked: Asked) -> dict[str, str]:
    chosen = {"first": 0, "second": 1}.get(answer.choice or "")
    value = {"equal": "equal", None: ""}.get(answer.choice) if chosen is None else str(asked.shown_order.index(chosen))
    return ({"choice": value} if value else {}) | _failed_fields(answer.failed, asked)


def _best_groups(asked: Asked) -> list[Group]:
    options = [
        Option(str(place), letter, f"It is {letter}", str(place + 1)) for place, letter in enumerate(asked.letters)
    ]
    options.append(Option("equal", "No single one", "No single one", "0"))
    return [Group("choice", "Your choice", "a choice", tuple(options), excused="all")]


def _best_json(asked: Asked, fields: Fields) -> dict[str, Any]:
    place = chosen_place(asked, fields)
    best = None if place is None else asked.shown_order[place]
    return {"best": best, "failed": asked.by_task(failed_marks(asked, fields))}


def _best_fields(answer: SideBySideAnswer, asked: Asked) -> dict[str, str]:
    value = "equal" if answer.best is None else str(asked.shown_order.index(answer.best))
    return {"choice": value} | _failed_fields(answer.failed, asked)


def _likert_groups(asked: Asked) -> list[Group]:
    return _score_groups(asked, asked.criteria, 5)


def _likert_json(asked: Asked, fields: Fields) -> dict[str, Any]:
    return {"scores": _scores(asked, fields, asked.criteria), "failed": asked.by_task(failed_marks(asked, fields))}


def _likert_fields(answer: LikertAnswer, asked: Asked) -> dict[str, str]:
    return _score_fields(answer.scores, asked.criteria, asked) | _failed_fields(answer.failed, asked)


def _thumbs_groups(asked: Asked) -> list[Group]:
    options = (Option("up", "Good", "thumbs up", "1"), Option("down", "Bad", "thumbs down", "0"))
    return [Group(f"up_{place}", "Verdict", "a verdict", options, place) for place in range(asked.num)]


def _thumbs_json(asked: Asked, fields: Fields) -> dict[str, Any]:
    up = [{"up": True, "down": False}.get(fields.get(f"up_{place}", "")) for place in range(asked.num)]
    return {"up": asked.by_task(up), "failed": asked.by_task(failed_marks(asked, fields))}


def _thumbs_fields(answer: ThumbsAnswer, asked: Asked) -> dict[str, str]:
    given = {
        f"up_{place}": "up" if up else "down" for place, up in enumerate(asked.by_place(answer.up)) if up is not None
    }
    return given | _failed_fields(answer.failed, asked)


def _scored_groups(asked: Asked) -> list[Group]:
    return [*_score_groups(asked, ("overall",), 7, step=0), *_rank_groups(asked, fail=False, step=1)]


def _scored_json(asked: Asked, fields: Fields) -> dict[str, Any]:
    return _ranking_json(asked, fields) | {"scores": _scores(asked, fields, ("overall",))}


def _scored_fields(answer: RankingAnswer, asked: Asked) -> dict[str, str]:
    ranks = asked.by_place(answer.ranks)
    return {
        **{f"rank_{place}": str(rank) for place, rank in enumerate(ranks) if rank is not None},
        **{f"failed_{place}": "1" for place, rank in enumerate(ranks) if rank is None},
        **_score_fields(answer.scores, ("overall",), asked),
    }


F_HINT = "F is for nonsense, irrelevant or unreadable."
WAYS: dict[str, Way] = {
    "ranking": Way(
        "{first} Equal numbers are a tie.", (("1 … {num}", "its rank"),),
        lambda asked: _rank_groups(asked, fail=asked.allow_fail), _ranking_json, _ranking_fields, fail_box=False,
    ),
    "side_by_side": Way(
        "Choose one of the two, or say that they are roughly equal.", (("1", "A"), ("2", "B"), ("0", "roughly equal")),
        _side_groups, _side_json, _side_fields,
    ),
    "best_of": Way(
        "Choose a single one.", (("1 … {num}", "A … {last}"), ("0", "no single one")),
        _best_groups, _best_json, _best_fields
    ),
    "likert": Way(
        "Score each one on its own, from 1 to 5.", (("1 … 5", "its score"),),
        _likert_groups, _likert_json, _likert_fields
    ),
    "thumbs": Way(
        "Say of each one whether it is good or bad.", (("1", "good"), ("0", "bad")),
        _thumbs_groups, _thumbs_json, _thumbs_fields
    ),
    "score_then_rank": Way(
        "First score each one on its own. Then rank them: {first} Equal numbers are a tie.",
        (("1 … 7", "its score"), ("1 … {num}", "then its rank")),
        _scored_groups, _scored_json, _scored_fields, num_steps=2,
    ),
}  # fmt: skip


def hint_of(asked: Asked) -> str:
    """What to do, in a line under the question."""
    first = "1 is best." if asked.for_better else "1 is what the question asks for most."
    hint = WAYS[asked.way].hint.format(first=first)
    return f"{hint} {F_HINT}" if asked.allow_fail else hint


def groups_of(asked: Asked) -> list[Group]:
    """The groups of radios of a turn, in the order of the page."""
    return WAYS[asked.way].groups(asked)


def answer_json(asked: Asked, fields: Fields) -> dict[str, Any]:
    """What the form sent → the answer's JSON in the task's order, for `labelling.checks.checked_answer`."""
    return WAYS[asked.way].to_json(asked, fields)


def fields_of(answer: Answer, asked: Asked) -> dict[str, str]:
    """An answer → the form's fields, to open it again for a change."""
    return WAYS[asked.way].to_fields(answer, asked)
