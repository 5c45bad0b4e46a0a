"""How long the data are in the model's tokens, and what follows: limits, and how much a completion may write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.records import Completion, Prompt
from preflab.starter.data_look import DataLook
from preflab.starter.kinds import Kind
from preflab.starter.model_look import ModelLook
from preflab.words import count

MEASURED = 2_000
"""Prompts that are tokenized; of more, every so manyth."""
ROUND = 8
"""Lengths are rounded up to a multiple of it."""
WARNING = "sequence-length-is-longer-than-the-specified-maximum"
"""What transformers notes when it has warned of a long text."""
USUAL_ANSWER = 256
"""Tokens a completion may have where the data show none."""


@dataclass(frozen=True)
class Spread:
    """How a number of tokens varies."""

    median: int
    most_of: int
    """95 % of them are at most so long."""
    longest: int

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Spread:
        """The spread of at least one number."""
        ordered = sorted(numbers)
        return cls(ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, 95 * len(ordered) // 100)], ordered[-1])


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompts, of completions, and of both together."""

    prompts: Spread
    completions: Spread | None
    rows: Spread | None
    num_measured: int
    num_prompts: int
    num_too_long: int
    """Measured completions that do not fit into the context with their prompts."""
    max_new_tokens: int
    """What a completion may have: 95 % of the data's are at most so long, and it fits beside most of the prompts."""
    num_without_room: int
    """Measured prompts that leave no room for it."""
    row_tokens: Mapping[str, int] = field(default_factory=dict)
    """Completion → tokens of it and its prompt; of those measured."""
    without_room: frozenset[str] = frozenset()
    """The prompts that leave no room."""
    context: int = 2**31
    """Of the model."""

    @property
    def whole(self) -> bool:
        """Whether every prompt was measured."""
        return self.num_measured == self.num_prompts

    def longer_than(self, tokens: int | None) -> frozenset[str]:
        """The completions whose rows are longer than that, or than the context."""
        most = min(tokens or self.context, self.context)
        return frozenset(name for name, length in self.row_tokens.items() if length > most)

    def left_out(self, data: DataLook, kind: Kind, tokens: int | None) -> tuple[int, str]:
        """Returns how many rows with more than `tokens` tokens the stages leave out, and what such a row is called.

        A comparison goes with all its completions, and so do the verdicts on a prompt. Where a rating model learns,
        only the long completion goes.
        """
        long = self.longer_than(tokens)
        if data.demonstrations and not data.preferences:
            return sum(each in long for each in data.demonstrations), "row"
        if data.sort == "ratings" and kind != "dpo":
            return sum(each in long for group in data.preferences for each in group.completion_ids), "rated completion"
        num = sum(not long.isdisjoint(group.completion_ids) for group in data.preferences)
        return num, "row" if data.sort == "pairs" else "prompt"


def measure_lengths(data: DataLook, model: ModelLook) -> Lengths:
    """Tokenizes prompts and completions as training does.

    Raises:
        PreflabError: rows that the model's chat template cannot write, or prompts longer than the context.
    """
    asked = thinned(data.prompts)
    # Rows longer than the context are counted here: transformers need not warn of them.
    model.renderer.tokenizer.deprecation_warnings[WARNING] = True
    by_prompt: dict[str, list[Completion]] = {}
    for completion in data.judged:
        by_prompt.setdefault(completion.prompt_id, []).append(completion)
    prompts: dict[str, int] = {}
    written: list[int] = []
    rows: dict[str, int] = {}
    refused: list[PreflabError] = []
    for prompt in asked:
        try:
            length, own = _lengths(model.renderer, prompt, by_prompt.get(prompt.id, []))
        except PreflabError as error:
            refused.append(error)
            continue
        prompts[prompt.id] = length
        written += own
        said = by_prompt.get(prompt.id, [])
        rows |= {completion.id: length + each for completion, each in zip(said, own, strict=True)}
    if refused:
        whose = f"{model.ref}'s template" if model.has_template else model.ref
        raise PreflabError(
            f"{data.path}: {whose} refuses {len(refused):,} of {count(len(asked), 'row')} ({refused[0].found})",
            refused[0].expected,
            f"{refused[0].do}, or choose another model",
        )
    return _found(data, model, prompts, written, rows)


def thinned(prompts: Sequence[Prompt]) -> list[Prompt]:
    """At most `MEASURED` of them, spread over all."""
    return list(prompts[:: max(1, -(-len(prompts) // MEASURED))])


def _lengths(renderer: Renderer, prompt: Prompt, completions: Sequence[Completion]) -> tuple[int, list[int]]:
    """Tokens of a prompt, and of each of its completions."""
    if not (prompt.text or prompt.messages):  # a text to learn from, of the empty prompt
        completion_lengths = [len(renderer.joining.ids(completion.text)) + 1 for completion in completions]
        return 1, completion_lengths
    sequences = [renderer.sequence(prompt, completion) for completion in completions]
    return len(renderer.prompt_ids(prompt)), [len(each.completion_ids) for each in sequences]


def _found(
    data: DataLook,
    model: ModelLook,
    prompts: Mapping[str, int],
    written: Sequence[int],
    rows: Mapping[str, int],
) -> Lengths:
    spread, context = Spread.of(list(prompts.values())), model.context or 2**31
    completions = Spread.of(written) if written else None
    wanted = completions.most_of if completions else USUAL_ANSWER
    room = context - spread.median
    if room < ROUND:
        raise PreflabError(
            f"{data.path}: half of the prompts have {spread.median:,} tokens or more; {model.ref} takes {context:,}",
            "prompts that leave room for a completion",
            "choose a model with a longer context, or shorten the prompts",
        )
    new = min(
        -(-wanted // ROUND) * ROUND,
        max(ROUND, min(room, context - spread.most_of if context > spread.most_of else room)),
    )
    without_room = frozenset(name for name, length in prompts.items() if length + new > context)
    return Lengths(
        prompts=spread,
        completions=completions,
        rows=Spread.of(list(rows.values())) if rows else None,
        num_measured=len(prompts),
        num_prompts=len(data.prompts),
        num_too_long=sum(length > context for length in rows.values()),
        max_new_tokens=new,
        num_without_room=len(without_room),
        row_tokens=rows,
        without_room=without_room,
        context=context,
    )
