"""Reads rows with one prompt and one completion: two columns, or a conversation that ends with the assistant's turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from preflab.records import FinishReason, Prompt
from preflab.store.formats.asked import (
    Spans,
    Words,
    check_completion,
    question_of_turns,
    read_question,
    spans_of,
    words_of,
)
from preflab.store.formats.columns import COMPLETIONS, CONVERSATIONS, PROMPTS, column, first, has, peek, read_as
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.turns import Turns, conversation, is_conversation, last_speaker

UNLEARNED_AFTER = "turns after the last one that is learned"
FINISH_REASON = "finish_reason"
"""Column with the end of the completion: `stop`: the model ended it; `length`: cut at the length limit."""
NOTHING_LEARNED = "every turn of the assistant's has weight 0"


@dataclass(frozen=True)
class Answered:
    """A prompt and its completion."""

    prompt: Prompt
    spans: Spans
    unlearned: tuple[int, ...] = ()
    """Indices of the prompt's assistant turns with weight 0."""
    left_out: tuple[str, ...] = ()
    finish_reason: FinishReason = "imported"
    """How the completion ended, if the row says so."""


def no_columns(row: Row) -> Row:
    """{}: no column belongs to the prompt."""
    return {}


def answered(row: Row, source: str, kept: Callable[[Row], Row] = no_columns) -> Answered:
    """Read the prompt and the completion of a row.

    Args:
        row: with prompt and completion, or with a conversation.
        source: file and line.
        kept: function from the row to the columns that belong to the prompt; called after the others were read.

    Raises:
        BadRow: prompt or completion is missing or cannot be used.
    """
    finish_reason, talk = finish_reason_of(row), talk_of(row)
    answer = _of_talk(row, talk, source, kept) if talk else _of_columns(row, source, kept)
    is_last_turn = UNLEARNED_AFTER not in answer.left_out  # else the reason belongs to a turn that is left out
    return replace(answer, finish_reason=finish_reason if is_last_turn else "imported")


def finish_reason_of(row: Row) -> FinishReason:
    """`stop` or `length` from the column `finish_reason`; else `imported`, and the column stays unread."""
    reason = peek(row, FINISH_REASON)
    if reason not in ("stop", "length"):
        return "imported"
    row.get(FINISH_REASON)  # marks the column as read
    return "length" if reason == "length" else "stop"


def _of_columns(row: Row, source: str, kept: Callable[[Row], Row]) -> Answered:
    """Prompt and completion from columns of their own."""
    question = read_question(row)
    name = first(row, COMPLETIONS)
    value = read_as(row, name, COMPLETIONS[0]) if name else column(row, COMPLETIONS[0])
    words = words_of(value, name or COMPLETIONS[0])
    if words.turns and words.turns[0].role != "assistant":
        return _of_dialogue(question.turns, words, row, source, kept)
    if words.turns:
        check_completion(words.turns, name or COMPLETIONS[0])
    prompt = question.prompt(source, kept(row), chat=bool(words.turns))
    unlearned = _unlearned(question.words, len(prompt.messages))
    return Answered(prompt, spans_of(words), unlearned, (*question.words.left_out, *words.left_out))


def talk_of(row: Row) -> str | None:
    """The column with a whole conversation, if the row has no column with a completion."""
    if first(row, COMPLETIONS):
        return None
    return next((name for name in CONVERSATIONS if is_conversation(peek(row, name))), None)


def has_answer(row: Row) -> bool:
    """Whether a row has a prompt and one completion, which may be empty."""
    talk = talk_of(row)
    if talk:
        return last_speaker(peek(row, talk)) == "assistant"
    name = first(row, COMPLETIONS) or next((each for each in COMPLETIONS if each in row), None)
    if name is None or not isinstance(peek(row, name), str | list | dict | None):
        return False
    return any(each != name and has(row, each) for each in PROMPTS)


def _of_talk(row: Row, name: str, source: str, kept: Callable[[Row], Row]) -> Answered:
    """Prompt and completion from a conversation: the completion is the last learned turn, the prompt the turns before.

    Raises:
        BadRow: the conversation does not end with the assistant's turn, or no turn is learned.
    """
    words = conversation(read_as(row, name, CONVERSATIONS[0]), name)
    if len(words.turns) < 2:
        raise BadRow(f"one turn alone in {name!r}", "the turns that were answered before the answer")
    if words.turns[-1].role != "assistant":
        raise BadRow(
            f"a conversation in {name!r} that does not end with the assistant's turn",
            "the answer to learn as last turn; cut the turns after it, or read the file as prompts",
        )
    if not any(words.learned):
        raise BadRow(NOTHING_LEARNED, "at least one turn to learn")
    last = max(n for n, learned in enumerate(words.learned) if learned)
    question = question_of_turns(row, words.turns[:last], name)
    _check_own_prompt(row, words.turns[:last])
    prompt = question.prompt(source, kept(row))
    shift = len(prompt.messages) - last  # 1 if a system turn was added from its own column
    unlearned = [n + shift for n in range(last) if words.turns[n].role == "assistant" and not words.learned[n]]
    left_out = [*words.left_out, *[UNLEARNED_AFTER] * (last < len(words.turns) - 1)]
    spans = spans_of(Words("", words.turns[last : last + 1], (True,)))
    return Answered(prompt, spans, tuple(unlearned), tuple(left_out))


def _check_own_prompt(row: Row, turns: Turns) -> None:
    """Refuse a column `prompt` whose text is not a turn of the conversation."""
    if not has(row, PROMPTS[0]):
        return
    question = words_of(row[PROMPTS[0]], PROMPTS[0])
    text = question.turns[-1].content if question.turns else question.text
    if not any(turn.role in ("system", "user") and turn.content.strip() == text.strip() for turn in turns):
        raise BadRow(
            "the text of the column 'prompt' is not in the conversation", "the same in both, or no column 'prompt'"
        )


def _of_dialogue(prompt_turns: Turns, words: Words, row: Row, source: str, kept: Callable[[Row], Row]) -> Answered:
    """Prompt and completion where the completion's column holds the whole dialogue, which begins with the prompt.

    Raises:
        BadRow: the dialogue does not begin with the prompt.
    """
    turns, num = words.turns, len(prompt_turns)
    begin = num if turns[:num] == prompt_turns else 0
    if not begin and prompt_turns[0].role == "system" and turns[: num - 1] == prompt_turns[1:]:
        begin = num - 1
    if not begin:
        raise BadRow(
            f"a completion that begins with the {turns[0].role}'s turn and not with the prompt",
            "the assistant's turns alone, or the prompt's turns before them",
        )
    completion = Words("", turns[begin:], words.learned[begin:], words.left_out)
    check_completion(completion.turns, COMPLETIONS[0])
    prompt = question_of_turns(row, prompt_turns, PROMPTS[0]).prompt(source, kept(row))
    return Answered(prompt, spans_of(completion), (), words.left_out)


def _unlearned(words: Words, num_turns: int) -> tuple[int, ...]:
    """Indices, in a prompt of `num_turns` turns, of the assistant's turns that are not learned."""
    shift = num_turns - len(words.turns)
    pairs = enumerate(zip(words.turns, words.learned, strict=True))
    return tuple(n + shift for n, (turn, learned) in pairs if turn.role == "assistant" and not learned)
