"""What columns are called in the files of others, and which of them tell of a judgment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from preflab.errors import nearest
from preflab.store.formats.reading import BadRow, Row

PROMPTS = ("prompt", "instruction", "question", "query", "problem", "input")
"""What a prompt is called; the first one there is taken."""
BESIDE_INSTRUCTION = ("input", "context")
"""What an instruction is about, where that stands in a column of its own."""
COMPLETIONS = ("completion", "response", "output", "generation")
REPLY = re.compile(
    r"(?:model|llm|bot|chatbot|assistant|ai|gpt\d*|chatgpt|sampled|generated|predicted)[_-]"
    r"(?:response|reply|completion|output|generation|prediction|answer|text|solution)s?"
    r"|reply|replies|generations?|predictions?|continuations?|demonstrations?|candidates|outputs|assistant"
)
"""Other names of completions; they are not read under these, and make a row more than a prompt."""
CONVERSATIONS = ("messages", "conversations", "conversation")
SYSTEM = ("system", "system_prompt", "system_message")
WORDS = frozenset((*PROMPTS, *BESIDE_INSTRUCTION, *COMPLETIONS, *CONVERSATIONS, *SYSTEM, "text"))
"""Columns that hold words of a conversation."""
TOOLS, TEMPLATE, CONTINUE = "tools", "chat_template_kwargs", "continue_final_message"
OF_TEMPLATE = (TOOLS, TEMPLATE, CONTINUE)
"""Columns of a conversation that the chat template reads; they belong to the prompt."""
OF_CONVERSATION = (*SYSTEM, *OF_TEMPLATE)
"""Columns that make a conversation of a prompt."""
PICTURES = ("image", "images", "video", "videos", "audio", "audios")
LABELS = ("label", "kto_tag")
"""Columns that say of one completion whether it is good."""
ANSWERS = {
    "answer", "answers", "solution", "ground_truth", "target", "reference", "expected", "expected_answer", "gold",
    "final_answer", "correct_answer", "label", "test", "tests", "test_cases", "reward_model",
}  # fmt: skip
"""Columns beside a prompt that reward functions check completions against."""
OVERALL = ("score", "rating", "reward", "grade", "quality", "overall", "overall_score", "overall_rating")
ASPECTS = (
    "helpfulness", "correctness", "coherence", "complexity", "verbosity", "honesty", "truthfulness", "harmlessness",
    "instruction_following", "instruction-following", "safety", "accuracy", "relevance", "fluency", "consistency",
    "informativeness", "toxicity", "humor", "creativity", "helpful", "harmless", "honest", "politeness", "clarity",
    "conciseness", "factuality", "faithfulness",
)  # fmt: skip
"""Criteria that published files rate completions by."""
RATED = re.compile(r"(?:score|rating|reward)s?[_-].+|.+[_-](?:score|rating|reward)s?")
STRONG = {
    "chosen", "rejected", "winner", "winners", "loser", "preferred", "dispreferred", "preference", "preferences",
    "better", "worse", "safer", "rank", "ranks", "ranking", "rankings", "vote", "votes", "verdict", "judgment",
    "judgments", "judgement", "judgements", "annotation", "annotations", "thumb", "thumbs", "upvotes", "kto",
    "comparison",
}  # fmt: skip
"""Words in a column's name that tell of a judgment whatever the column holds."""
WEAK = {"score", "scores", "rating", "ratings", "reward", "rewards", "label", "labels", "grade", "quality", "likert"}
"""Words that tell of a judgment where the column holds numbers or true and false."""
VERDICTS = {
    "good", "bad", "correct", "incorrect", "wrong", "accept", "accepted", "acceptable", "liked", "approved", "passed",
    "harmful", "harmless", "helpful", "honest", "safe", "unsafe", "upvoted", "desirable", "toxic", "offensive",
    "hateful", "biased", "flagged", "hallucinated", "won", "win", "lost", "success", "successful", "solved", "resolved",
    "best", "worst", "pass", "fail", "failed", "valid", "invalid", "useful", "relevant", "accurate", "factual",
    "truthful",
}  # fmt: skip
"""Words that tell of a judgment of a completion where the column holds true and false, yes and no, or 0 and 1."""
OPINIONS = {"feedback", "reaction", "evaluation", "eval", "assessment", "star", "stars", "like", "likes", "dislikes"}
"""Words that tell of a judgment of a completion where the column holds numbers, or true and false."""
YES_OR_NO = ("true", "false", "0", "1", "yes", "no")
MEASURED = re.compile(r"[-+]?\d+(?:[.,]\d+)?\s*(?:%|(?:/|out of|of)\s*\d+|stars?|points?)?|[A-F][-+]?")
"""A score in words: `90%`, `4/5`, `4,5`, `4 out of 5`, `B+`."""
GRADED = {"score", "scores", "rating", "ratings", "reward", "rewards", "grade", "grades", "quality", "likert"}
"""Last words of columns that judge a completion whatever text they hold: `high`, `good`, `-`."""
NOTHING = ("n/a", "na", "nan", "none", "null")
"""Words that stand where there is no score."""
SIGNS = re.compile("[👍👎✅❌✔✓✗✘★☆⭐]+")
"""Signs that judge a completion in a column of any name, without the variants of an emoji."""
VARIANTS = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f\\s]")
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
"""Values that tell of a judgment of a completion."""
CONDEMNED = {
    "bad", "wrong", "incorrect", "reject", "rejected", "refused", "fail", "failed", "harmful", "unsafe", "unhelpful",
    "unacceptable", "dislike", "disliked", "negative", "down", "lose", "lost", "loss", "poor", "dispreferred",
}  # fmt: skip
"""Values that say of a completion that it is not to be learned."""
STATUS = {"status", "result", "outcome", "review"}
"""Words of columns whose value may condemn a completion."""
OPPOSITES = (
    ("good", "bad"), ("y_w", "y_l"), ("yw", "yl"), ("positive", "negative"), ("pos", "neg"), ("win", "lose"),
    ("accepted", "refused"), ("winning", "losing"), ("correct", "incorrect"), ("safe", "unsafe"), ("w", "l"),
)  # fmt: skip
"""Parts of two names that, between them, tell of a pair."""
ANSWER = re.compile(r"(?:response|answer|completion|output|reply|generation|conversation)s?[_-]?(?:\d{1,2}|[a-dA-D])")
"""One of several completions: `response_a`, `answer1`, `completion_2`."""


class Seen(dict[str, Any]):
    """A row that knows which of its columns were read, so that an import can say what became of each."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        super().__init__(columns)
        self.read: dict[str, str] = {}
        """Column → what it was read as."""
        self.defaulted: frozenset[str] = frozenset()
        """Columns that the row lacks, whose value is a default."""

    def __getitem__(self, name: str) -> Any:
        self.read.setdefault(name, name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The column's value; it counts as read."""
        self.read.setdefault(name, name)
        return super().get(name, default)

    def read_as(self, name: str, canonical: str) -> Any:
        """The column's value, read as what another name means."""
        self.read[name] = canonical
        return super().__getitem__(name)


def with_defaults(row: Row, defaults: Mapping[str, Any]) -> Seen:
    """The row with a default for every column that is missing or empty in it.

    A default for the system's turn is not used where any column of `SYSTEM` holds something.
    """
    has_system = any(not blank(peek(row, name)) for name in SYSTEM)
    used = {
        name: value
        for name, value in defaults.items()
        if blank(peek(row, name)) and not (has_system and name in SYSTEM)
    }
    seen = Seen({**row, **used})
    seen.defaulted = frozenset(used)
    return seen


def is_default(row: Row, name: str) -> bool:
    """Whether a column's value is a default and not the row's own."""
    return name in getattr(row, "defaulted", ())


def read_as(row: Row, name: str, canonical: str) -> Any:
    """The value of a column that stands for another name."""
    return row.read_as(name, canonical) if isinstance(row, Seen) else row[name]


def peek(row: Row, name: str) -> Any:
    """The value of a column, which does not count as read; None where there is none."""
    return dict.get(row, name)


def has(row: Row, *names: str) -> bool:
    """Whether all of the columns hold something."""
    return all(peek(row, name) is not None for name in names)


def first(row: Row, names: tuple[str, ...]) -> str | None:
    """The first of these columns that holds something."""
    return next((name for name in names if has(row, name)), None)


def column(row: Row, name: str) -> Any:
    """The value of a column; a row without it is bad, and the nearest name is given."""
    if name in row:
        return row[name]
    near = nearest(name, list(row))
    raise BadRow(
        f"no column {name!r} among {', '.join(row) or 'none'}",
        f"a column {name!r}"
        + (f" (near it: {near}; --column {near.split(', ')[0]}={name} renames it)" if near else ""),
    )


def unread(row: Row) -> Row:
    """The columns that nobody read: they stay with the record."""
    known = row.read if isinstance(row, Seen) else {}
    return {name: value for name, value in row.items() if name not in known}


def blank(value: Any) -> bool:
    """Whether a value is the absence of one: null, an empty list or object, or an empty cell."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def number(value: Any) -> float | None:
    """A finite number, also written as text; None where it is none. True and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def is_true(value: Any) -> bool:
    """Whether a value is true, also written as text or as 1."""
    return str(value).strip().lower() in ("true", "1", "1.0")


def score_of(value: Any, what: str) -> float | None:
    """A score: a number, also written as text; None where there is none (null, an empty cell, N/A).

    Raises:
        BadRow: anything else.
    """
    if blank(value) or (isinstance(value, str) and value.strip().lower() in NOTHING):
        return None
    found = number(value)
    if found is None:
        point = ", with a point before decimals" if isinstance(value, str) and number(value.replace(",", ".")) else ""
        raise BadRow(f"the {what} {value!r:.40}", f"a number{point}, or null where there is none")
    return found


def judging(row: Row) -> list[str]:
    """The columns that tell of a judgment, by their names and, where those say little, by what they hold."""
    suspects = _suspects(tuple(row))
    if not suspects:
        return []
    opposed = _opposed(row)
    return [name for name in suspects if has(row, name) and (name in opposed or _judges(name, peek(row, name)))]


@lru_cache(maxsize=256)
def _suspects(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that may tell of a judgment."""
    opposed = {name for pair in _opposites(names) for name in pair}
    return tuple(name for name in names if name in opposed or _words(name) & (STRONG | WEAK))


def verdicts(row: Row) -> list[str]:
    """The columns that say of a completion beside them whether it is good, in other words than `label`."""
    telling = _verdicts(tuple(row))
    return [
        name
        for name, value in row.items()
        if (name in telling and _condemns_or_praises(name, value))
        or (name not in WORDS and isinstance(value, str) and _is_sign(value))
    ]


@lru_cache(maxsize=256)
def _verdicts(names: tuple[str, ...]) -> frozenset[str]:
    telling = VERDICTS | OPINIONS | WEAK | STRONG | STATUS | GRADED | {"harm"}
    return frozenset(name for name in names if _is_aspect(name) or _words(name) & telling)


def _is_aspect(name: str) -> bool:
    """Whether a column is called like a criterion, also in capitals."""
    return plain_name(name) in ASPECTS


def plain_name(name: str) -> str:
    """A column's name as formats write theirs: ` Instruction Following` → instruction_following."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _is_sign(value: str) -> bool:
    return len(value) < 20 and SIGNS.fullmatch(VARIANTS.sub("", value)) is not None


def _condemns_or_praises(name: str, value: Any) -> bool:
    words = _words(name)
    said = str(value).strip().lower()
    plain = isinstance(value, bool | int | str)
    if words & VERDICTS and plain and said in YES_OR_NO:
        return True
    if (words & OPINIONS or _is_aspect(name)) and _measures(value):
        return True
    if not isinstance(value, str):
        return False
    if _last_word(name) in GRADED:
        return bool(said) and said not in NOTHING
    one_word = re.sub(r"[\s_-]", "", said)
    measured = MEASURED.fullmatch(value.strip()) is not None and bool(words & (WEAK | OPINIONS) - {"label", "labels"})
    return measured or one_word in THUMBED | CONDEMNED


def is_measured(value: Any) -> bool:
    """Whether a text is a score in words, which nobody here reads as a number."""
    return isinstance(value, str) and MEASURED.fullmatch(value.strip()) is not None


def replies(row: Row) -> list[str]:
    """The columns that hold completions under names that are not read."""
    named = [name for name in row if REPLY.fullmatch(name) and (name != "outputs" or "inputs" not in row)]
    return [name for name in named if isinstance(peek(row, name), str | list) and not blank(peek(row, name))]


def answers(row: Row) -> list[str]:
    """The columns that hold one of several completions."""
    return [name for name in row if ANSWER.fullmatch(name) and isinstance(peek(row, name), str | list)]


def _opposed(row: Row) -> set[str]:
    """Columns of texts or turns whose names differ by opposite words alone."""
    pairs = _opposites(tuple(row))
    return {name for pair in pairs if all(isinstance(peek(row, each), str | list) for each in pair) for name in pair}


@lru_cache(maxsize=64)
def _opposites(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    changed = (
        (name, re.sub(rf"(?<![a-zA-Z]){one}(?![a-zA-Z])", other, name)) for one, other in OPPOSITES for name in names
    )
    return tuple((name, rival) for name, rival in changed if rival != name and rival in names)


def scores_another(name: str, row: Row) -> bool:
    """Whether a score is that of a completion under another name: `orig_score` beside `orig_response`."""
    stem = re.fullmatch(r"(.+)_(?:score|rating|reward)", name)
    return stem is not None and any(
        f"{stem[1]}_{word}" in row for word in ("response", "answer", "completion", "output")
    )


def tells_of_scores(name: str) -> bool:
    """Whether a column's name says that it holds scores."""
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
