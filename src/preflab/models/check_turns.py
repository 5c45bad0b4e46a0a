"""The rows of `preflab check` about turns: their end tokens, the sampler's stop tokens, and faithful encoding of texts.

They report which texts and conversations are unchanged after encoding and decoding, or equal the template's rendering.
"""

from __future__ import annotations

import re
from dataclasses import replace

from preflab.conversations.renderer import Renderer
from preflab.conversations.template import TOOL
from preflab.conversations.thinking import NO_THINKING, THINKING_TAGS
from preflab.conversations.turn_ends import Frame
from preflab.errors import PreflabError
from preflab.models.check_rows import CheckRow
from preflab.records import Completion, Message, Prompt, ToolCall, spans_of_turns

WORDS = (
    "Hello",
    "Two lines.\n\nAnd é, 7 of 9.",
    "* a list\n* of two",
    " a space first",
    "a space last ",
    "\na line break first",
)
"""Texts that should be unchanged after encoding and decoding."""

USER, ANSWER, SYSTEM = Message("user", "What is it?"), Message("assistant", "A cat."), Message("system", "Be kind.")
THOUGHT, MORE = Message("assistant", "A cat.", reasoning="Four legs."), Message("assistant", "A dog.")
CALL = Message("assistant", "", tool_calls=(ToolCall("probe", '{"mark": "Rome"}', "abcdefghi"),))
RESULT = Message("tool", "It is sunny.", name="probe", tool_call_id="abcdefghi")
TOOLS = {"tools": [TOOL]}

ONE = "one exchange"
CONVERSATIONS: dict[str, tuple[Prompt, Message]] = {
    ONE: (Prompt.make(messages=(USER,)), ANSWER),
    "a system turn": (Prompt.make(messages=(SYSTEM, USER)), ANSWER),
    "two exchanges": (Prompt.make(messages=(USER, ANSWER, USER)), MORE),
    "thinking": (Prompt.make(messages=(USER,)), THOUGHT),
    "a call of a tool": (Prompt.make(messages=(USER,), columns=TOOLS), CALL),
    "a tool's answer": (Prompt.make(messages=(USER, CALL, RESULT), columns=TOOLS), ANSWER),
}

RAISED = re.compile(r"the chat template refuses the conversation \((.*)\)")
"""Matches preflab's error for a refusal; the group holds the template's own message."""


def check_turns(renderer: Renderer) -> list[CheckRow]:
    """The rows about turns. For a model without a chat template, only the rows about plain text."""
    rows = [_end_of_text(renderer), _plain_texts(renderer)]
    if not renderer.template.exists:
        return rows
    try:
        frame = renderer.frame
    except PreflabError as error:
        return [*rows, CheckRow("turn end", False, error.found, "a template that writes all turns", error.do)]
    assert frame is not None
    chat = [_turn_end(renderer, frame), _generation_prompt(frame), _rendered(renderer, frame), _chat_texts(renderer)]
    return [*rows, *chat, _thinking_as_text(renderer), _date(renderer)]


def _end_of_text(renderer: Renderer) -> CheckRow:
    end = renderer.tokenizer.eos_token
    advice = "" if end is not None else "set eos_token in tokenizer_config.json"
    return CheckRow("end of plain text", end is not None, str(end), "learned and stopped at", advice)


def _turn_end(renderer: Renderer, frame: Frame) -> CheckRow:
    """Check that the sampler stops at the token that ends the assistant's turn and that training includes it."""
    prompt, _ = CONVERSATIONS[ONE]
    try:
        last = renderer.completion_ids(prompt, _answer(renderer, "Hello"))[-1]
    except PreflabError as error:
        return CheckRow("turn end", False, short(error), "learned and stopped at", error.do)
    mark, *stops = renderer.tokenizer.convert_ids_to_tokens([last, *renderer.stop_token_ids])
    advice = ""
    if frame.end_id is None:
        advice = f"the template does not end turns: preflab adds {mark}, trains on it and stops at it"
    elif frame.added:
        advice = f"the template does not end turns: preflab stops at {mark}, which starts the user's next turn"
    elif last not in renderer.configured:
        advice = f"the configuration does not stop at {mark}: preflab does, and adds it to the models it trains"
    holds = last in renderer.stop_token_ids
    return CheckRow(
        "turn end", holds, f"{mark}; stops at {', '.join(map(str, stops))}", "learned and stopped at", advice
    )


def _generation_prompt(frame: Frame) -> CheckRow:
    measured, advice = "the header alone", ""
    if frame.opener:
        measured = f"opens {frame.opener.strip()}"
    elif frame.closed:
        measured = "closes thinking"
    if frame.header:
        measured = "none"
        advice = f"the template has none: preflab adds {frame.header.strip()!r} before the assistant's turn"
    elif frame.lead is None:
        advice = "completions need thinking in the model's form; rows without it are refused"
    elif frame.lead.strip():
        advice = f"the template writes {frame.lead!r} before an answer without thinking, and training includes it"
    return CheckRow("generation prompt", True, measured, "thinking opened once", advice)


def _rendered(renderer: Renderer, frame: Frame) -> CheckRow:
    """Count the conversations that preflab renders exactly as the template does; list differing and refused ones."""
    different: dict[str, list[str]] = {}
    refused = {}
    for name, pair in CONVERSATIONS.items():
        try:
            why = difference(renderer, *pair)
        except PreflabError as error:
            refused[name] = short(error)
            continue
        if why:
            different.setdefault(why, []).append(name)
    num_equal = len(CONVERSATIONS) - len(refused) - sum(map(len, different.values()))
    expected = frame.end_id is None or frame.closed or bool(frame.opener)
    holds = ONE not in refused and (expected or not any(ONE in names for names in different.values()))
    differences = [f"{', '.join(names)}: {why}" for why, names in different.items()]
    if refused:
        differences.append(
            "rows with these are refused: " + ", ".join(f"{name} ({why})" for name, why in refused.items())
        )
    measured = f"{num_equal} of {len(CONVERSATIONS)}" + (f", {len(refused)} refused" if refused else "")
    return CheckRow("turns equal the template's", holds, measured, "equal, or listed below", "; ".join(differences))


def difference(renderer: Renderer, prompt: Prompt, answer: Message) -> str:
    """ "" if preflab's ids equal the template's up to the end of the turn, else a description of the difference.

    Raises:
        PreflabError: the template refuses the conversation or omits a part of it.
    """
    answer = replace(answer, content=_answer(renderer, answer.content)) if answer.content else answer
    completion = Completion.make(prompt.id, "", "", spans=spans_of_turns((answer,)))
    sequence = renderer.sequence(prompt, completion)
    rendered = renderer.joining.ids(renderer.template.text((*prompt.messages, answer), prompt, opened=False))
    bos = renderer.tokenizer.bos_token_id
    while bos is not None and rendered[:2] == (bos, bos):
        rendered = rendered[1:]
    ids = (*sequence.prompt_ids, *sequence.completion_ids)
    if rendered[: len(ids)] == ids:
        return ""
    return "its end is added" if rendered == ids[:-1] else "the template changes earlier turns once an answer follows"


def _plain_texts(renderer: Renderer) -> CheckRow:
    advice = "the tokenizer changes these texts, and completions contain the changed form"
    return _letters("plain text letter for letter", Prompt.make(text="The end.\n"), renderer, advice)


def _chat_texts(renderer: Renderer) -> CheckRow:
    advice = "the chat template changes these texts before training"
    return _letters("turns letter for letter", CONVERSATIONS[ONE][0], renderer, advice)


def _thinking_as_text(renderer: Renderer) -> CheckRow:
    """Check whether turns with and without thinking keep their tokens, and so their scores, if read again from text."""
    name, expected = "thinking as text", "the sampled tokens, or listed below"
    prompt, _ = CONVERSATIONS["thinking"]
    try:
        sampled = _samples_of_thinking(renderer, prompt)
    except PreflabError as error:  # the template refuses even this short conversation
        return CheckRow(name, True, "refused", expected, short(error))
    if not sampled:
        return CheckRow(name, True, "no thinking", expected, "the template writes no thinking before an answer")
    changed = list(filter(None, (_changed_by_text(renderer, prompt, ids) for ids in sampled)))
    advice = f"tokens and scores change if a sample is read again from text: {'; '.join(changed)}" if changed else ""
    return CheckRow(name, True, f"{len(sampled) - len(changed)} of {len(sampled)} forms", expected, advice)


def _samples_of_thinking(renderer: Renderer, prompt: Prompt) -> list[tuple[int, ...]]:
    """Samples that a model may write, as token ids.

    They are an answer with thinking in the template's form, and answers with and without an empty thinking block.
    """
    turns = renderer.turns_after(prompt)
    form, lead, close = turns.form, turns.frame.lead or "", turns.close_ids
    written = [turns.after_opener(form.written("Four legs.", "A cat."))] if form else []
    if NO_THINKING.match(lead):
        written += [lead + "A cat.", "A cat."]
    return [(*renderer.joining.continued("a:", words), *close) for words in written]


def _changed_by_text(renderer: Renderer, prompt: Prompt, sampled: tuple[int, ...]) -> str:
    """ "" if decoding and re-encoding the sampled tokens gives the same tokens, else a description of the change."""
    text = renderer.text(prompt, sampled)
    try:
        again = renderer.scored(prompt, Completion.make(prompt.id, text, "")).completion_ids
    except PreflabError as error:
        return f"{text!r} is refused ({short(error)})"
    before, after = (renderer.joining.text(ids, special=True) for ids in (sampled, again))
    return "" if again == sampled else f"{before!r} becomes {after!r}"


def _letters(name: str, prompt: Prompt, renderer: Renderer, advice: str) -> CheckRow:
    """The row that counts which of `WORDS` are unchanged after encoding and decoding."""
    changed = [words for words in WORDS if not _comes_back(renderer, prompt, words)]
    note = f"{advice}: {', '.join(map(repr, changed))}" if changed else ""
    return CheckRow(name, True, f"{len(WORDS) - len(changed)} of {len(WORDS)} texts", "all, or listed below", note)


def _comes_back(renderer: Renderer, prompt: Prompt, words: str) -> bool:
    words = _answer(renderer, words) if prompt.messages else words
    try:
        return renderer.text(prompt, renderer.completion_ids(prompt, words)) == words
    except PreflabError:
        return False


def _answer(renderer: Renderer, words: str) -> str:
    """An answer as the model writes it: after a thinking block if the generation prompt opens one."""
    opener = renderer.frame.opener if renderer.frame else ""
    return f"{opener}Four legs.\n{THINKING_TAGS[opener.strip()]}\n\n{words}" if opener else words


def _date(renderer: Renderer) -> CheckRow:
    writes = "strftime_now" in renderer.template.source
    advice = "tokens depend on the current date: set the date in chat_template_kwargs" if writes else ""
    return CheckRow("independent of the date", True, "writes the date" if writes else "no date", "either", advice)


def short(error: PreflabError) -> str:
    """The reason of a refusal without the row's name; if the template raised an error, its own message."""
    reason = error.found.partition(": ")[2] or error.found
    raised = RAISED.fullmatch(reason)
    return raised[1] if raised else reason.removeprefix("the model's chat template ").removeprefix("the chat template ")
