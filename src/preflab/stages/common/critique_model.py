"""Text generation for critique and revision; a chat model receives each plain-text request as a user turn."""

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
    """Returns `write(what, prompts)`, which writes one text per prompt.

    The text depends only on the seed, `what` and the prompt.

    Args:
        writer: a loaded model that writes one completion per prompt.
        seed: seed from which the seeds of all texts are derived.
        on_done: called with the number of texts finished since the last call.
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
