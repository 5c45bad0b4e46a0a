"""Reads prompts, demonstrations and plain texts, under the column names that data sets use."""

from __future__ import annotations

from collections import Counter

from preflab.records import Prompt
from preflab.store.formats.answered import NOTHING_LEARNED, answered, has_answer, talk_of
from preflab.store.formats.asked import Question, question_of_turns, read_question
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
from preflab.store.formats.judgment_columns import judging, verdicts, verdicts_on_answers
from preflab.store.formats.other_names import ASKING, answers, replies
from preflab.store.formats.turns import conversation, is_conversation, is_turn, last_speaker, listed_in
from preflab.words import count

DEMONSTRATION = "demonstration"
"""The model of completions that people wrote as examples."""
UNLEARNED = "unlearned_turns"
"""Column of a demonstration: indices of the prompt's assistant turns that must not be learned."""
SEVERAL = ("completions", "responses", "generations", "answers")
"""Columns with several completions; a row with one of them is not just a prompt."""
ANSWERS_OF_TALKS = "answers at the end of conversations"
BESIDE_TEXT = (*sorted(ANSWERS), "summary", "summaries", "translation", "highlights", "code")
"""Columns with the desired output for a text; a row with one of them is not just a text."""


def _prompt(row: Row, source: str) -> Parsed:
    question, left_out = _question(row)
    prompt = question.prompt(source, unread(row), chat=_is_answered_in_turns(row))
    return Parsed((prompt,), content=("prompt", prompt.id), left_out=left_out)


def _is_answered_in_turns(row: Row) -> bool:
    """Whether the row's completion is turns, so that its prompt is a conversation, as for demonstrations."""
    name = first(row, COMPLETIONS)
    value = listed_in(peek(row, name)) if name else None
    return is_turn(value) or is_conversation(value)


def _question(row: Row) -> tuple[Question, tuple[str, ...]]:
    talk = next((name for name in CONVERSATIONS if is_conversation(peek(row, name))), None)
    name = first(row, ASKING)
    if talk is None or (name and not _is_turn_of(peek(row, name), peek(row, talk))):
        question = read_question(row, ASKING)
        return question, question.words.left_out
    read = conversation(read_as(row, talk, PROMPTS[0]), talk)
    if name is None:
        return question_of_turns(row, read.turns, talk), read.left_out
    read_as(row, name, PROMPTS[0])
    is_answered = read.turns[-1].role == "assistant" and not _is_continued(row)
    turns = read.turns[:-1] if is_answered else read.turns
    return question_of_turns(row, turns, talk), (*read.left_out, *[ANSWERS_OF_TALKS] * is_answered)


def _is_turn_of(words: object, talk: object) -> bool:
    """Whether a prompt's text is a turn of the row's conversation; then the conversation is the prompt."""
    contents = [
        str(turn.get("content", turn.get("value"))).strip() for turn in listed_in(talk) if isinstance(turn, dict)
    ]
    return isinstance(words, str) and words.strip() in contents


def _demonstration(row: Row, source: str) -> Parsed:
    """Prompt and completion; of a conversation the last learned turn is the completion."""
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
    """A plain text becomes a completion of the empty prompt."""
    words = text(row, "text")
    prompt = Prompt.make(text="", source="the empty prompt of plain texts")
    completion = imported(prompt, words, DEMONSTRATION, columns=unread(row))
    return Parsed((prompt, completion), content=("text", completion.id), demonstrations=(completion.id,))


def _is_prompt(row: Row) -> bool:
    """Whether a row is a question or a conversation that waits for the assistant, without an answer or a judgment."""
    if judging(row) or verdicts_on_answers(row) or _is_answered(row):
        return False
    talk = talk_of(row)
    if talk and last_speaker(peek(row, talk)) == "assistant":
        return _is_continued(row) and first(row, ASKING) is None
    return first(row, ASKING) is not None or talk is not None


def _is_answered(row: Row) -> bool:
    """Whether there is a column of completions, even an empty one, or of one of several answers."""
    several = answers(row)
    return (
        any(name in row for name in COMPLETIONS)
        or bool(replies(row))
        or any(has(row, name) for name in SEVERAL)
        or len(several) > 1
        or any(not name.startswith("answer") for name in several)
    )


def _is_demonstration(row: Row) -> bool:
    """Whether a row is a prompt with one answer and no judgment."""
    if _describe_judgment(row) or len(answers(row)) > 1:
        return False
    return has_answer(row) and not (talk_of(row) and _is_continued(row))


def _is_continued(row: Row) -> bool:
    return str(peek(row, CONTINUE)).lower() == "true"


def _is_text(row: Row) -> bool:
    judged = judging(row) or any(has(row, name) for name in (*LABELS, "labels"))
    beside = any(isinstance(peek(row, name), str) and has(row, name) for name in BESIDE_TEXT) or _is_answered(row)
    return has(row, "text") and not judged and not beside and not any(has(row, name) for name in ("prompt", "role"))


def told_of(row: Row) -> list[str]:
    """The columns with a judgment of a completion, or of an answer in a column named like a reference."""
    verdict_names = verdicts(row) if has_answer(row) else verdicts_on_answers(row)
    return list(dict.fromkeys([*judging(row), *verdict_names]))


def _describe_judgment(row: Row) -> str:
    """Which columns hold a judgment, in words; "" without any."""
    names = told_of(row)
    return f"{' and '.join(names)} {'tells' if len(names) == 1 else 'tell'} of a judgment" if names else ""


def _refuse_as_prompt(row: Row) -> str:
    """The reason why a row in a file of prompts is not just a prompt; "" if it is."""
    several = answers(row) if _is_answered(row) else []
    named = [*COMPLETIONS, *SEVERAL] if _is_answered(row) else []
    filled = dict.fromkeys([*(name for name in named if not blank(peek(row, name))), *replies(row), *several])
    talk = talk_of(row)
    if talk and last_speaker(peek(row, talk)) == "assistant" and not _is_continued(row):
        filled[talk] = None
    return _describe_judgment(row) or (f"a completion in {' and '.join(filled)}, beside a prompt" if filled else "")


def _refuse_as_text(row: Row) -> str:
    """The reason why a row in a file of texts is not just a text; "" if it is."""
    return _describe_judgment(row) or (
        "" if _is_text(row) or not has(row, "text") else f"the columns {', '.join(row)}: more than a text"
    )


def _notes(imported: Imported) -> list[str]:
    """Notes on columns with answers for reward functions, and on equal prompts with different columns."""
    notes = []
    answer_columns = [name for name in imported.columns.to_json()["kept"] if name.lower() in ANSWERS]
    if answer_columns:
        notes.append(f"answers for reward functions, with each prompt: {', '.join(answer_columns)}")
    words = Counter((prompt.text, prompt.messages) for prompt in imported.prompts)
    num = sum(number > 1 for number in words.values())
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
    refuses=_refuse_as_prompt,
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
    refuses=_describe_judgment,
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
    refuses=_refuse_as_text,
    columns="`text`",
    becomes="completions of the empty prompt",
)
PLAIN = (PROMPTS_ALONE.name, DEMONSTRATIONS.name, TEXT.name)
"""Formats without judgments."""
