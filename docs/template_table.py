"""The content of docs/reference/chat-templates.md: how preflab handles each family of chat templates."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from chat_templates import (
    BY_NAME,
    CLOSED_TAG,
    CLOSES_LAST_RESULT,
    FAMILIES,
    ONE_OF_BOTH,
    OPENED,
    PARTS,
    SWITCHED,
    THINKING,
    TOOLS,
    Family,
    byte_tokenizer,
    configured_ids,
)

if TYPE_CHECKING:
    from preflab.conversations.renderer import Renderer
    from preflab.records import Message, Prompt

HEAD = """The output of `preflab check` for one template like those of each family (`tests/chat_templates.py`), with a
tokenizer of bytes, which changes no text. Run it on your own model.
[The chat template defines a conversation](../decisions/conversations.md) gives the reasons.

| column | content |
| --- | --- |
| turn end | the token that is learned at the end of a turn, and the tokens at which the sampler stops |
| generation prompt | whether it opens or closes thinking |
| system turn to result | `same`: the ids equal the template's own; otherwise the difference or the refusal's reason |
| `learn: all` | whether all turns of a conversation are learned in one sequence, or each turn in its own sequence |
| texts | how many of six answers decode to the same text, letter for letter |

"""
COLUMNS = (
    "family", "turn end", "generation prompt", "system turn", "two exchanges", "thinking", "call", "result",
    "`learn: all`", "texts",
)  # fmt: skip
CONVERSATIONS = ("a system turn", "two exchanges", "thinking", "a call of a tool", "a tool's answer")
"""Names of the conversations in `preflab check`, in the order of the columns."""

TAG = re.compile(r"(<[^<>]+>)")
"""Text that Markdown would read as an HTML tag."""
CHAT = ("<|im_start|>", "<|im_end|>")
OTHERS = (
    Family("opens thinking", OPENED, CHAT, "<|im_end|>", "", "", ""),
    Family("thinking by an argument", SWITCHED, CHAT, "<|im_end|>", "", "", ""),
    Family("closes thinking by a tag", CLOSED_TAG, ("<|user|>", "<|assistant|>", "<|end|>"), "<|end|>", "", "", ""),
    Family("thinking and tools", TOOLS + THINKING, CHAT, "<|im_end|>", "", "", ""),
    Family("words or calls", ONE_OF_BOTH, BY_NAME["llama3"].special, "<|eot_id|>", "", "", ""),
    Family("closes the last result", CLOSES_LAST_RESULT, CHAT, "<|im_end|>", "", "", ""),
    Family("thinking as a part", PARTS, ("[INST]", "[/INST]", "[THINK]", "[/THINK]"), "</s>", "", "", ""),
)


def rows() -> list[tuple[str, ...]]:
    """A row per family."""
    return [cells(family) for family in (*FAMILIES, *OTHERS) if family.template]


def cells(family: Family) -> tuple[str, ...]:
    """As in `COLUMNS`."""
    from preflab.conversations.renderer import Renderer
    from preflab.models.check_turns import CONVERSATIONS as TRIED
    from preflab.models.check_turns import check_turns

    tokenizer = byte_tokenizer(family)
    renderer = Renderer(tokenizer, configured_ids(family, tokenizer))
    said = {row.name: row.measured for row in check_turns(renderer)}
    rendered = [_rendered(renderer, *TRIED[name]) for name in CONVERSATIONS]
    texts = said.get("turns letter for letter", "none").removesuffix(" texts")
    prompt = said.get("generation prompt", "not tried")
    sentences = (said["turn end"], prompt, *rendered, _several(renderer))
    return family.name, *(TAG.sub(r"`\1`", sentence) for sentence in sentences), texts


def _rendered(renderer: Renderer, prompt: Prompt, answer: Message) -> str:
    from preflab.errors import PreflabError
    from preflab.models.check_turns import difference, short

    try:
        return difference(renderer, prompt, answer) or "same"
    except PreflabError as error:
        return f"refused: {short(error)}"


def _several(renderer: Renderer) -> str:
    """How `learn: all` encodes two exchanges: one sequence, a sequence per turn, or a refusal."""
    from preflab.errors import PreflabError
    from preflab.models.check_turns import CONVERSATIONS as TRIED
    from preflab.models.check_turns import short
    from preflab.policy.sft import Demonstration, encode_demonstrations
    from preflab.records import Completion, spans_of_turns
    from preflab.training.too_long import LongRows

    prompt, answer = TRIED["two exchanges"]
    row = Demonstration(prompt, Completion.make(prompt.id, "", "", spans=spans_of_turns((answer,))))
    try:
        sequences = encode_demonstrations(renderer, [row], LongRows(4096, "refuse"), learn="all")
    except PreflabError as error:
        return f"refused: {short(error)}"
    return "one sequence" if len(sequences) == 1 else "a sequence per turn"
