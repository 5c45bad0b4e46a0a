"""Prompts, demonstrations and plain texts, under the names that data sets give them."""

from __future__ import annotations

from collections import Counter

from preflab.records import Prompt
from preflab.store.formats.answered import NOTHING_LEARNED, answered, has_answer, talk_of
from preflab.store.formats.asked import Asked, asked, asked_of_turns
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import (
    ANSWERS,
    COMPLETIONS,
    CONTINUE,
    CONVERSATIONS,
    LABELS,
    PROMPTS,
    blank,
    first,
    has,
    peek,
    read_as,
    unread,
)
from preflab.store.formats.fields import imported, text
from preflab.store.formats.imported import Imported
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.judging import judging, verdicts, verdicts_on_answers
from preflab.store.formats.other_names import ASKING, answers, replies
from preflab.store.formats.turns import conversation, is_conversation, is_turn, last_speaker, listed_in
from preflab.words import count

DEMONSTRATION = "demonstration"
"""The model of completions that people wrote as examples."""
UNLEARNED = "unlearned_turns"
"""Column of a demonstration: places of the prompt's assistant turns that are not to be learned."""
SEVERAL = ("completions", "responses", "generations", "answers")
"""Columns of several completions, which make a row more than a prompt."""
ANSWERS_OF_TALKS = "answers at the end of conversations"
BESIDE_TEXT = (*sorted(ANSWERS), "summary", "summaries", "translation", "highlights", "code")
"""Columns that make a text one half of an example: what is to be said to it stands in them."""


def _prompt(row: Row, source: str) -> Parsed:
    question, left_out = _question(row)
    prompt = question.prompt(source, unread(row), chat=_is_answered_in_turns(row))
    return Parsed((prompt,), content=("prompt", prompt.id), left_out=left_out)


def _is_answered_in_turns(row: Row) -> bool:
    """Whether the row's completion is turns: its prompt is a conversation, as the demonstration's is."""
    name = first(row, COMPLETIONS)
    value = listed_in(peek(row, name)) if name else None
    return is_turn(value) or is_conversation(value)


def _question(row: Row) -> tuple[Asked, tuple[str, ...]]:
    talk = next((name for name in CONVERSATIONS if is_conversation(peek(row, name))), None)
    name = first(row, ASKING)
    if talk is None or (name and not _stands_in(peek(row, name), peek(row, talk))):
        question = asked(row, ASKING)
        return question, question.words.left_out
    found = conversation(read_as(row, talk, PROMPTS[0]), talk)
    if name is None:
        return asked_of_turns(row, found.turns, talk), found.left_out
    read_as(row, name, PROMPTS[0])
    answered_too = found.turns[-1].role == "assistant" and not _goes_on(row)
    turns = found.turns[:-1] if answered_too else found.turns
    return asked_of_turns(row, turns, talk), (*found.left_out, *[ANSWERS_OF_TALKS] * answered_too)


def _stands_in(words: object, talk: object) -> bool:
    """Whether a prompt's text is a turn of the row's conversation, which then says what comes before it."""
    contents = [
        str(turn.get("content", turn.get("value"))).strip() for turn in listed_in(talk) if isinstance(turn, dict)
    ]
    return isinstance(words, str) and words.strip() in contents


def _demonstration(row: Row, source: str) -> Parsed:
    """Prompt and completion; a conversation's last turn that is learned is the completion."""
    answer = answered(row, source)
    if not "".join(span.text for span in answer.spans).strip():
        raise BadRow("an empty completion", "a completion to learn from")
    if not any(span.by_policy for span in answer.spans):
        raise BadRow(NOTHING_LEARNED, "at least one turn to learn")
    columns = unread(row)
    if answer.unlearned:
        columns[UNLEARNED] = list(answer.unlearned)
    completion = imported(
        answer.prompt, answer.spans, DEMONSTRATION, columns=columns, finish_reason=answer.finish_reason
    )
    return Parsed(
        (answer.prompt, completion),
        content=("demonstration", completion.id),
        demonstrations=(completion.id,),
        left_out=answer.left_out,
    )


def _text(row: Row, source: str) -> Parsed:
    """A text to learn from is a completion of the empty prompt."""
    words = text(row, "text")
    prompt = Prompt.make(text="", source="the empty prompt of plain texts")
    completion = imported(prompt, words, DEMONSTRATION, columns=unread(row))
    return Parsed((prompt, completion), content=("text", completion.id), demonstrations=(completion.id,))


def _is_prompt(row: Row) -> bool:
    """A question or a conversation that waits for the assistant; nothing was answered and nothing judged."""
    if judging(row) or verdicts_on_answers(row) or _is_answered(row):
        return False
    talk = talk_of(row)
    if talk and last_speaker(peek(row, talk)) == "assistant":
        return _goes_on(row) and first(row, ASKING) is None
    return first(row, ASKING) is not None or talk is not None


def _is_answered(row: Row) -> bool:
    """Whether there is a column of completions, be it empty, or one of several answers."""
    several = answers(row)
    return (
        any(name in row for name in COMPLETIONS)
        or bool(replies(row))
        or any(has(row, name) for name in SEVERAL)
        or len(several) > 1
        or any(not name.startswith("answer") for name in several)
    )


def _is_demonstration(row: Row) -> bool:
    """A prompt with one answer that nobody judged."""
    if _judged(row) or len(answers(row)) > 1:
        return False
    return has_answer(row) and not (talk_of(row) and _goes_on(row))


def _goes_on(row: Row) -> bool:
    return str(peek(row, CONTINUE)).lower() == "true"


def _is_text(row: Row) -> bool:
    judged = judging(row) or any(has(row, name) for name in (*LABELS, "labels"))
    beside = any(isinstance(peek(row, name), str) and has(row, name) for name in BESIDE_TEXT) or _is_answered(row)
    return has(row, "text") and not judged and not beside and not any(has(row, name) for name in ("prompt", "role"))


def told_of(row: Row) -> list[str]:
    """The columns that tell of a judgment: of a completion, or of an answer under the name of a reference."""
    verdict_names = verdicts(row) if has_answer(row) else verdicts_on_answers(row)
    return list(dict.fromkeys([*judging(row), *verdict_names]))


def _judged(row: Row) -> str:
    told = told_of(row)
    return f"{' and '.join(told)} {'tells' if len(told) == 1 else 'tell'} of a judgment" if told else ""


def _is_no_prompt(row: Row) -> str:
    """Why a row of a file of prompts is more than one; "" where it is none."""
    several = answers(row) if _is_answered(row) else []
    named = [*COMPLETIONS, *SEVERAL] if _is_answered(row) else []
    held = dict.fromkeys([*(name for name in named if not blank(peek(row, name))), *replies(row), *several])
    talk = talk_of(row)
    if talk and last_speaker(peek(row, talk)) == "assistant" and not _goes_on(row):
        held[talk] = None
    return _judged(row) or (f"a completion in {' and '.join(held)}, beside a prompt" if held else "")


def _is_no_text(row: Row) -> str:
    """Why a row of a file of texts is more than one; "" where it is none."""
    return _judged(row) or (
        "" if _is_text(row) or not has(row, "text") else f"the columns {', '.join(row)}: more than a text"
    )


def _notes(found: Imported) -> list[str]:
    """Which columns may be what is checked, and prompts that stand there under several columns."""
    notes = []
    kept = [name for name in found.columns.to_json()["kept"] if name.lower() in ANSWERS]
    if kept:
        notes.append(f"answers for reward functions, with each prompt: {', '.join(kept)}")
    shown = Counter((prompt.text, prompt.messages) for prompt in found.prompts)
    num = sum(number > 1 for number in shown.values())
    if num:
        notes.append(f"{count(num, 'prompt')} more than once, with other columns: each is a prompt of its own")
    return notes


PROMPTS_ALONE = Format(
    "prompts",
    "prompt, question or problem (text), or prompt/messages (turns); every other column goes along",
    _prompt,
    _is_prompt,
    notes=_notes,
    needs=("prompt",),
    refuses=_is_no_prompt,
    columns="`prompt` or `messages`, any others",
    becomes="prompts with their columns; equal ones once",
)
DEMONSTRATIONS = Format(
    "demonstrations",
    "prompt and completion to learn from, instruction and output, or messages that end with the assistant's turn",
    _demonstration,
    _is_demonstration,
    repeats="weight",
    needs=("prompt", "completion"),
    refuses=_judged,
    columns="`prompt`, `completion`; or `messages`",
    becomes="completions to learn from; equal rows as often as they stand there",
)
TEXT = Format(
    "text",
    "text alone, for language modelling",
    _text,
    _is_text,
    repeats="weight",
    needs=("text",),
    refuses=_is_no_text,
    columns="`text`",
    becomes="completions of the empty prompt",
)
PLAIN = (PROMPTS_ALONE.name, DEMONSTRATIONS.name, TEXT.name)
"""Formats in which nothing is judged."""
