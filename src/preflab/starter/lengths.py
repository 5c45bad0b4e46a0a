"""Measure the data in the model's tokens, and choose the longest completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.records import Completion, Prompt
from preflab.starter.data_look import DataLook
from preflab.starter.kind_of_learning import Kind
from preflab.starter.model_look import ModelLook
from preflab.words import count

MEASURED = 2_000
"""Most prompts that are tokenized; of more prompts, an evenly spaced sample."""
ROUND = 8
"""Lengths are rounded up to a multiple of this."""
WARNING = "sequence-length-is-longer-than-the-specified-maximum"
"""Key under which transformers records that it has warned of a long text."""
USUAL_ANSWER = 256
"""Longest completion, in tokens, if the data have no completions."""


@dataclass(frozen=True)
class Spread:
    """The distribution of token counts."""

    median: int
    most_of: int
    """The 95 % quantile."""
    longest: int

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Spread:
        """The spread of one or more numbers."""
        ordered = sorted(numbers)
        return cls(ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, 95 * len(ordered) // 100)], ordered[-1])


@dataclass(frozen=True)
class Lengths:
    """Token counts of prompts, of completions, and of rows (both together)."""

    prompts: Spread
    completions: Spread | None
    rows: Spread | None
    num_measured: int
    num_prompts: int
    num_too_long: int
    """Measured completions that do not fit into the context with their prompts."""
    max_new_tokens: int
    """Longest completion to sample: 95 % of the data's completions are no longer, and most prompts leave it room."""
    num_without_room: int
    """Number of measured prompts that leave no room for `max_new_tokens`."""
    row_tokens: Mapping[str, int] = field(default_factory=dict)
    """Id of a measured completion → tokens of it and its prompt."""
    without_room: frozenset[str] = frozenset()
    """Ids of the measured prompts that leave no room for `max_new_tokens`."""
    context: int = 2**31
    """The model's context, tokens."""

    @property
    def whole(self) -> bool:
        """Whether every prompt was measured."""
        return self.num_measured == self.num_prompts

    def longer_than(self, tokens: int | None) -> frozenset[str]:
        """Ids of the completions whose rows have more than `tokens` tokens, or more than the context."""
        most = min(tokens or self.context, self.context)
        return frozenset(name for name, length in self.row_tokens.items() if length > most)

    def left_out(self, data: DataLook, kind: Kind, tokens: int | None) -> tuple[int, str]:
        """The number of units that the stages leave out as longer than `tokens` tokens, and the name of a unit.

        One long completion leaves out the whole comparison, or all verdicts on its prompt. A rating model leaves out
        the long completion only.
        """
        long = self.longer_than(tokens)
        if data.demonstrations and not data.preferences:
            return sum(each in long for each in data.demonstrations), "row"
        if data.sort == "ratings" and kind != "dpo":
            return sum(each in long for group in data.preferences for each in group.completion_ids), "rated completion"
        num = sum(not long.isdisjoint(group.completion_ids) for group in data.preferences)
        return num, "row" if data.sort == "pairs" else "prompt"


def measure_lengths(data: DataLook, model: ModelLook) -> Lengths:
    """Tokenize prompts and completions as training does, and measure them.

    Raises:
        PreflabError: the chat template or the tokenizer refuses rows, or half of the prompts leave fewer than `ROUND`
            tokens of the context for a completion.
    """
    sampled = sample_prompts(data.prompts)
    # Rows longer than the context are counted here, so transformers' own warning is switched off.
    model.renderer.tokenizer.deprecation_warnings[WARNING] = True
    by_prompt: dict[str, list[Completion]] = {}
    for completion in data.judged:
        by_prompt.setdefault(completion.prompt_id, []).append(completion)
    prompts: dict[str, int] = {}
    completion_tokens: list[int] = []
    rows: dict[str, int] = {}
    refused: list[PreflabError] = []
    for prompt in sampled:
        completions = by_prompt.get(prompt.id, [])
        try:
            length, completion_lengths = _lengths(model.renderer, prompt, completions)
        except PreflabError as error:
            refused.append(error)
            continue
        prompts[prompt.id] = length
        completion_tokens += completion_lengths
        rows |= {completion.id: length + each for completion, each in zip(completions, completion_lengths, strict=True)}
    if refused:
        whose = f"{model.ref}'s template" if model.has_template else model.ref
        raise PreflabError(
            f"{data.path}: {whose} refuses {len(refused):,} of {count(len(sampled), 'row')} ({refused[0].found})",
            refused[0].expected,
            f"{refused[0].do}, or choose another model",
        )
    return _summarise(data, model, prompts, completion_tokens, rows)


def sample_prompts(prompts: Sequence[Prompt]) -> list[Prompt]:
    """At most `MEASURED` prompts, evenly spaced."""
    return list(prompts[:: max(1, -(-len(prompts) // MEASURED))])


def _lengths(renderer: Renderer, prompt: Prompt, completions: Sequence[Completion]) -> tuple[int, list[int]]:
    """Tokens of a prompt, and of each of its completions."""
    if not (prompt.text or prompt.messages):  # a plain text to learn from, stored as a completion of an empty prompt
        completion_lengths = [len(renderer.joining.ids(completion.text)) + 1 for completion in completions]
        return 1, completion_lengths
    sequences = [renderer.sequence(prompt, completion) for completion in completions]
    return len(renderer.prompt_ids(prompt)), [len(each.completion_ids) for each in sequences]


def _summarise(
    data: DataLook,
    model: ModelLook,
    prompts: Mapping[str, int],
    completion_tokens: Sequence[int],
    rows: Mapping[str, int],
) -> Lengths:
    spread, context = Spread.of(list(prompts.values())), model.context or 2**31
    completions = Spread.of(completion_tokens) if completion_tokens else None
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
