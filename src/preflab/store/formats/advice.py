"""Advice for rows that fit no format: the nearest format, and the columns to rename."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from preflab.store.formats.base import Format
from preflab.store.formats.columns import (
    ASPECTS,
    LABELS,
    OF_TEMPLATE,
    OVERALL,
    PROMPTS,
    WORDS,
    blank,
    has,
    number,
    peek,
    rename_option,
)
from preflab.store.formats.json_rows import Row
from preflab.store.formats.judgment_columns import is_ambiguous, judging, scores_another, verdicts
from preflab.store.formats.other_names import BESIDE_PROMPT, answers, plain_name
from preflab.store.formats.turns import is_conversation, is_turn

TEXT = r"(?:response|answer|completion|output|reply|text|generation|option|summary|candidate|human_ref)s?_?"
MEANINGS: Mapping[str, str] = {
    "prompt": r"prompts?|questions?|quer(?:y|ies)|instructions?|inputs?|problems?|goal|dialogue|document|article|"
    r"context|history|post|user|ask.*|text|x",
    "completion": r"completions?|responses?|answers?|outputs?|repl(?:y|ies)|summary|target|generations?|assistant|"
    r"predictions?|candidates|continuations?|demonstrations?|"
    r"[a-z0-9_]+_(?:response|reply|completion|generation|output|answer|text|solution|content|message|"
    r"code|story|essay|article|poem|post|attempt)|text|content|code|story|essay|article|poem|post|email|letter|"
    r"translation|paraphrase|rewrite|attempts?|y",
    "chosen": r"(?:chosen|preferred|better|accepted|pos(?:itive)?|good|win(?:ner|s|ning)?|best|correct|right).*|y_?w",
    "rejected": r"(?:rejected|dispreferred|non_?preferred|worse|refused|neg(?:ative)?|bad|"
    r"los(?:er|e|ing)|worst|wrong|incorrect).*|y_?l",
    "score": r".*(?:score|rating|reward|grade|quality|likert|stars|judge|eval).*|(?:up)?votes?|"
    r"(?:.+_)?(?:values?|confidence|points?|marks?|win_?rate|advantages?|utility|elo|acceptability|sentiment|likes|"
    r"karma|satisfaction|agreement|[a-z]+ness)",
    "label": r"(?!.*(?:incorrect|unsafe|unhelpful|dishonest|invalid|inaccurate|irrelevant|unresolved|dislike|harmful))"
    r".*(?:label|good|thumbs?|accept|correct|liked|approved|pass|safe|binary|helpful(?!ness)|harmless(?!ness)|honest|"
    r"feedback|agree|selected|keep|ok|won|win|success|solved|resolved|best|valid|useful|relevant|accurate|factual|truthful).*",
    "completions": r"completions|responses|answers|outputs|generations|candidates|replies",
    "ranks": r".*rank(?:s|ing|ings)?|orders?|positions?",
    "response_a": rf"{TEXT}(?:[ajx]|0|1|left|first|one)|a|left|first",
    "response_b": rf"{TEXT}(?:[bky]|1|2|right|second|two)|b|right|second",
    "response_0": rf"{TEXT}(?:0|a|1|left|first)|a|left|first",
    "response_1": rf"{TEXT}(?:1|b|2|right|second)|b|right|second",
    "response1": rf"{TEXT}(?:1|a|0|left|first)|a|left|first",
    "response2": rf"{TEXT}(?:2|b|1|right|second)|b|right|second",
    "winner": r".*(?:winner|preferred|preference|better|best|choice|chosen|verdict|judge?ment|label|selected|vote).*",
    "better_response_id": r".*(?:winner|preferred|better|safer|best|chosen|selected).*(?:id|idx|index)",
    "overall_preference": r"(?:overall|relative|mean|avg)_?preference|preference_?strength|strength|margin",
}
"""Column of a format → pattern of the names that other files give it."""
HOLDS: Mapping[str, Callable[[Any], bool]] = {
    "completions": lambda value: isinstance(value, list),
    "ranks": lambda value: isinstance(value, list),
    "winner": lambda value: isinstance(value, str) and number(value) is None,
    "better_response_id": lambda value: number(value) in (0, 1),
    "overall_preference": lambda value: (number(value) or 0) in (-3, -2, -1, 1, 2, 3),
    "score": lambda value: number(value) is not None,
    "label": lambda value: str(value).lower() in ("true", "false", "0", "1"),
}
"""Column of a format → test of the values that it may hold; other columns must hold texts or turns."""
MISSPELT = 0.85
"""Similarity (`difflib`) from which a name counts as a misspelling of another."""
COLUMN = re.compile(r"""--column ((?:'[^']*'|"[^"]*"|[^ ;,)'"])+) ?""")
"""A `--column` option, its value quoted for a shell if necessary."""
BEFORE_EDITING = re.compile(r"(?:orig(?:inal)?|draft|initial|unedited|old|before)_.*")
"""Names of completions before editing; the edited version is in another column."""
AS_LABEL = "a column label (true: good) or score (a number)"
NAMES = {*WORDS, *OF_TEMPLATE, *LABELS, *OVERALL, *ASPECTS}
"""Columns that formats read in addition to those that they need."""
SEVERAL = ("completions", "responses", "generations", "answers")
PLAIN = ("demonstrations", "prompts")
ADVISED = (
    "rankings", "comparisons", "pku-saferlhf", "helpsteer3", "trl-explicit", "trl-unpaired", "ratings",
    "demonstrations", "prompts",
)  # fmt: skip
"""Formats that may be advised, the most specific first."""


@dataclass(frozen=True)
class Fit:
    """How well a row fits a format."""

    format: Format
    renames: Mapping[str, str]
    """Column of the row → the format's name for it."""
    missing: tuple[str, ...]

    @property
    def columns(self) -> set[str]:
        """The row's columns that the format would read."""
        return {*self.renames, *self.format.needs} - set(self.missing) - set(self.renames.values())


def advise_format(row: Row, formats: Iterable[Format]) -> tuple[str, str] | None:
    """(what was expected, what to do) for a row that fits no format; None if no format is near."""
    by_name = {format.name: format for format in formats}
    judged_by = {*judging(row), *verdicts(row)}
    several = len(answers(row)) > 1 or any(has(row, name) for name in SEVERAL)
    fits = [_fit(row, by_name[name]) for name in ADVISED]
    plain = [fit for fit in fits if fit.format.name in PLAIN and not fit.missing]
    judged = [fit for fit in fits if fit.format.name not in PLAIN]
    using_judgment = [fit for fit in judged if fit.columns & judged_by]
    whole = [fit for fit in using_judgment if not fit.missing] or ([] if judged_by or several else plain)
    best_plain = max(plain, key=lambda fit: len(fit.columns), default=None)
    instead = f"where there is nothing to learn from it: {_options(best_plain)}" if best_plain else ""
    if whole:
        best = max(whole, key=lambda fit: len(fit.columns))
        do = f"if that is what it is: {_options(best)}"
        # a column with an ambiguous name may not be a judgment at all
        may_be_plain = judged_by and instead and all(map(is_ambiguous, judged_by))
        return _expected(best), f"{do}; {instead}" if may_be_plain else do
    near = [fit for fit in using_judgment or judged if len(fit.missing) == 1 and len(fit.columns) > 1]
    if near:
        best = max(near, key=lambda fit: len(fit.columns))
        says = [name for name in row if name in judged_by and best.missing[0] in ("label", "score")]
        add = f"write what {says[0]} says as {AS_LABEL}" if says else "add it"
        return f"{_expected(best)}; {best.missing[0]} is missing", "; ".join([add, *[instead] * bool(instead)])
    return ("columns of one format (docs/reference/formats.md)", instead) if instead else None


def advise_respelling(row: Row, formats: Iterable[Format]) -> tuple[str, str] | None:
    """(what was expected, what to do) for a row that fits a format once its names are written as formats write them."""
    formats = list(formats)
    known = {*NAMES, *(name for format in formats for name in format.needs)}
    renames = {name: plain for name in row if (plain := plain_name(name)) in known and plain not in row}
    if not renames or len({*renames.values()}) < len(renames):
        return None
    written = {renames.get(name, name): peek(row, name) for name in row}
    fitting = next((format for format in formats if format.looks_like(written)), None)
    return (_expected(fit := Fit(fitting, renames, ())), f"if that is what it is: {_options(fit)}") if fitting else None


def advise_unwrapping(row: Row) -> tuple[str, str] | None:
    """(what was expected, what to do) for an object with a column that holds the rows; None for any other row."""
    lists = [name for name, value in row.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    inside = [name for name in lists if not is_conversation(row[name])]
    if not inside:
        return None
    return "rows, one object each", f"if {inside[0]!r} holds the rows, write that list to a file of its own"


def _options(fit: Fit) -> str:
    return "".join(f"{rename_option(old, new)} " for old, new in fit.renames.items()) + f"--format {fit.format.name}"


def _expected(fit: Fit) -> str:
    return f"the nearest format is {fit.format.name}: {', '.join(fit.format.needs)}"


def _fit(row: Row, format: Format) -> Fit:
    free = [name for name in row if not blank(peek(row, name))]
    renames: dict[str, str] = {}
    missing = []
    for wanted in format.needs:
        old = wanted if has(row, wanted) and _holds(wanted, peek(row, wanted)) else _counterpart(wanted, row, free)
        if old is None:
            missing.append(wanted)
            continue
        if old in free:
            free.remove(old)
        if old != wanted:
            renames[old] = wanted
    return Fit(format, renames, tuple(missing))


def _counterpart(wanted: str, row: Row, free: list[str]) -> str | None:
    """The column among `free` that most likely holds what the format calls `wanted`."""
    fitting = [name for name in free if _holds(wanted, peek(row, name))]
    if wanted == "score":
        fitting = [name for name in fitting if not scores_another(name, row)]
    pattern = MEANINGS.get(wanted, "")
    usual = PROMPTS if wanted == "prompt" else ()
    fitting.sort(key=lambda name: usual.index(name) if name in usual else len(usual))
    if wanted == "completion":  # prefer an answer to the passage that it is about
        fitting.sort(key=lambda name: BESIDE_PROMPT.fullmatch(plain_name(name)) is not None)
    fitting.sort(key=lambda name: BEFORE_EDITING.fullmatch(plain_name(name)) is not None)
    named = next((name for name in fitting if re.fullmatch(pattern, plain_name(name))), None)
    if named is not None:
        return named
    return next(iter(get_close_matches(wanted, fitting, 1, MISSPELT)), None)


def _holds(wanted: str, value: Any) -> bool:
    if wanted in HOLDS:
        return HOLDS[wanted](value)
    return isinstance(value, str) or is_turn(value) or is_conversation(value)


def in_a_recipe(advice: str, data: str) -> str:
    """Advice that names options of `preflab import`, rewritten with the settings of `data.<name>` in a recipe."""
    advice = advice.replace("--skip-bad", f"`skip_bad: true` in data.{data}").replace("; nothing was loaded", "")
    renames = [_in_yaml(option) for option in COLUMN.findall(advice)]
    if renames:
        first = COLUMN.search(advice)
        assert first is not None
        settings = f"`columns: {{{', '.join(renames)}}}` in data.{data} "
        advice = advice[: first.start()] + settings + COLUMN.sub("", advice[first.start() :])
    for option in ("format", "split"):
        advice = re.sub(rf"--{option} ([^ ;,]+)", rf"`{option}: \1` in data.{data}", advice)
    return " ".join(advice.split()).replace(" )", ")").replace(" ,", ",")


def _in_yaml(option: str) -> str:
    """`'best one=chosen'` → `"best one": chosen`."""
    old, _, new = "".join(shlex.split(option)).partition("=")
    plain = re.fullmatch(r"[\w.-]+", old) is not None
    return f"{old if plain else json.dumps(old, ensure_ascii=False)}: {new}"
