"""Reads completions judged one by one: labels (good or bad) and scores by criteria, in single rows or lists.

All rows of one prompt form one group, wherever they are in the file. Labels and scores do not say which of two
completions is better, so no ranks are made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from preflab.records import Preference
from preflab.store.formats.answered import answered, has_answer
from preflab.store.formats.asked import completion_of, read_question, spans_of
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import (
    ASPECTS,
    LABELS,
    OVERALL,
    PROMPTS,
    RATED,
    blank,
    column,
    first,
    number,
    peek,
    read_as,
    score_of,
    unread,
)
from preflab.store.formats.fields import imported
from preflab.store.formats.imported import Imported
from preflab.store.formats.json_rows import STRICT, BadRow, Row
from preflab.store.formats.judgment_columns import is_measured, judging, scores_another
from preflab.store.formats.other_names import answers
from preflab.store.formats.turns import is_turn, kind_of
from preflab.words import count

MODEL = "trl"
NAME = "ratings"
"""The source of rated groups, and the model of completions whose rows do not name one."""
PREFIX = "score_"
"""Prefix that marks a column as a criterion."""
LISTS = ("completions", "responses", "generations")
SCORE_LISTS = ("scores", "ratings", "rewards")
MODEL_LISTS = ("models", "generation_models")
UNMISTAKABLE = ("score", "rating", "reward")
"""Columns that must hold a score; text in columns with other names may mean something else."""
UNRATED, UNLABELLED = "completions without a score", "completions without a label"
GOOD = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True)
class Verdict:
    """The label and the scores that one row gives to one completion."""

    prompt_id: str
    completion_id: str
    up: bool | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


def _unpaired(row: Row, source: str) -> Parsed:
    """The label of a completion, and its scores if there are any."""
    name = first(row, LABELS) or next((each for each in LABELS if each in row), LABELS[0])
    value = read_as(row, name, LABELS[0]) if name in row else column(row, name)
    if blank(value):
        return Parsed((), left_out=(UNLABELLED,))
    up = GOOD.get(str(value).strip().lower())
    if up is None:
        scale = "; numbers on a scale are scores (--column label=score)" if number(value) is not None else ""
        raise BadRow(f"the label is {value!r:.40}, {kind_of(value)}", f"true (good) or false (bad){scale}")
    return _judged(row, source, MODEL, up)


def _rating(row: Row, source: str) -> Parsed:
    """The scores of a completion, or of a list of completions."""
    names = _lists(row)
    return _listed(row, source, *names) if names else _judged(row, source, NAME, None)


def _judged(row: Row, source: str, model: str, up: bool | None) -> Parsed:
    scores = {_criterion(name): score_of(row[name], name) for name in criteria(row)}
    scores |= _object(row)
    answer = answered(row, source)
    known = {name: value for name, value in scores.items() if value is not None}
    if up is None and not known:
        return Parsed((), left_out=(UNRATED,))
    completion = imported(
        answer.prompt, answer.spans, _model(row) or model, columns=unread(row), finish_reason=answer.finish_reason
    )
    verdict = Verdict(answer.prompt.id, completion.id, up, known)
    return Parsed((answer.prompt, completion), items=(verdict,), left_out=answer.left_out)


def criteria(row: Row) -> list[str]:
    """The columns of scores: by their names, if they hold a number (which may be text) or nothing."""
    return [name for name in row if name not in LABELS and _is_score_name(name) and _fits(name, peek(row, name))]


def _is_score_name(name: str) -> bool:
    return name in OVERALL or name in ASPECTS or RATED.fullmatch(name) is not None


def _fits(name: str, value: Any) -> bool:
    return blank(value) or number(value) is not None or str(value).strip().lower() == "n/a" or name in UNMISTAKABLE


def _criterion(name: str) -> str:
    short = name.removeprefix(PREFIX)
    return short if short and short != name else name.replace("-", "_")


def _object(row: Row) -> dict[str, float | None]:
    """Criterion → score from a column `scores` that holds an object; {} without one."""
    name = next((each for each in SCORE_LISTS if isinstance(peek(row, each), dict)), None)
    if name is None:
        return {}
    return {str(key): score_of(value, f"score for {key}") for key, value in read_as(row, name, "scores").items()}


def _model(row: Row) -> str:
    value = peek(row, "model")
    return str(row["model"]) if isinstance(value, str) and value else ""


def _listed(row: Row, source: str, texts: str, scores: str) -> Parsed:
    """Several completions with their scores: one number or one object of numbers for each, or a list per criterion."""
    values, listed_scores = (
        _list(row, name, canonical) for name, canonical in ((texts, "completions"), (scores, "scores"))
    )
    if isinstance(listed_scores, dict):
        return _by_criterion(row, source, values, listed_scores)
    return _by_criterion(row, source, values, _columns(listed_scores, scores))


def _columns(scores: list[Any], name: str) -> dict[str, list[Any]]:
    """Criterion → one score per completion, from a list of numbers or of objects in the column `name`."""
    if scores and all(isinstance(each, dict) for each in scores):
        names = dict.fromkeys(key for each in scores for key in each)
        return {key: [each.get(key) for each in scores] for key in names}
    return {name.removesuffix("s"): scores}


def _by_criterion(row: Row, source: str, values: list[Any], by_criterion: Mapping[str, list[Any]]) -> Parsed:
    for name, each in by_criterion.items():
        if not isinstance(each, list) or len(each) != len(values):
            counts = f"{count(len(values), 'completion')} and another number of scores for {name!r}"
            raise BadRow(counts, "one score for each")
    words = [completion_of(value, "completions") for value in values]
    question = read_question(row)
    models = _models(row, len(values))
    prompt = question.prompt(source, chat=any(each.turns for each in words))
    columns = unread(row)
    verdicts, completions = [], []
    for place, content in enumerate(words):
        scores = {name: score_of(column[place], f"score for {name}") for name, column in by_criterion.items()}
        known = {name: value for name, value in scores.items() if value is not None}
        completion = imported(prompt, spans_of(content), models[place], columns=columns)
        if known:
            completions.append(completion)
            verdicts.append(Verdict(prompt.id, completion.id, None, known))
    left_out = (UNRATED,) * (len(values) - len(completions)) + question.words.left_out
    left_out += tuple(reason for each in words for reason in each.left_out)
    return Parsed((prompt, *completions) if completions else (), items=tuple(verdicts), left_out=left_out)


def _list(row: Row, name: str, canonical: str) -> Any:
    value = read_as(row, name, canonical)
    if isinstance(value, str):
        try:
            value = json.loads(value, **STRICT)
        except ValueError:
            raise BadRow(f"the column {name!r} is no JSON list", "[…, …]") from None
    if not isinstance(value, list | dict):
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "a list")
    return value


def _models(row: Row, num: int) -> list[str]:
    name = next((each for each in MODEL_LISTS if isinstance(peek(row, each), list)), None)
    if name and len(peek(row, name)) == num:
        return [str(each) for each in read_as(row, name, MODEL_LISTS[0])]
    return [_model(row) or NAME] * num


def group_verdicts(verdicts: Sequence[Verdict], source: str) -> list[Preference]:
    """One preference per prompt, with each completion's share of good labels and mean scores."""
    groups: dict[str, dict[str, list[Verdict]]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.prompt_id, {}).setdefault(verdict.completion_id, []).append(verdict)
    return [_group(prompt_id, by_completion, source) for prompt_id, by_completion in groups.items()]


def _group(prompt_id: str, by_completion: Mapping[str, list[Verdict]], source: str) -> Preference:
    rows = by_completion.values()
    names = sorted({name for verdicts in rows for each in verdicts for name in each.scores})
    thumbs = [_mean([float(v.up) for v in verdicts if v.up is not None]) for verdicts in rows]
    return Preference.make(
        prompt_id,
        tuple(by_completion),
        (1,) * len(by_completion),
        thumbs=tuple(thumbs) if any(each is not None for each in thumbs) else (),
        scores={
            name: tuple(_mean([v.scores[name] for v in verdicts if name in v.scores]) for verdicts in rows)
            for name in names
        },
        source=source,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _lists(row: Row) -> tuple[str, str] | None:
    """(column of completions, column of scores) if both are lists, else None."""
    texts = next((name for name in LISTS if _is_list(peek(row, name))), None)
    scores = next((name for name in SCORE_LISTS if _is_scores(peek(row, name))), None)
    return (texts, scores) if texts and scores and first(row, PROMPTS) else None


def _is_list(value: Any) -> bool:
    cell = isinstance(value, str) and value.lstrip().startswith("[")
    return cell or (
        isinstance(value, list) and bool(value) and not is_turn(value[0]) and not isinstance(value[0], dict)
    )


def _is_scores(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(isinstance(each, list) for each in value.values())
    return (isinstance(value, list) and bool(value)) or (isinstance(value, str) and value.lstrip().startswith("["))


def _is_unpaired(row: Row) -> bool:
    return has_answer(row) and first(row, LABELS) is not None and not _says_more(row)


def _is_rating(row: Row) -> bool:
    if _lists(row):
        return not _says_more(row)
    rated = any(_is_score(name, peek(row, name)) for name in criteria(row)) or any(
        isinstance(peek(row, name), dict) for name in SCORE_LISTS
    )
    return rated and has_answer(row) and first(row, LABELS) is None and not _says_more(row)


def _is_score(name: str, value: Any) -> bool:
    """Whether a value is a number, or in an unmistakable column a score such as `4/5`, which is refused by line."""
    return number(value) is not None or (name in UNMISTAKABLE and is_measured(value))


def _says_more(row: Row) -> bool:
    """Whether a row has a judgment that is neither a label nor a score, or several answers."""
    ours = {*LABELS, *criteria(row), *SCORE_LISTS}
    about_others = any(scores_another(name, row) for name in criteria(row))
    return about_others or len(answers(row)) > 1 or any(name not in ours for name in judging(row))


def _notes(imported: Imported) -> list[str]:
    names = sorted({name for group in imported.preferences for name in group.scores})
    return [f"criteria: {', '.join(names)}"] if names else []


UNPAIRED = Format(
    "trl-unpaired",
    "prompt, completion (or messages), label (true: good), as for KTO",
    _unpaired,
    _is_unpaired,
    finish=lambda verdicts: group_verdicts(verdicts, MODEL),
    repeats="votes",
    notes=_notes,
    needs=("prompt", "completion", "label"),
    columns="`prompt`, `completion`, `label`",
    becomes="shares of thumbs up, no pair; scores beside them are kept",
)
RATINGS = Format(
    NAME,
    "prompt, completion (or messages), score, or several criteria; or lists: prompt, completions, scores",
    _rating,
    _is_rating,
    finish=lambda verdicts: group_verdicts(verdicts, NAME),
    repeats="votes",
    notes=_notes,
    needs=("prompt", "completion", "score"),
    columns="`prompt`, `completion`, `score`, `score_<criterion>`",
    becomes="scores per criterion, rows of a prompt in one group, no pair",
)
