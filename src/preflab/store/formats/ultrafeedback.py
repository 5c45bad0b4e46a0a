"""UltraFeedback: an instruction and several models' completions, each with ratings 1 to 5 per aspect or one score.

Ranks come from the mean rating of each completion. The overall score is kept as a score but not used for ranks, because
in the published file it is often 10 where 1 was meant; it is used only if a row has no ratings.
"""

from __future__ import annotations

from typing import Any

from preflab.records import Preference
from preflab.store.formats.asked import completion_of, read_question, spans_of
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import PROMPTS, first, number, peek, score_of
from preflab.store.formats.fields import column, imported, kind_of, pairs_of_ranks, ranks_of_scores
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.turns import is_turn, rows_of_columns

Entry = dict[str, Any]
UNRATED = "completions without a rating"
SINGLE = "instructions with fewer than two rated completions"
OVERALL = ("overall_score", "overall-score", "score", "rating", "reward")
TEXTS = ("response", "completion", "text", "content", "answer")
"""Keys that may hold a completion's text."""
KEPT = ("source", "correct_answers", "incorrect_answers")


def _row(row: Row, source: str) -> Parsed:
    question = read_question(row)
    columns = {name: row[name] for name in KEPT if name in row}
    entries = rows_of_columns(column(row, "completions"))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadRow(f"the column 'completions' holds {kind_of(entries)}", "a list of completions")
    ratings = [_ratings(entry, place) for place, entry in enumerate(entries, 1)]
    levels = [_level(each, entry, any(ratings)) for each, entry in zip(ratings, entries, strict=True)]
    rated = [place for place, level in enumerate(levels) if level is not None]
    left_out = [UNRATED] * (len(entries) - len(rated)) + [SINGLE] * (len(rated) < 2)
    if len(rated) < 2:
        return Parsed((), left_out=tuple(left_out))
    words = [completion_of(_text(entries[n], n), f"completion {n + 1}") for n in rated]
    prompt = question.prompt(source, columns, chat=any(each.turns for each in words))
    completions = [
        imported(prompt, spans_of(each), _model(entries[n], row, n), n, _kept(entries[n]))
        for n, each in zip(rated, words, strict=True)
    ]
    ranks = ranks_of_scores([level for level in levels if level is not None])
    group = Preference.make(
        prompt.id,
        tuple(completion.id for completion in completions),
        ranks,
        pairs=pairs_of_ranks(ranks),
        scores=_scores([ratings[n] for n in rated], [entries[n] for n in rated]),
        source="ultrafeedback",
    )
    return Parsed((prompt, *completions, group), content=group.id, left_out=tuple(left_out))


def _level(ratings: dict[str, float], entry: Entry, by_aspects: bool) -> float | None:
    """The value that ranks a completion: its mean rating, or its score if no completion of the row has ratings."""
    if by_aspects:
        return sum(ratings.values()) / len(ratings) if ratings else None
    return next((level for name in OVERALL if (level := number(entry.get(name))) is not None), None)


def _text(entry: Entry, place: int) -> Any:
    name = next((each for each in TEXTS if each in entry), None)
    if name is None:
        raise BadRow(f"no text in completion {place + 1}", f"one of {', '.join(TEXTS)}")
    return entry[name]


def _ratings(entry: Entry, place: int) -> dict[str, float]:
    """Aspect (with underscores for hyphens) → rating, without aspects rated N/A."""
    ratings = {}
    for aspect, note in (entry.get("annotations") or {}).items():
        rating = note.get("Rating") if isinstance(note, dict) else None
        if rating not in (None, "N/A"):
            ratings[aspect.replace("-", "_")] = _number(rating, f"{aspect} of completion {place}", 1, 5)
    return ratings


def _number(value: Any, what: str, low: float, high: float) -> float:
    rating = number(value)
    if rating is None or not low <= rating <= high:
        raise BadRow(f"the rating {value!r} for {what}", f"a number from {low} to {high}, or N/A")
    return rating


def _scores(ratings: list[dict[str, float]], entries: list[Entry]) -> dict[str, tuple[float | None, ...]]:
    aspects = sorted({aspect for each in ratings for aspect in each})
    scores: dict[str, tuple[float | None, ...]] = {a: tuple(each.get(a) for each in ratings) for a in aspects}
    overall = [next((entry[name] for name in OVERALL if entry.get(name) is not None), None) for entry in entries]
    if any(value is not None for value in overall):
        scores["overall"] = tuple(_overall(value, bool(aspects)) for value in overall)
    return scores


def _overall(value: Any, beside_aspects: bool) -> float | None:
    """The overall score: from 0 to 10 if there are ratings per aspect, else any number."""
    return _number(value, "the whole", 0, 10) if beside_aspects and value is not None else score_of(value, "score")


def _model(entry: Entry, row: Row, index: int) -> str:
    models = row.get("models") or []
    return str(entry.get("model") or (models[index] if index < len(models) else "ultrafeedback"))


def _kept(entry: Entry) -> Entry:
    return {name: entry[name] for name in ("principle", "custom_system_prompt") if name in entry}


def _looks_like(row: Row) -> bool:
    entries: Any = rows_of_columns(peek(row, "completions"))
    if not isinstance(entries, list) or first(row, PROMPTS) is None:
        return False
    if not entries:
        return peek(row, "instruction") is not None
    entry = entries[0]
    rated = isinstance(entry, dict) and not is_turn(entry) and any(name in entry for name in ("annotations", *OVERALL))
    return rated and any(name in entry for name in TEXTS)


ULTRAFEEDBACK = Format(
    "ultrafeedback",
    "instruction and completions with ratings per aspect: one group, ranks from the mean rating",
    _row,
    _looks_like,
    needs=("instruction", "completions"),
    holds_objects={"models", "completions", "correct_answers", "incorrect_answers"}.__contains__,
    columns="`instruction`, `completions[]` with ratings",
    becomes="a group of K, ranks from mean ratings, scores per aspect",
)
