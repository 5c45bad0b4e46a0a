"""Finds the columns of a row that hold a judgment, by their names and values."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from preflab.store.formats.columns import ANSWERS, ASPECTS, NOTHING, WORDS, blank, has, number, peek
from preflab.store.formats.json_rows import Row
from preflab.store.formats.other_names import plain_name

STRONG = {
    "chosen", "rejected", "winner", "winners", "loser", "preferred", "dispreferred", "preference", "preferences",
    "better", "worse", "safer", "rank", "ranks", "ranking", "rankings", "vote", "votes", "verdict", "judgment",
    "judgments", "judgement", "judgements", "annotation", "annotations", "thumb", "thumbs", "upvotes", "kto",
    "comparison",
}  # fmt: skip
"""Words in a column's name that show a judgment, whatever its values are."""
WEAK = {"score", "scores", "rating", "ratings", "reward", "rewards", "label", "labels", "grade", "quality", "likert"}
"""Words that show a judgment if the column holds numbers or booleans."""
VERDICTS = {
    "good", "bad", "correct", "incorrect", "wrong", "accept", "accepted", "acceptable", "liked", "approved", "passed",
    "harmful", "harmless", "helpful", "honest", "safe", "unsafe", "upvoted", "desirable", "won", "win", "success",
    "successful", "solved", "resolved", "best", "pass", "valid", "useful", "relevant", "accurate", "factual",
    "truthful", "faithful", "grounded", "appropriate", "satisfied", "satisfactory", "agree", "selected", "keep", "ok",
    "okay", "right",
}  # fmt: skip
"""Words that show a judgment of a completion if the column holds true or false, yes or no, or 0 or 1."""
FAULTS = {
    "toxic", "offensive", "hateful", "biased", "flagged", "hallucinated", "lost", "worst", "fail", "failed", "invalid",
    "hallucination", "hallucinates", "misleading", "inaccurate", "disagree", "dissatisfied",
}  # fmt: skip
"""Words that condemn a completion if the column holds true, yes or 1; false is not a judgment (WildChat)."""
OPINIONS = {
    "feedback", "reaction", "evaluation", "eval", "assessment", "star", "stars", "like", "likes", "dislike", "dislikes",
    "advantage", "advantages", "utility", "elo", "acceptability", "sentiment", "judge", "judges", "upvote", "downvote",
    "downvotes", "karma", "satisfaction", "usefulness", "appropriateness", "naturalness", "engagingness",
    "groundedness", "plausibility", "harmfulness", "penalty", "winrate", "agreement", "mos", "nps", "csat",
}  # fmt: skip
"""Words that show a judgment of a completion if the column holds numbers or booleans."""
OF_RECORDS = {
    "id", "ids", "idx", "index", "uid", "time", "timestamp", "date", "at", "ms", "seconds", "duration", "latency",
    "token", "tokens", "length", "len", "size", "seed", "version", "cost", "temperature", "model",
}  # fmt: skip
"""Last words of columns that hold no judgment, whatever precedes them: `judge_id`, `eval_tokens`."""
AMBIGUOUS = re.compile(
    r"(?:(?:human|user|expert|annotator|labeler|judge|critic|model|llm|ai|gpt\d*|answer|response|completion|output|"
    r"overall|final|q|state|action)_)?(?:values?|confidence|points?|marks?|win_rate)"
)
"""Columns that may judge a completion or merely describe it; a number in them is taken for a judgment."""
OF_JUDGES = re.compile(r"(?:.+_)?judge[sd]?_(?:output|response|result|decision|answer|label|text|opinion|reply)s?")
"""Columns with a judge's output, whatever text they hold."""
YES, NO = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")
MEASURED = re.compile(r"[-+]?\d+(?:[.,]\d+)?\s*(?:%|(?:/|out of|of)\s*\d+|stars?|points?)?|[A-F][-+]?")
"""A score in words: `90%`, `4/5`, `4,5`, `4 out of 5`, `B+`."""
GRADED = {"score", "scores", "rating", "ratings", "reward", "rewards", "grade", "grades", "quality", "likert"}
"""Last words of columns that judge a completion, whatever text they hold: `high`, `good`, `-`."""
OF_A_PROMPT = re.compile(r"(?:input|prompt|instruction|question|query)_[a-z]+")
"""Columns that grade the prompt, such as Magpie's `input_quality`."""
ABOUT_THE_TASK = {"input", "prompt", "instruction", "question", "query", "problem", "task", "test", "tests"}
"""Words of columns about the prompt: `problem_is_valid` (NuminaMath 1.5)."""
ABOUT_A_REFERENCE = {"solution", "reference", "gold", "golden", "truth", "expected"}
"""Words of columns about a reference answer; that a reference is right is not a judgment of a completion."""
REFERENCES = tuple(sorted(ANSWERS - {"label", "test", "tests", "test_cases", "reward_model"}))
"""Columns of answers, which may be references or judged completions."""
ALSO_OF_TASKS = {"sentiment", "agreement", "plausibility"}
"""Words of `OPINIONS` that are as often about the prompt as about the completion."""
SIGNS = re.compile("[👍👎✅❌✔✓✗✘★☆⭐]+")
"""Signs that judge a completion in a column of any name, once `VARIANTS` are removed."""
VARIANTS = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f\\s]")
"""Skin tones, variation selectors and spaces."""
THUMBED = {
    "thumbsup",
    "thumbsdown",
    "upvote",
    "downvote",
    "upvoted",
    "downvoted",
    "desirable",
    "undesirable",
}
"""Values that show a judgment of a completion."""
CONDEMNED = {
    "bad", "wrong", "incorrect", "reject", "rejected", "refused", "fail", "failed", "harmful", "unsafe", "unhelpful",
    "unacceptable", "dislike", "disliked", "negative", "down", "lose", "lost", "loss", "poor", "dispreferred",
    "disagree", "disagreed", "stronglydisagree", "verynegative", "verybad", "verypoor", "unsatisfactory",
    "unsatisfied", "dissatisfied", "inaccurate", "invalid", "useless", "worse", "worst", "terrible",
}  # fmt: skip
"""Values that condemn a completion, which must then not be learned."""
STATUS = {"status", "result", "outcome", "review"}
"""Words of columns with a value that may condemn a completion."""
OPPOSITES = (
    ("good", "bad"), ("y_w", "y_l"), ("yw", "yl"), ("positive", "negative"), ("pos", "neg"), ("win", "lose"),
    ("accepted", "refused"), ("winning", "losing"), ("correct", "incorrect"), ("safe", "unsafe"), ("w", "l"),
    ("correct", "wrong"), ("right", "wrong"), ("best", "worst"),
)  # fmt: skip
"""Opposite words: two columns whose names differ only by them are a pair of completions."""


def judging(row: Row) -> list[str]:
    """The columns that hold a judgment, by their names and, if these are not conclusive, by their values."""
    suspects = _suspects(tuple(row))
    if not suspects:
        return []
    opposed = _opposed(row)
    return [name for name in suspects if has(row, name) and (name in opposed or _judges(name, peek(row, name)))]


@lru_cache(maxsize=256)
def _suspects(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of columns that may hold a judgment."""
    opposed = {name for pair in _opposites(names) for name in pair}
    return tuple(name for name in names if name in opposed or _words(name) & (STRONG | WEAK))


def verdicts(row: Row) -> list[str]:
    """The columns, other than `label`, that say whether the row's completion is good."""
    telling = _verdicts(tuple(row))
    return [
        name
        for name, value in row.items()
        if (name in telling and _condemns_or_praises(name, value))
        or (name not in WORDS and isinstance(value, str) and _is_sign(value))
    ]


@lru_cache(maxsize=256)
def _verdicts(names: tuple[str, ...]) -> frozenset[str]:
    telling = VERDICTS | FAULTS | OPINIONS | WEAK | STRONG | STATUS | GRADED | {"harm"}
    return frozenset(name for name in names if _is_aspect(name) or _words(name) & telling or _may_judge(name))


def _may_judge(name: str) -> bool:
    plain = plain_name(name)
    return AMBIGUOUS.fullmatch(plain) is not None or OF_JUDGES.fullmatch(plain) is not None


def is_ambiguous(name: str) -> bool:
    """Whether a column may describe a completion instead of judging it: `value`, `confidence`, `points`."""
    return AMBIGUOUS.fullmatch(plain_name(name)) is not None


def verdicts_on_answers(row: Row) -> list[str]:
    """The columns that say whether an answer is good, if the answer is in a column named like a reference.

    Names whose last word is another one are not among them (`correct_option`, `pass_rate`), nor are names about the
    question.
    """
    if not any(has(row, name) for name in REFERENCES):
        return []
    names = [name for name in verdicts(row) if name not in ANSWERS and not _words(name) & ABOUT_THE_TASK]
    return [name for name in names if _is_on_an_answer(name, peek(row, name), row)]


def _is_on_an_answer(name: str, value: Any, row: Row) -> bool:
    last, word = _last_word(name), str(value).strip().lower()
    if last in VERDICTS | FAULTS and word in YES + NO:
        is_an_index = not isinstance(value, bool) and number(value) is not None and _has_choices(row)
        praised = (word in YES) == (last in VERDICTS)
        return not is_an_index and not (praised and _words(name) & ABOUT_A_REFERENCE)
    if isinstance(value, str) and (_is_sign(value) or (re.sub(r"[\s_-]", "", word) in THUMBED | CONDEMNED)):
        return not _words(name) & {*ALSO_OF_TASKS, "label", "labels"}
    return bool({last} & OPINIONS - ALSO_OF_TASKS) or OF_JUDGES.fullmatch(plain_name(name)) is not None


def _has_choices(row: Row) -> bool:
    """Whether the question is multiple choice, so that a number may be the index of the right choice."""
    return any(isinstance(peek(row, name), list | dict) for name in ("choices", "options"))


def _is_aspect(name: str) -> bool:
    """Whether a column's name is a criterion, in whatever case."""
    return plain_name(name) in ASPECTS


def _is_sign(value: str) -> bool:
    return len(value) < 20 and SIGNS.fullmatch(VARIANTS.sub("", value)) is not None


def _condemns_or_praises(name: str, value: Any) -> bool:
    words = _words(name)
    word = str(value).strip().lower()
    plain = isinstance(value, bool | int | float | str)
    if plain and ((words & VERDICTS and word in YES + NO) or (words & FAULTS and word in YES)):
        return True
    if _is_aspect(name) and _measures(value):
        return True
    if words & OPINIONS and _last_word(name) not in OF_RECORDS and _measures(value):
        return True
    if is_ambiguous(name) and number(value) is not None:
        return True
    if not isinstance(value, str):
        return False
    if OF_JUDGES.fullmatch(plain_name(name)):
        return bool(word) and word not in NOTHING
    if _last_word(name) in GRADED:
        return bool(word) and word not in NOTHING and OF_A_PROMPT.fullmatch(plain_name(name)) is None
    one_word = re.sub(r"[\s_-]", "", word)
    measured = MEASURED.fullmatch(value.strip()) is not None and bool(words & (WEAK | OPINIONS) - {"label", "labels"})
    return measured or one_word in THUMBED | CONDEMNED


def is_measured(value: Any) -> bool:
    """Whether a text is a score such as `4/5` or `B+`, which is not read as a number."""
    return isinstance(value, str) and MEASURED.fullmatch(value.strip()) is not None


def _opposed(row: Row) -> set[str]:
    """Columns of texts or turns whose names differ only by opposite words (`OPPOSITES`)."""
    pairs = _opposites(tuple(row))
    return {name for pair in pairs if all(isinstance(peek(row, each), str | list) for each in pair) for name in pair}


@lru_cache(maxsize=64)
def _opposites(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    changed = (
        (name, re.sub(rf"(?<![a-zA-Z]){one}(?![a-zA-Z])", other, name)) for one, other in OPPOSITES for name in names
    )
    return tuple((name, rival) for name, rival in changed if rival != name and rival in names)


def scores_another(name: str, row: Row) -> bool:
    """Whether a score belongs to a completion in another column: `orig_score` beside `orig_response`."""
    stem = re.fullmatch(r"(.+)_(?:score|rating|reward)", name)
    return stem is not None and any(
        f"{stem[1]}_{word}" in row for word in ("response", "answer", "completion", "output")
    )


def tells_of_scores(name: str) -> bool:
    """Whether a column's name shows that it holds scores."""
    return bool(_words(name) & {*WEAK, "stars"})


def _judges(name: str, value: Any) -> bool:
    words = _words(name)
    if blank(value):
        return False
    return bool(words & STRONG) or (bool(words & WEAK) and _measures(value))


@lru_cache(maxsize=512)
def _words(name: str) -> frozenset[str]:
    """`betterResponse_id` → better, response, id."""
    return frozenset(part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name))


def _last_word(name: str) -> str:
    """`quality_score_2` → score."""
    return next(iter(reversed(re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))), "").lower()


def _measures(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(_measures(each) for each in value.values())
    if isinstance(value, list):
        return bool(value) and all(_measures(each) for each in value)
    return isinstance(value, bool) or number(value) is not None or str(value).strip().lower() in ("true", "false")
