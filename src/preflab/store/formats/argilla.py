"""Argilla's exports: one row per record, with the rankings, ratings and labels of all users.

A row has its fields (`prompt`, `response-1`, …) and three parallel lists per question: `<question>.responses`,
`<question>.responses.users` and `<question>.responses.status`; `argilla_forms` converts the other forms to this one.
Submitted responses are read; drafts and discarded ones are counted as left out. The values of a ranking name the ranked
fields, with ranks or best first. A rating or label is about the field that the question's name contains, or about the
row's only completion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from preflab.records import Answer, Completion, LikertAnswer, Prompt, RankingAnswer, SideBySideAnswer, ThumbsAnswer
from preflab.store.formats.argilla_forms import ENDING, flatten_record, is_argilla, is_object
from preflab.store.formats.asked import completion_of, read_question, spans_of
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import peek
from preflab.store.formats.fields import kind_of
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.judgment_records import Judged, completions_of, rank_of, records_of
from preflab.store.formats.turns import is_conversation, last_speaker
from preflab.words import count

NAME = "argilla"
PROMPTS = ("prompt", "instruction", "question", "input")
NOT_FIELDS = ("id", "_server_id", "status", "inserted_at", "updated_at", "external_id", "vectors", *PROMPTS)
COMPLETION_WORDS = ("completion", "response", "answer", "output", "generation", "text")
"""A field is a completion if a ranking names it, or else if its name begins with one of these."""
GOOD = {"good", "yes", "up", "positive", "accept", "true", "1", "👍", "chosen"}
BAD = {"bad", "no", "down", "negative", "reject", "false", "0", "👎", "rejected"}
EQUAL = {"tie", "equal", "same", "both", "draw"}
NOT_SUBMITTED = "responses that are drafts or discarded"
EMPTY = "questions that nobody answered"
NO_JUDGMENT = "answers to questions that judge no completion"


def _row(row: Row, source: str) -> Parsed:
    row = flatten_record(row)
    name = next((each for each in PROMPTS if row.get(each)), None) or _chat(row)
    if name is None:
        raise BadRow(
            f"no prompt among the fields {', '.join(n for n in row if '.' not in n and n not in NOT_FIELDS)}",
            f"a field {', '.join(PROMPTS)}; --column OLD=prompt renames one",
        )
    _refuse_no_lists(row)
    asks = read_question(row, (name,))
    fields = _completion_fields(row)
    words = [completion_of(row[each], each) for each in fields]
    prompt = asks.prompt(source, chat=any(each.turns for each in words))
    made = completions_of(prompt, [spans_of(each) for each in words], fields)
    completions = dict(zip(fields, made, strict=True))
    left_out: list[str] = []
    judged: list[Judged] = []
    for question in _questions(row):
        judged += _answered(row, question, prompt, completions, left_out)
    key = next((str(row[each]) for each in ("id", "_server_id") if row.get(each)), None)
    return Parsed((prompt, *completions.values()), key=key, items=tuple(judged), left_out=tuple(left_out))


def _chat(row: Row) -> str | None:
    """The field with a conversation that waits for the assistant, if there is exactly one; its name is arbitrary."""
    names = [name for name in row if last_speaker(peek(row, name)) in ("user", "tool")]
    return names[0] if len(names) == 1 else None


def _questions(row: Row) -> list[str]:
    return [name.removesuffix(ENDING) for name in row if name.endswith(ENDING)]


def _refuse_no_lists(row: Row) -> None:
    for name, value in row.items():
        if name.endswith(ENDING) and not isinstance(value, list | None):
            raise BadRow(f"the column {name!r} holds {kind_of(value)}", "a list: one entry per user")


def _completion_fields(row: Row) -> list[str]:
    """The fields with completions, in the row's order: those that rankings name, else those named like completions."""
    named = {value for question in _questions(row) for value in _ranked_values(row[question + ENDING])}
    fields = [name for name in row if name in named and _is_words(peek(row, name))]
    if fields:
        return fields
    plain = [name for name in row if "." not in name and name not in NOT_FIELDS and _is_words(peek(row, name))]
    return [name for name in plain if name.lower().startswith(COMPLETION_WORDS)]


def _is_words(value: Any) -> bool:
    return isinstance(value, str) or is_conversation(value)


def _ranked_values(responses: Any) -> Iterator[str]:
    for response in responses or []:
        for entry in _entries(response):
            if isinstance(entry, dict) and "value" in entry:
                yield str(entry["value"])
            elif isinstance(entry, str):
                yield entry


def _entries(response: Any) -> list[Any]:
    """The entries of a ranking, {value, rank} or names; Parquet may hold them as two lists. [] if it is no ranking."""
    if isinstance(response, dict) and isinstance(response.get("value"), list):
        return [
            {"value": value, "rank": rank}
            for value, rank in zip(response["value"], response.get("rank") or [], strict=False)
        ]
    return response if isinstance(response, list) else []


def _answered(
    row: Row, question: str, prompt: Prompt, completions: dict[str, Completion], left_out: list[str]
) -> Iterator[Judged]:
    """The submitted responses to one question, as judgments."""
    responses = row[question + ENDING]
    if not responses:
        left_out.append(EMPTY)
        return
    users, statuses = (_beside(row, question, part, responses) for part in ("users", "status"))
    for response, user, status in zip(responses, users, statuses, strict=True):
        if status not in (None, "submitted"):
            left_out.append(NOT_SUBMITTED)
            continue
        found = _answer(question, response, completions)
        if found is None:
            left_out.append(NO_JUDGMENT)
            continue
        ids, answer = found
        yield Judged(NAME, question, prompt.id, ids, answer, str(user or "nobody named"))


def _beside(row: Row, question: str, part: str, responses: Any) -> Sequence[Any]:
    values = row.get(f"{question}{ENDING}.{part}")
    if values is None:
        return [None] * len(responses)
    if not isinstance(values, list) or len(values) != len(responses):
        raise BadRow(
            f"{question}{ENDING} and {question}{ENDING}.{part} have different lengths",
            "lists of the same length: one entry per user",
        )
    return values


def _answer(question: str, response: Any, completions: dict[str, Completion]) -> tuple[tuple[str, ...], Answer] | None:
    """(completion ids, answer) of one response; None if the question does not judge completions."""
    entries = _entries(response)
    if entries and all(isinstance(each, str) for each in entries):
        if sorted(entries) != sorted(completions):  # a multi-label answer, which is a list of names as well
            return None
        entries = [{"value": value, "rank": rank} for rank, value in enumerate(entries, 1)]
    if entries:
        return _ranking(question, entries, completions)
    if isinstance(response, bool) or response is None or isinstance(response, dict):
        return None
    about = _about(question, completions)
    if isinstance(response, int | float) or str(response).isdecimal():
        return _rating(question, float(response), about) if about else None
    return _label(str(response), about, completions)


def _ranking(question: str, entries: list[Any], completions: dict[str, Completion]) -> tuple[tuple[str, ...], Answer]:
    ranks: dict[str, int | None] = {}
    for entry in entries:
        value = str(entry.get("value")) if isinstance(entry, dict) else ""
        if value not in completions:
            raise BadRow(f"the ranking {question} names {value!r}", f"a field of the row: {', '.join(completions)}")
        if entry.get("rank") is None:
            raise BadRow(f"no rank of {value!r} in {question}", "1 (best), 2, 3, …; equal ranks are ties")
        ranks[value] = rank_of(entry["rank"], value)
    if len(ranks) < 2:
        raise BadRow(f"the ranking {question} of {count(len(ranks), 'completion')}", "at least two")
    return tuple(completions[value].id for value in ranks), RankingAnswer(tuple(ranks.values()))


def _about(question: str, completions: dict[str, Completion]) -> Completion | None:
    """The completion that a rating or label is about; None if it cannot be determined."""
    named = [name for name in completions if name.lower() in question.lower()]
    if named:
        return completions[max(named, key=len)]
    return next(iter(completions.values())) if len(completions) == 1 else None


def _rating(question: str, score: float, about: Completion) -> tuple[tuple[str, ...], Answer]:
    if not score.is_integer() or not 1 <= score <= 5:
        raise BadRow(f"the rating {score:g} of {question}", "whole numbers from 1 to 5")
    return (about.id,), LikertAnswer({question: (int(score),)})


def _label(
    label: str, about: Completion | None, completions: dict[str, Completion]
) -> tuple[tuple[str, ...], Answer] | None:
    """(completion ids, answer) of a label: good or bad, the better of two or a tie, or the best; None for others."""
    word, ids = label.strip().lower(), tuple(completion.id for completion in completions.values())
    if label in completions and len(ids) > 1:
        best = list(completions).index(label)
        return ids, SideBySideAnswer("second" if best else "first") if len(ids) == 2 else SideBySideAnswer(None, best)
    if word in EQUAL and len(ids) == 2:
        return ids, SideBySideAnswer("equal")
    verdicts: list[tuple[set[str], Callable[[], Answer]]] = [
        (GOOD, lambda: ThumbsAnswer((True,))),
        (BAD, lambda: ThumbsAnswer((False,))),
    ]
    made = next((make() for words, make in verdicts if word in words), None)
    return ((about.id,), made) if about and made else None


ARGILLA = Format(
    NAME,
    "Argilla's records, flattened or nested: rankings, ratings and labels of every user",
    _row,
    is_argilla,
    finish=records_of,
    columns="fields, `<question>.responses`, `.responses.users`, `.responses.status`",
    holds_objects=is_object,
    becomes="one judgment per user and question",
)
