"""A loaded model as critique and revision use it: texts for prompts, a request to a chat model being a user's turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from preflab.seeds import derive_seed

if TYPE_CHECKING:
    from preflab.constitution.revising import Write
    from preflab.records import Prompt
    from preflab.stages.sample import Writer


def writing(writer: Writer, seed: int, on_done: Callable[[int], None]) -> Write:
    """`write(what, prompts)`: one text per prompt, the same for the same seed, `what` and prompt.

    Args:
        writer: with one completion per prompt.
        seed: of all texts.
        on_done: told how many more are done.
    """
    from preflab.constitution.revising import Written
    from preflab.records import Message
    from preflab.records import Prompt as PromptRecord

    chat = writer.renderer.template.exists

    def write(what: str, prompts: Sequence[Prompt]) -> list[Written]:
        asked = [
            PromptRecord.make(messages=(Message("user", p.text),), columns=p.columns, source=p.source)
            if chat and not p.messages
            else p
            for p in prompts
        ]
        writer.fit(asked)
        distinct = list({p.id: p for p in asked}.values())
        seeded = replace(writer, seed=derive_seed(seed, "revise", what))
        texts = {c.prompt_id: Written(c.text, c.finish_reason) for c in seeded.write(distinct, on_done)}
        on_done(len(asked) - len(distinct))
        return [texts[p.id] for p in asked]

    return write
