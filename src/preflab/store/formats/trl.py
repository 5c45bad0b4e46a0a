"""TRL's preference rows: explicit (prompt, chosen, rejected), and implicit (the prompt inside chosen and rejected)."""

from __future__ import annotations

from dataclasses import replace

from preflab.records import Prompt
from preflab.store.formats.asked import Question, Words, question_of_turns, read_question, template_of
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import CONVERSATIONS, PROMPTS, SYSTEM, blank, first, has, peek, read_as
from preflab.store.formats.fields import text
from preflab.store.formats.imported import Imported
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.pairs import EQUAL, TWO, count_pairs, from_dialogues, pair_of, with_prompt
from preflab.store.formats.turns import conversation, is_conversation, is_turn, last_speaker

MODEL = "trl"
"""The model of completions whose rows do not name one."""
REPEATED = "both completions begin with the prompt, which then stands there twice"


def _explicit(row: Row, source: str) -> Parsed:
    talk = _talk(row)
    question = _after_talk(row, talk) if talk else read_question(row)
    prompt, chosen, rejected = with_prompt(row, question, source)
    parsed = pair_of(row, prompt, chosen, rejected, "trl", MODEL)
    return replace(parsed, left_out=(*question.words.left_out, *parsed.left_out))


def _talk(row: Row) -> str | None:
    """The column of turns that the two completions answer, if no column is named like a prompt (ShareGPT)."""
    if first(row, PROMPTS):
        return None
    return next((name for name in CONVERSATIONS if last_speaker(peek(row, name)) in ("user", "tool")), None)


def _after_talk(row: Row, name: str) -> Question:
    talk = conversation(read_as(row, name, "prompt"), name)
    question = question_of_turns(row, talk.turns, name)
    return replace(question, words=replace(question.words, left_out=talk.left_out))


def _implicit(row: Row, source: str) -> Parsed:
    if is_conversation(peek(row, "chosen")):
        prompt, first_side, second = from_dialogues(row, source)
        return pair_of(row, prompt, first_side, second, "trl", MODEL)
    whole, other = text(row, "chosen"), text(row, "rejected")
    if whole == other:
        raise BadRow(EQUAL, TWO)
    cut = shared_words(whole, other)
    if not whole[:cut].strip():
        raise BadRow(
            "chosen and rejected do not begin with the same words",
            "the prompt at the beginning of both, or in a column of its own (--column OLD=prompt)",
        )
    refuse_turns_of_others(row)
    return pair_of(
        row, Prompt.make(text=whole[:cut], source=source), Words(whole[cut:]), Words(other[cut:]), "trl", MODEL
    )


def refuse_turns_of_others(row: Row) -> None:
    """Refuse a system turn or tools in a row of whole texts, which have no turns."""
    if template_of(row) or any(not blank(row.get(name)) for name in SYSTEM):
        raise BadRow("a system turn or tools beside whole texts", "chosen and rejected as turns")


def shared_words(first: str, second: str) -> int:
    """Length of the longest common beginning of two texts that ends at the end of a word in both."""
    shorter = min(len(first), len(second))
    cut = next((index for index in range(shorter) if first[index] != second[index]), shorter)
    while cut and not all(len(whole) == cut or whole[cut].isspace() for whole in (first, second)):
        cut -= 1
    return cut


def _is_explicit(row: Row) -> bool:
    asks = first(row, PROMPTS) is not None or _talk(row) is not None
    return asks and _has_sides(row) and not is_lists(row)


def _has_sides(row: Row) -> bool:
    """Whether the row has both columns and a value in at least one; a missing value is reported by line later."""
    return {"chosen", "rejected"} <= row.keys() and (has(row, "chosen") or has(row, "rejected"))


def is_lists(row: Row) -> bool:
    """Whether chosen or rejected are lists of completions (`rewardbench2`)."""
    sides = [peek(row, side) for side in ("chosen", "rejected")]
    return any(isinstance(side, list) and bool(side) and not is_turn(side[0]) for side in sides)


def _is_implicit(row: Row) -> bool:
    return _has_sides(row) and first(row, PROMPTS) is None and not is_lists(row)


def _notes(imported: Imported) -> list[str]:
    """A note if every completion begins with its prompt, since they are probably whole texts."""
    prompts = {prompt.id: prompt.text for prompt in imported.prompts}
    texts = [(prompts[c.prompt_id], c.text) for c in imported.completions]
    if texts and all(prompt and completion.startswith(prompt) for prompt, completion in texts):
        return [
            f"{REPEATED}; where they are whole texts, rename the prompt (--column prompt=asked) and read trl-implicit"
        ]
    return []


EXPLICIT = Format(
    "trl-explicit",
    "prompt, chosen, rejected: texts, turns or whole dialogues",
    _explicit,
    _is_explicit,
    finish=count_pairs,
    repeats="votes",
    notes=_notes,
    needs=("prompt", "chosen", "rejected"),
    columns="`prompt`, `chosen`, `rejected`",
    becomes="a group of two, one pair; equal rows are votes",
)
IMPLICIT = Format(
    "trl-implicit",
    "chosen and rejected with the prompt at the beginning of both: texts, or turns",
    _implicit,
    _is_implicit,
    finish=count_pairs,
    repeats="votes",
    needs=("chosen", "rejected"),
    columns="`chosen`, `rejected` with the prompt in both",
    becomes="a group of two, one pair",
)
