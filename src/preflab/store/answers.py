"""Answers of labelers ↔ JSON, for the database, the archive and the exports alike."""

from __future__ import annotations

from typing import Any

from preflab.errors import PreflabError
from preflab.records import Answer, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer, Way


def way_of(answer: Answer) -> Way:
    """The way of judging that an answer belongs to."""
    match answer:
        case RankingAnswer():
            return "ranking"
        case SideBySideAnswer():
            return "side_by_side"
        case LikertAnswer():
            return "likert"
        case ThumbsAnswer():
            return "thumbs"


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """`{"way": "ranking", "ranks": [2, 1, null]}` and its like for the other ways."""
    way = way_of(answer)
    match answer:
        case RankingAnswer(ranks):
            return {"way": way, "ranks": list(ranks)}
        case SideBySideAnswer(choice, best):
            return {"way": way, "choice": choice, "best": best}
        case LikertAnswer(scores):
            return {"way": way, "scores": {criterion: list(values) for criterion, values in scores.items()}}
        case ThumbsAnswer(up):
            return {"way": way, "up": list(up)}


def answer_from_json(data: dict[str, Any]) -> Answer:
    """The answer that `answer_to_json` wrote.

    Raises:
        PreflabError: an unknown way of judging, or a field missing.
    """
    try:
        match data["way"]:
            case "ranking":
                return RankingAnswer(tuple(data["ranks"]))
            case "side_by_side":
                return SideBySideAnswer(data["choice"], data["best"])
            case "likert":
                return LikertAnswer({criterion: tuple(values) for criterion, values in data["scores"].items()})
            case "thumbs":
                return ThumbsAnswer(tuple(data["up"]))
            case way:
                raise PreflabError(f"an answer of the way {way!r}", "ranking, side_by_side, likert or thumbs")
    except (KeyError, TypeError, AttributeError) as error:
        raise PreflabError(
            f"an answer that cannot be read: {data!r} ({error!r})", "what answer_to_json writes"
        ) from None


def failed_of(answer: Answer) -> list[bool] | None:
    """Which completions were marked F; None where the way of judging has no F."""
    return [rank is None for rank in answer.ranks] if isinstance(answer, RankingAnswer) else None
