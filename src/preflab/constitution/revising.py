"""Critique and revision: a model criticises its answer by a principle and rewrites it, round after round.

    answer_0 = model(prompt)
    critique_r = model(critique layout: prompt, answer_{r−1}, principle_r)
    answer_r   = model(revision layout: prompt, answer_{r−1}, critique_r, principle_r)

A principle is drawn for each prompt and round. All intermediate texts are kept, so that people can check whether the
revisions improve the answers. Source: Bai et al. 2022 (arXiv 2212.08073), section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from preflab.constitution.principles import Constitution, Example, Layout, Principle, filled
from preflab.records import FinishReason, Prompt
from preflab.seeds import derive_seed


@dataclass(frozen=True)
class Written:
    """A sampled text and its finish reason."""

    text: str
    finish_reason: FinishReason = "stop"


OF_REQUESTS = ("chat_template_kwargs",)
"""Columns of a prompt that are copied to the requests about its answer."""
Write = Callable[[str, Sequence[Prompt]], list[Written]]
"""Samples one text per prompt; the first argument names the purpose (`answer`, `critique 1`, `revision 1`, …)."""


@dataclass(frozen=True)
class Step:
    """One round of critique and revision for one prompt."""

    principle: str
    critique: str
    revision: str
    finish_reason: FinishReason = "stop"
    """Finish reason of the revision."""


@dataclass
class Revised:
    """A prompt, the model's first answer, and the steps of critique and revision."""

    prompt: Prompt
    answer: str
    finish_reason: FinishReason = "stop"
    """Finish reason of the first answer."""
    steps: list[Step] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The latest revision, or the answer if there is none."""
        return self.steps[-1].revision if self.steps else self.answer

    @property
    def last_finish_reason(self) -> FinishReason:
        """Finish reason of `last`."""
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
    """Answer the prompts, then criticise and revise each answer `num_rounds` times.

    Args:
        constitution: principles, layout and examples.
        prompts: usually red-team prompts.
        write: samples texts with the model.
        num_rounds: rounds of critique and revision.
        num_examples: examples shown before each request, for small models; at most those of the constitution.
        seed: seed of the drawn principles.
    """
    answers = write("answer", prompts)
    revised = [Revised(prompt, one.text, one.finish_reason) for prompt, one in zip(prompts, answers, strict=True)]
    examples = constitution.examples[:num_examples]
    for number in range(1, num_rounds + 1):
        drawn, critiques = _criticise(constitution, examples, revised, write, number, seed)
        requests = [
            revision_request(constitution.layout, examples, one, principle, critique)
            for one, principle, critique in zip(revised, drawn, critiques, strict=True)
        ]
        revisions = write(f"revision {number}", requests)
        for one, principle, critique, revision in zip(revised, drawn, critiques, revisions, strict=True):
            text, finish_reason = revision.text.strip(), revision.finish_reason
            one.steps.append(Step(principle.name, critique.strip(), text, finish_reason))
    return revised


def criticise(
    constitution: Constitution,
    prompts: Sequence[Prompt],
    answers: Sequence[str],
    write: Write,
    *,
    num_examples: int = 0,
    seed: int = 0,
) -> list[tuple[Principle, str]]:
    """Criticise given answers; returns the drawn principle and the critique of each answer."""
    revised = [Revised(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    drawn, critiques = _criticise(constitution, constitution.examples[:num_examples], revised, write, 1, seed)
    return [(principle, critique.strip()) for principle, critique in zip(drawn, critiques, strict=True)]


def _criticise(
    constitution: Constitution,
    examples: Sequence[Example],
    revised: Sequence[Revised],
    write: Write,
    number: int,
    seed: int,
) -> tuple[list[Principle], list[str]]:
    """Draw a principle for each answer and sample its critique; `number` is the round, from 1."""
    drawn = [constitution.draw(derive_seed(seed, "principle", one.prompt.id, number)) for one in revised]
    requests = [critique_request(constitution.layout, examples, one, p) for one, p in zip(revised, drawn, strict=True)]
    return drawn, [written.text for written in write(f"critique {number}", requests)]


def critique_request(layout: Layout, examples: Sequence[Example], one: Revised, principle: Principle) -> Prompt:
    """The request to criticise the latest answer, as a prompt."""
    shown = [
        filled(layout.critique, prompt=e.prompt, answer=e.answer, critique_request=principle.critique)
        + " "
        + e.critique
        for e in examples
    ]
    request = filled(layout.critique, prompt=one.prompt.shown, answer=one.last, critique_request=principle.critique)
    return _request(layout, [*shown, request], "critique", one.prompt)


def revision_request(
    layout: Layout, examples: Sequence[Example], one: Revised, principle: Principle, critique: str
) -> Prompt:
    """The request to revise the latest answer, as a prompt."""
    wording = principle.revision
    shown = [
        filled(layout.revision, prompt=e.prompt, answer=e.answer, critique=e.critique, revision_request=wording)
        + " "
        + e.revision
        for e in examples
    ]
    request = filled(
        layout.revision, prompt=one.prompt.shown, answer=one.last, critique=critique.strip(), revision_request=wording
    )
    return _request(layout, [*shown, request], "revision", one.prompt)


def _request(layout: Layout, texts: Sequence[str], what: str, original: Prompt) -> Prompt:
    """The joined texts as a prompt, with the original prompt's template arguments, such as whether the model thinks."""
    columns = {name: original.columns[name] for name in OF_REQUESTS if name in original.columns}
    source = f"the {what} request for {original.source or original.id}"
    return Prompt.make(text=layout.separator.join(texts), columns=columns, source=source)
