"""Reads rows of chosen and rejected: the prompt, the two completions, their scores and models, and ties."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from preflab.records import Completion, Message, Preference, Prompt
from preflab.store.formats.asked import Question, Words, check_completion, question_of_turns, spans_of, words_of
from preflab.store.formats.base import Parsed
from preflab.store.formats.columns import CONVERSATIONS, column, has, is_true, peek, rename_option, score_of, unread
from preflab.store.formats.fields import imported, one_pair
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.turns import Turns

SIDES = ("chosen", "rejected")
SCORED = re.compile(r"(?P<name>score|rating|reward)s?[_-](?P<side>chosen|rejected)")
SCORED_FIRST = re.compile(r"(?P<side>chosen|rejected)[_-](?P<name>score|rating|reward)s?")
"""The score of one side: `score_chosen`, `chosen-rating`."""
SAYS_TIE = ("status", "winner", "outcome", "result", "verdict", "preference", "label")
"""Columns that may say that chosen and rejected are tied, such as `status` in Argilla's Orca pairs."""
TIES = ("tie", "tied", "draw")
MODELS = ("{}_model", "{}-model", "model_{}")
EQUAL = "chosen and rejected are equal"
TWO = "two different completions"


@dataclass(frozen=True)
class PairRow:
    """One row of chosen and rejected: one vote for the pair, or a tie."""

    prompt: Prompt
    chosen: Completion
    rejected: Completion
    scores: tuple[tuple[str, tuple[float | None, float | None]], ...]
    source: str
    tie: bool = False


def pair_of(row: Row, prompt: Prompt, chosen: Words, rejected: Words, source: str, model: str) -> Parsed:
    """The records of one row; columns that were not read are kept with both completions.

    Raises:
        BadRow: two equal completions, or a score that is not a number.
    """
    sides = [spans_of(words) for words in (chosen, rejected)]
    if sides[0] == sides[1]:
        raise BadRow(EQUAL, TWO)
    scores = side_scores(row)
    models = [_model(row, side) or model for side in SIDES]
    columns = {name: value for name, value in unread(row).items() if name not in CONVERSATIONS}  # they repeat the turns
    first, second = (imported(prompt, spans, name, columns=columns) for spans, name in zip(sides, models, strict=True))
    pair = PairRow(prompt, first, second, tuple(scores.items()), source, is_tie(row))
    left_out = (*chosen.left_out, *rejected.left_out)
    content = ("pair", prompt.id, first.id, second.id, pair.scores, pair.tie)
    return Parsed((prompt, first, second), content=content, items=(pair,), left_out=left_out)


def is_tie(row: Row) -> bool:
    """Whether the row says that chosen and rejected are tied."""
    words = [peek(row, name) for name in SAYS_TIE]
    tie = any(isinstance(word, str) and word.strip().lower() in TIES for word in words)
    return tie or any(is_true(peek(row, name)) for name in ("tie", "is_tie"))


def count_pairs(pairs: list[PairRow]) -> Sequence[Preference]:
    """One preference per pair: every row with the pair is a vote for it, or a tie."""
    groups: dict[tuple[str, str, object], list[PairRow]] = {}
    for pair in pairs:
        groups.setdefault((pair.chosen.id, pair.rejected.id, pair.scores), []).append(pair)
    return [_group(votes) for votes in groups.values()]


def _group(votes: list[PairRow]) -> Preference:
    first_vote, num_tie = votes[0], sum(each.tie for each in votes)
    pair = (first_vote.prompt, first_vote.chosen, first_vote.rejected, first_vote.source)
    return one_pair(*pair, float(len(votes) - num_tie), float(num_tie), scores=dict(first_vote.scores))


def side_scores(row: Row) -> dict[str, tuple[float | None, float | None]]:
    """Criterion → (score of chosen, score of rejected)."""
    by_criterion: dict[str, dict[str, float | None]] = {}
    for name in row:
        match = SCORED.fullmatch(name) or SCORED_FIRST.fullmatch(name)
        if match:
            by_criterion.setdefault(match["name"], {})[match["side"]] = score_of(row[name], name)
    both = {name: (sides.get("chosen"), sides.get("rejected")) for name, sides in sorted(by_criterion.items())}
    return {name: sides for name, sides in both.items() if sides != (None, None)}


def _model(row: Row, side: str) -> str:
    """The model that wrote a side, if the row names it; else ""."""
    names = [each.format(side) for each in MODELS]
    model_name = next((name for name in names if has(row, name) and isinstance(dict.get(row, name), str)), None)
    return str(row[model_name]) if model_name else ""


def with_prompt(row: Row, question: Question, source: str) -> tuple[Prompt, Words, Words]:
    """(prompt, chosen, rejected) of a row with a prompt in its own column.

    If chosen and rejected are whole dialogues, they repeat the prompt: then the prompt is their common beginning.

    Raises:
        BadRow: the prompt is not in the dialogues, or they first differ in a turn that is not the assistant's.
    """
    chosen, rejected = (words_of(column(row, side), side) for side in SIDES)
    whole = [words.turns and words.turns[0].role != "assistant" for words in (chosen, rejected)]
    if any(whole):
        if not all(whole):
            side = SIDES[whole.index(True)]
            raise BadRow(f"{side} is a whole dialogue and the other side is not", "both in the same form")
        shared, first, second = split_dialogues(chosen, rejected)
        return question.with_turns(_check_repeated(question, shared), source), first, second
    for words, side in zip((chosen, rejected), SIDES, strict=True):
        if words.turns:
            check_completion(words.turns, side)
    chat = question.chat or bool(chosen.turns or rejected.turns)
    return question.prompt(source, chat=chat), chosen, rejected


def from_dialogues(row: Row, source: str) -> tuple[Prompt, Words, Words]:
    """(prompt, chosen, rejected) of a row with two whole dialogues, whose common beginning is the prompt."""
    chosen, rejected = (words_of(column(row, side), side) for side in SIDES)
    shared, first, second = split_dialogues(chosen, rejected)
    return question_of_turns(row, shared, "chosen").prompt(source), first, second


def split_dialogues(chosen: Words, rejected: Words, names: tuple[str, str] = SIDES) -> tuple[Turns, Words, Words]:
    """(common beginning, rest of the first, rest of the second) of two dialogues.

    Raises:
        BadRow: they are equal, one continues where the other ends, or they first differ in a turn that is not the
            assistant's.
    """
    if chosen.turns == rejected.turns:
        raise BadRow(f"{names[0]} and {names[1]} are equal", TWO)
    pairs = zip(chosen.turns, rejected.turns, strict=False)
    shorter = min(len(chosen.turns), len(rejected.turns))
    cut = next((n for n, (one, other) in enumerate(pairs) if one != other), shorter)
    if cut == shorter:
        raise BadRow("one conversation continues where the other ends", "two answers to the same turns")
    if {chosen.turns[cut].role, rejected.turns[cut].role} != {"assistant"}:
        raise BadRow(
            "the conversations differ before the assistant's turn", "conversations that differ in the assistant's turns"
        )
    first, second = (_cut_before(words, cut) for words in (chosen, rejected))
    for words, name in zip((first, second), names, strict=True):
        check_completion(words.turns, name)
    return chosen.turns[:cut], first, second


def _cut_before(words: Words, cut: int) -> Words:
    return Words("", words.turns[cut:], words.learned[cut:], words.left_out)


def _check_repeated(question: Question, shared: Turns) -> Turns:
    """Check that the dialogues' common turns hold the prompt; returns them, with its system turn if they lack one.

    Raises:
        BadRow: the prompt is not among them.
    """
    prompt_turns = question.turns
    system = [turn for turn in prompt_turns if turn.role == "system"]
    if system and shared[:1] and shared[0].role != "system":
        shared = (*system, *shared)
    expected = tuple(turn for turn in prompt_turns if turn.role != "system" or turn in shared)
    if question.words.turns and _begins(shared, expected):
        return shared
    last = expected[-1] if expected else Message("user", "")
    equal = [turn for turn in shared if turn.role == "user" and turn.content.strip() == last.content.strip()]
    is_single = len([turn for turn in expected if turn.role != "system"]) == 1
    if is_single and equal:
        return shared
    raise BadRow(
        f"the column {question.name!r} is not in the dialogues of chosen and rejected",
        f"the same prompt in all three, or no column {question.name!r} ({rename_option(question.name, 'other')})",
    )


def _begins(whole: Turns, part: Turns) -> bool:
    return whole[: len(part)] == part or tuple(t for t in whole if t.role != "system")[: len(part)] == part
