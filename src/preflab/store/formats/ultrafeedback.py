"""UltraFeedback: one instruction, several models' completions, ratings 1 to 5 per aspect.

Ranks come from the mean of a completion's ratings. The file's overall score is kept as a score and not used for
ranks: in the published file 10 stands in many places where 1 was meant.
"""

from __future__ import annotations

from typing import Any

from preflab.records import Preference, Prompt
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.fields import column, imported, kind_of, pairs_of_ranks, ranks_of_scores, text
from preflab.store.formats.reading import BadRow, Row

Entry = dict[str, Any]
UNRATED = "completions without a rating"
SINGLE = "instructions with fewer than two rated completions"
OVERALL = ("overall_score", "overall-score")
KEPT = ("source", "correct_answers", "incorrect_answers")


def _row(row: Row, source: str) -> Parsed:
    columns = {name: row[name] for name in KEPT if name in row}
    prompt = Prompt.make(text=text(row, "instruction"), columns=columns, source=source)
    entries = column(row, "completions")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadRow(f"the column 'completions' holds {kind_of(entries)}", "a list of completions")
    ratings = [_ratings(entry, number) for number, entry in enumerate(entries, 1)]
    rated = [number for number, each in enumerate(ratings) if each]
    left_out = [UNRATED] * (len(entries) - len(rated)) + [SINGLE] * (len(rated) < 2)
    if len(rated) < 2:
        return Parsed((), left_out=tuple(left_out))
    completions = [
        imported(prompt, text(entries[n], "response", empty=True), _model(entries[n], row, n), n, _kept(entries[n]))
        for n in rated
    ]
    ranks = ranks_of_scores([sum(ratings[n].values()) / len(ratings[n]) for n in rated])
    group = Preference.make(
        prompt.id,
        tuple(completion.id for completion in completions),
        ranks,
        pairs=pairs_of_ranks(ranks),
        scores=_scores([ratings[n] for n in rated], [entries[n] for n in rated]),
        source="ultrafeedback",
    )
    return Parsed((prompt, *completions, group), key=group.id, left_out=tuple(left_out))


def _ratings(entry: Entry, number: int) -> dict[str, float]:
    """Aspect → rating; the aspects' hyphens as underscores; aspects rated N/A left out."""
    found = {}
    for aspect, note in (entry.get("annotations") or {}).items():
        rating = note.get("Rating") if isinstance(note, dict) else None
        if rating not in (None, "N/A"):
            found[aspect.replace("-", "_")] = _number(rating, f"{aspect} of completion {number}", 1, 5)
    return found


def _number(value: Any, what: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not low <= number <= high:
        raise BadRow(f"the rating {value!r} for {what}", f"a number from {low} to {high}, or N/A")
    return number


def _scores(ratings: list[dict[str, float]], entries: list[Entry]) -> dict[str, tuple[float | None, ...]]:
    aspects = sorted({aspect for each in ratings for aspect in each})
    scores: dict[str, tuple[float | None, ...]] = {a: tuple(each.get(a) for each in ratings) for a in aspects}
    overall = [next((entry[name] for name in OVERALL if entry.get(name) is not None), None) for entry in entries]
    if any(value is not None for value in overall):
        scores["overall"] = tuple(None if v is None else _number(v, "the whole", 0, 10) for v in overall)
    return scores


def _model(entry: Entry, row: Row, index: int) -> str:
    models = row.get("models") or []
    return str(entry.get("model") or (models[index] if index < len(models) else "ultrafeedback"))


def _kept(entry: Entry) -> Entry:
    return {name: entry[name] for name in ("principle", "custom_system_prompt") if name in entry}


ULTRAFEEDBACK = Format(
    "ultrafeedback",
    "instruction and completions with ratings per aspect: one group, ranks from the mean rating",
    _row,
    lambda row: "instruction" in row and isinstance(row.get("completions"), list),
)
