"""What a page or a script sends as an answer → a typed answer, or an error that names the field; and back.

Lists are aligned with the task's order, not with the order shown:

    ranking           {"ranks": [2, 1, "F"]}
    score_then_rank   {"ranks": [2, 1, "F"], "scores": {"overall": [4, 6, null]}}
    side_by_side      {"choice": "first" | "second" | "equal", "failed": [false, true]}
    best_of           {"best": 1 | null, "failed": [...]}            null: none is better
    likert            {"scores": {"helpful": [4, 2]}, "failed": [...]}
    thumbs            {"up": [true, false], "failed": [...]}

`failed` may be left out; a completion marked F needs no score and no thumb.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from preflab.labelling.errors import Invalid
from preflab.labelling.options import OVERALL, CampaignOptions
from preflab.records import Answer, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer, Way

FAIL = "F"
LIKERT_TOP, SCORE_TOP = 5, 7
Json = Mapping[str, Any]
Failed = tuple[bool, ...]


def checked_answer(options: CampaignOptions, num_completions: int, json: Any) -> Answer:
    """The answer of this JSON to a task with so many completions.

    Raises:
        Invalid: a field that is missing, unknown or out of range.
    """
    if not isinstance(json, Mapping):
        raise Invalid(f"answer: {json!r:.80}", "an object such as " + EXAMPLES[options.way])
    if unknown := sorted(set(map(str, json)) - FIELDS[options.way]):
        raise Invalid(f"answer: unknown field {unknown[0]!r}", f"only {', '.join(sorted(FIELDS[options.way]))}")
    return CHECKS[options.way](options, num_completions, json)


def answer_json(answer: Answer, way: Way) -> dict[str, Any]:
    """The JSON that `checked_answer` turns into this answer: what fills a form that is opened again."""
    match answer:
        case RankingAnswer(ranks, scores):
            json: dict[str, Any] = {"ranks": [FAIL if rank is None else rank for rank in ranks]}
            return json | ({"scores": {name: list(values) for name, values in scores.items()}} if scores else {})
        case SideBySideAnswer(choice, best):
            json = {"best": best} if way == "best_of" else {"choice": choice}
        case LikertAnswer(scores):
            json = {"scores": {name: list(values) for name, values in scores.items()}}
        case ThumbsAnswer(up):
            json = {"up": list(up)}
    return json | ({"failed": list(answer.failed)} if answer.failed else {})


def _ranking(options: CampaignOptions, num: int, json: Json) -> Answer:
    return RankingAnswer(_ranks(options, num, json))


def _score_then_rank(options: CampaignOptions, num: int, json: Json) -> Answer:
    ranks = _ranks(options, num, json)
    failed = tuple(rank is None for rank in ranks)
    return RankingAnswer(ranks, _scores((OVERALL,), SCORE_TOP, num, json, failed))


def _side_by_side(options: CampaignOptions, num: int, json: Json) -> Answer:
    failed = _failed(options, num, json)
    choice = json.get("choice")
    if choice not in ("first", "second", "equal") and not (choice is None and any(failed)):
        raise Invalid(f"choice: {choice!r:.80}", "first, second or equal")
    return SideBySideAnswer(choice, None, failed)


def _best_of(options: CampaignOptions, num: int, json: Json) -> Answer:
    failed = _failed(options, num, json)
    if "best" not in json:
        raise Invalid("best: missing", f"0 to {num - 1}, or null where none is better")
    best = json["best"]
    if best is None:
        return SideBySideAnswer("equal", None, failed)
    best = _number("best", best, 0, num - 1)
    if failed and failed[best]:
        raise Invalid(f"best: {best} is marked F", "a completion that is not F")
    return SideBySideAnswer(None, best, failed)


def _likert(options: CampaignOptions, num: int, json: Json) -> Answer:
    failed = _failed(options, num, json)
    return LikertAnswer(_scores(options.criteria, LIKERT_TOP, num, json, failed), failed)


def _thumbs(options: CampaignOptions, num: int, json: Json) -> Answer:
    failed = _failed(options, num, json)
    given = _list("up", json.get("up"), num)
    for i, up in enumerate(given):
        if not isinstance(up, bool) and not (up is None and failed and failed[i]):
            raise Invalid(f"up[{i}]: {up!r:.80}", "true or false; null only where it is F")
    return ThumbsAnswer(tuple(given), failed)


CHECKS: dict[Way, Callable[[CampaignOptions, int, Json], Answer]] = {
    "ranking": _ranking,
    "score_then_rank": _score_then_rank,
    "side_by_side": _side_by_side,
    "best_of": _best_of,
    "likert": _likert,
    "thumbs": _thumbs,
}
FIELDS: dict[Way, set[str]] = {
    "ranking": {"ranks"},
    "score_then_rank": {"ranks", "scores"},
    "side_by_side": {"choice", "failed"},
    "best_of": {"best", "failed"},
    "likert": {"scores", "failed"},
    "thumbs": {"up", "failed"},
}
EXAMPLES: dict[Way, str] = {
    "ranking": '{"ranks": [2, 1, "F"]}',
    "score_then_rank": '{"ranks": [2, 1], "scores": {"overall": [4, 6]}}',
    "side_by_side": '{"choice": "first"}',
    "best_of": '{"best": 1}',
    "likert": '{"scores": {"helpful": [4, 2]}}',
    "thumbs": '{"up": [true, false]}',
}


def _ranks(options: CampaignOptions, num: int, json: Json) -> tuple[int | None, ...]:
    ranks: list[int | None] = []
    for i, rank in enumerate(_list("ranks", json.get("ranks"), num)):
        if rank == FAIL:
            _refuse_fail(options, f"ranks[{i}]")
        ranks.append(None if rank == FAIL else _number(f"ranks[{i}]", rank, 1, num, f' or "{FAIL}"'))
    return tuple(ranks)


def _scores(
    criteria: Sequence[str], top: int, num: int, json: Json, failed: Failed
) -> dict[str, tuple[int | None, ...]]:
    given = json.get("scores")
    if not isinstance(given, Mapping) or set(given) != set(criteria):
        raise Invalid(f"scores: {given!r:.80}", f"one list for each of {', '.join(criteria)}")
    scores = {}
    for name in criteria:
        values = _list(f"scores.{name}", given[name], num)
        scores[name] = tuple(
            None if value is None and failed and failed[i] else _number(f"scores.{name}[{i}]", value, 1, top)
            for i, value in enumerate(values)
        )
    return scores


def _failed(options: CampaignOptions, num: int, json: Json) -> Failed:
    """The marks; () where there are none."""
    given = json.get("failed")
    if given is None or given == []:
        return ()
    marks = _list("failed", given, num)
    for i, mark in enumerate(marks):
        if not isinstance(mark, bool):
            raise Invalid(f"failed[{i}]: {mark!r:.80}", "true or false")
        if mark:
            _refuse_fail(options, f"failed[{i}]")
    return tuple(marks) if any(marks) else ()


def _refuse_fail(options: CampaignOptions, where: str) -> None:
    if not options.allow_fail:
        raise Invalid(f"{where}: marked F", "a campaign that has the fail mark")


def _list(name: str, value: Any, num: int) -> list[Any]:
    if not isinstance(value, list | tuple) or len(value) != num:
        raise Invalid(f"{name}: {value!r:.80}", f"a list with one entry for each of the {num} completions")
    return list(value)


def _number(name: str, value: Any, low: int, high: int, also: str = "") -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Invalid(f"{name}: {value!r:.80}", f"a whole number from {low} to {high}{also}")
    return value
