"""Critique and revision: an answer is criticised by a principle and rewritten, round after round.

    answer_0 = model(prompt)
    critique_r = model(critique layout: prompt, answer_{r−1}, principle_r)
    answer_r   = model(revision layout: prompt, answer_{r−1}, critique_r, principle_r)

A principle is drawn anew for each prompt and round. Every text in between is kept: what was wrong with an answer, and
whether the revision mended it, is for people to read. Source: Bai et al. 2022 (arXiv 2212.08073), section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from preflab.constitution.principles import Constitution, Example, Layout, Principle, filled
from preflab.records import FinishReason, Prompt
from preflab.seeds import derive_seed


@dataclass(frozen=True)
class Written:
    """What the model wrote, and how it ended."""

    text: str
    finish_reason: FinishReason = "stop"


OF_REQUESTS = ("chat_template_kwargs",)
"""Columns of a prompt that the requests about its answer have as well."""
Write = Callable[[str, Sequence[Prompt]], list[Written]]
"""What for (`answer`, `critique 1`, `revision 1`, …) and prompts → one text per prompt."""


@dataclass(frozen=True)
class Step:
    """One round of one prompt."""

    principle: str
    critique: str
    revision: str
    finish_reason: FinishReason = "stop"
    """How the revision ended."""


@dataclass
class Revised:
    """A prompt, the model's first answer, and what became of it."""

    prompt: Prompt
    answer: str
    finish_reason: FinishReason = "stop"
    """How the answer ended."""
    steps: list[Step] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The latest revision, or the answer."""
        return self.steps[-1].revision if self.steps else self.answer

    @property
    def last_finish_reason(self) -> FinishReason:
        """How the latest revision, or the answer, ended."""
        return self.steps[-1].finish_reason if self.steps else self.finish_reason


def revise(
    constitution: Constitution,
    prompts: Sequence[Prompt],
    write: Write,
    *,
    num_rounds: int = 1,
    num_examples: int = 0,
    seed: int = 0,
) -> list[Revised]:
    """Answers to the prompts, criticised and revised `num_rounds` times.

    Args:
        constitution: principles, layout and examples.
        prompts: red-team prompts as a rule.
        write: the model.
        num_rounds: critiques and revisions of every answer.
        num_examples: examples shown before each request, for small models; at most those the constitution has.
        seed: of the principles drawn.
    """
    answers = write("answer", prompts)
    revised = [Revised(prompt, one.text, one.finish_reason) for prompt, one in zip(prompts, answers, strict=True)]
    examples = constitution.examples[:num_examples]
    for number in range(1, num_rounds + 1):
        drawn, critiques = _criticise(constitution, examples, revised, write, number, seed)
        asked = [
            revision_request(constitution.layout, examples, one, principle, critique)
            for one, principle, critique in zip(revised, drawn, critiques, strict=True)
        ]
        revisions = write(f"revision {number}", asked)
        for one, principle, critique, revision in zip(revised, drawn, critiques, revisions, strict=True):
            text, ended = revision.text.strip(), revision.finish_reason
            one.steps.append(Step(principle.name, critique.strip(), text, ended))
    return revised


def criticised(
    constitution: Constitution,
    prompts: Sequence[Prompt],
    answers: Sequence[str],
    write: Write,
    *,
    num_examples: int = 0,
    seed: int = 0,
) -> list[tuple[Principle, str]]:
    """Given answers and what a drawn principle finds wrong with each of them; nothing is revised."""
    revised = [Revised(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    drawn, critiques = _criticise(constitution, constitution.examples[:num_examples], revised, write, 1, seed)
    return [(principle, critique.strip()) for principle, critique in zip(drawn, critiques, strict=True)]


def _criticise(
    constitution: Constitution,
    examples: Sequence[Example],
    found: Sequence[Revised],
    write: Write,
    number: int,
    seed: int,
) -> tuple[list[Principle], list[str]]:
    drawn = [constitution.draw(derive_seed(seed, "principle", one.prompt.id, number)) for one in found]
    asked = [critique_request(constitution.layout, examples, one, p) for one, p in zip(found, drawn, strict=True)]
    return drawn, [written.text for written in write(f"critique {number}", asked)]


def critique_request(layout: Layout, examples: Sequence[Example], one: Revised, principle: Principle) -> Prompt:
    """What the model goes on with to criticise the latest answer."""
    shown = [
        filled(layout.critique, prompt=e.prompt, answer=e.answer, critique_request=principle.critique)
        + " "
        + e.critique
        for e in examples
    ]
    asked = filled(layout.critique, prompt=one.prompt.shown, answer=one.last, critique_request=principle.critique)
    return _request(layout, [*shown, asked], "critique", one.prompt)


def revision_request(
    layout: Layout, examples: Sequence[Example], one: Revised, principle: Principle, critique: str
) -> Prompt:
    """What the model goes on with to write a better answer."""
    request = principle.revision
    shown = [
        filled(layout.revision, prompt=e.prompt, answer=e.answer, critique=e.critique, revision_request=request)
        + " "
        + e.revision
        for e in examples
    ]
    asked = filled(
        layout.revision, prompt=one.prompt.shown, answer=one.last, critique=critique.strip(), revision_request=request
    )
    return _request(layout, [*shown, asked], "revision", one.prompt)


def _request(layout: Layout, texts: Sequence[str], what: str, asked: Prompt) -> Prompt:
    """A request that the chat template is given the prompt's own arguments for, such as whether the model thinks."""
    columns = {name: asked.columns[name] for name in OF_REQUESTS if name in asked.columns}
    source = f"the {what} request for {asked.source or asked.id}"
    return Prompt.make(text=layout.separator.join(texts), columns=columns, source=source)
