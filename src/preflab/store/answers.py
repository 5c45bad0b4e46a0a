"""Answers of labelers ↔ JSON, for the database, the archive and the exports alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflab.errors import PreflabError
from preflab.records import Answer, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer, Way


def way_of(answer: Answer) -> Way:
    """The way of judging that an answer belongs to.

    "Equal" among more than two, and a best one, are both written as `side_by_side`: the campaign knows the way.
    """
    match answer:
        case RankingAnswer():
            return "score_then_rank" if answer.scores else "ranking"
        case SideBySideAnswer():
            return "side_by_side"
        case LikertAnswer():
            return "likert"
        case ThumbsAnswer():
            return "thumbs"


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """`{"way": "ranking", "ranks": [2, 1, null]}` and its like for the other ways; what is empty is left out."""
    data: dict[str, Any] = {"way": way_of(answer)}
    match answer:
        case RankingAnswer(ranks, scores):
            return data | {"ranks": list(ranks)} | ({"scores": _lists(scores)} if scores else {})
        case SideBySideAnswer(choice, best):
            data |= {"choice": choice, "best": best}
        case LikertAnswer(scores):
            data |= {"scores": _lists(scores)}
        case ThumbsAnswer(up):
            data |= {"up": list(up)}
    return data | ({"failed": list(answer.failed)} if answer.failed else {})


def answer_from_json(data: dict[str, Any]) -> Answer:
    """The answer that `answer_to_json` wrote.

    Raises:
        PreflabError: an unknown way of judging, or a field missing.
    """
    try:
        failed = tuple(data.get("failed", ()))
        match data["way"]:
            case "ranking" | "score_then_rank":
                return RankingAnswer(tuple(data["ranks"]), _tuples(data.get("scores", {})))
            case "side_by_side":
                return SideBySideAnswer(data["choice"], data["best"], failed)
            case "likert":
                return LikertAnswer(_tuples(data["scores"]), failed)
            case "thumbs":
                return ThumbsAnswer(tuple(data["up"]), failed)
            case way:
                known = "ranking, score_then_rank, side_by_side, likert or thumbs"
                raise PreflabError(f"an answer of the way {way!r}", known)
    except (KeyError, TypeError, AttributeError) as error:
        raise PreflabError(
            f"an answer that cannot be read: {data!r} ({error!r})", "what answer_to_json writes"
        ) from None


def failed_of(answer: Answer) -> list[bool] | None:
    """Which completions were marked F; None where no mark was given."""
    if isinstance(answer, RankingAnswer):
        return [rank is None for rank in answer.ranks]
    return list(answer.failed) or None


def _lists(scores: Mapping[str, tuple[int | None, ...]]) -> dict[str, list[int | None]]:
    return {criterion: list(values) for criterion, values in scores.items()}


def _tuples(scores: Mapping[str, list[int | None]]) -> dict[str, tuple[int | None, ...]]:
    return {criterion: tuple(values) for criterion, values in scores.items()}
