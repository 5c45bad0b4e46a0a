"""Supervised fine-tuning: a model learns to write the completions of demonstrations (R2).

    loss = − Σ_b Σ_t completion_mask · logps / (completion tokens of the whole step)

Prompt tokens carry no loss. Every completion ends with the token that ends a turn in the model's chat template (for
plain text, the tokenizer's end token). This token is learned like any other, because a model that never saw it would
never stop. For pretraining, the prompt is the begin token alone. The steps are those of docs/algorithms/sft.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from preflab.conversations.renderer import Renderer
from preflab.conversations.turns import Unstable
from preflab.errors import PreflabError
from preflab.maths import losses
from preflab.models.chunked import TokenStatistics
from preflab.models.trunk import Trunk
from preflab.progress import progress
from preflab.records import Completion, FinishReason, Message, Prompt, Span
from preflab.settings.learning import SftSettings, TinySettings
from preflab.training.batches import Collate, TokenBatch, TokenSequence, token_budget_batches
from preflab.training.metrics import MetricsLog
from preflab.training.optimiser import clip_gradients, learning_rate_factor, make_optimiser, set_learning_rate
from preflab.training.processes import sum_over_processes
from preflab.training.row_order import own_micro_batches, rows_of_step
from preflab.training.state import RunState
from preflab.training.too_long import LongRows

UNLEARNED = "unlearned_turns"
"""Column of a demonstration: indices of the prompt's assistant turns with weight 0 (`store.formats.prompts`)."""


@dataclass(frozen=True)
class Demonstration:
    """A prompt and the completion to learn; `prompt.source` names the row (`file, line 17`)."""

    prompt: Prompt
    completion: Completion

    @property
    def conversation(self) -> tuple[Message, ...]:
        """All turns, including those of the completion; () for plain text."""
        if not self.prompt.messages:
            return ()
        return (*self.prompt.messages, *(self.completion.turns or (Message("assistant", self.completion.text),)))

    @property
    def earlier(self) -> tuple[int, ...]:
        """Indices of the assistant's turns before the completion, except a last turn that the completion continues."""
        last = len(self.prompt.messages) - 1
        return tuple(n for n, turn in enumerate(self.prompt.messages) if turn.role == "assistant" and n < last)

    @property
    def num_opening(self) -> int:
        """1 if the conversation begins with a turn of the assistant, which answers no prompt; otherwise 0."""
        return int(0 in self.earlier)

    @property
    def num_weightless(self) -> int:
        """Number of assistant turns that the row marks as not to be learned; an opening turn is not counted."""
        unlearned = self.completion.columns.get(UNLEARNED) or ()
        within = sum(span.role == "assistant" and not span.by_policy for span in self.completion.spans)
        return within + sum(place in unlearned for place in self.earlier if place > 0)


def encode_demonstrations(
    renderer: Renderer,
    demonstrations: Iterable[Demonstration],
    long: LongRows,
    *,
    learn: Literal["last", "all"] = "last",
) -> list[TokenSequence]:
    """Demonstrations as token ids; every completion ends like one of the model's own turns.

    Args:
        renderer: the renderer of the model that learns.
        demonstrations: the rows.
        long: decides what happens to rows that are too long, and records them.
        learn: `last`: only the completion of a conversation is learned. `all`: every turn of the assistant is, in one
            sequence if the chat template leaves earlier turns unchanged, otherwise in one sequence per turn.

    Raises:
        PreflabError: a completion is empty, the template cannot render it, or `long` refuses rows that are too long.
    """
    sequences: list[TokenSequence] = []
    for row in demonstrations:
        where = row.prompt.source or row.prompt.id
        if not row.completion.text.strip():
            raise PreflabError(
                f"{where}: empty completion", "a completion with text", "write a completion or remove the row"
            )
        learned = _all_turns(renderer, row) if learn == "all" else [renderer.sequence(row.prompt, row.completion)]
        for sequence in learned:
            sequences += long.fitted([sequence], where) or ()
    long.check(len(sequences))
    return sequences


def _all_turns(renderer: Renderer, row: Demonstration) -> list[TokenSequence]:
    """Sequences that learn every assistant turn that follows another turn.

    Of a turn that the completion continues, only the continuation is learned.
    """
    turns, earlier = row.conversation, [place for place in row.earlier if place > 0]
    places = [n for n in range(len(row.prompt.messages), len(turns)) if turns[n].role == "assistant"]
    unlearned = row.completion.columns.get(UNLEARNED) or ()
    if len(earlier) + len(places) < 2:
        return [renderer.sequence(row.prompt, row.completion)]
    if row.prompt.messages[-1].role == "assistant":
        learned = [_sequence_of_turn(renderer, row, place) for place in earlier if place not in unlearned]
        return [*learned, renderer.sequence(row.prompt, row.completion)]
    flags = [turn.role == "assistant" and n not in unlearned for n, turn in enumerate(row.prompt.messages)]
    flags += [span.by_policy and span.role == "assistant" for span in row.completion.spans]
    ended = row.completion.finish_reason != "length"
    try:
        return [renderer.dialogue(row.prompt, turns, (earlier + places)[0], flags, ended=ended)]
    except Unstable:
        last = len(turns) - 1
        return [
            _sequence_of_turn(renderer, row, place, ended=ended or place < last)
            for place, is_learned in enumerate(flags)
            if is_learned and place > 0
        ]


def _sequence_of_turn(renderer: Renderer, row: Demonstration, place: int, *, ended: bool = True) -> TokenSequence:
    """A sequence that learns one turn of a conversation; the turns before it are the prompt."""
    turns = row.conversation
    prompt = replace(row.prompt, id=f"{row.prompt.id}/{place}", messages=turns[:place])
    reason: FinishReason = "imported" if ended else "length"
    turn = Completion.make(prompt.id, "", "", spans=(Span.of_turn(turns[place]),), finish_reason=reason)
    return renderer.sequence(prompt, turn)


def nll_loss(model: Any, batch: TokenBatch, denominator: int) -> Tensor:
    """−Σ completion_mask · logps / denominator of one micro-batch; 0-d.

    If the denominator is the token count of the whole optimiser step, the micro-batches add up to the step's loss. The
    loss and its gradient are computed chunk by chunk, while the logits are in memory.
    """

    def taken_at_once(outputs: TokenStatistics, part: slice) -> Tensor:
        return losses.nll_loss(outputs.logps, torch.ones_like(outputs.logps).bool(), denominator)

    loss: Tensor = model(batch, ("policy",), loss=taken_at_once)["policy"].loss
    return loss


def num_policy_tokens(sequences: Iterable[TokenSequence]) -> int:
    """Number of completion tokens that are learned."""
    return sum(len(s.completion_ids) if s.policy_tokens is None else sum(s.policy_tokens) for s in sequences)


def accumulate(
    model: Any, sequences: Sequence[TokenSequence], tokens_per_micro_batch: int, *, collate: Collate, accelerator: Any
) -> float:
    """Add the gradient of one optimiser step to the parameters; returns the step's loss over all processes."""
    denominator = num_policy_tokens(sequences)
    batches = token_budget_batches([len(s) for s in sequences], tokens_per_micro_batch)
    total = torch.zeros((), device=accelerator.device)
    for indices, factor in own_micro_batches(batches, accelerator.process_index, accelerator.num_processes):
        batch = collate([sequences[i] for i in indices])
        loss = nll_loss(model, batch, denominator)
        accelerator.backward(factor * loss)
        total += (factor / accelerator.num_processes) * loss.detach()
    return float(sum_over_processes(accelerator, total))


def train_sft(
    trunk: Trunk,
    sequences: Sequence[TokenSequence],
    settings: SftSettings | TinySettings,
    *,
    num_steps: int,
    folder: Path,
    seed: int,
    accelerator: Any,
    name: str = "sft",
) -> list[dict[str, Any]]:
    """Train the policy role of a trunk on sequences, resuming from the folder's checkpoint if there is one.

    Args:
        trunk: a trunk with a role "policy".
        sequences: see `encode_demonstrations`.
        settings: rows per step, optimiser, checkpoints.
        num_steps: total number of optimiser steps, including those done before a restart.
        folder: folder of metrics.jsonl and checkpoint/.
        seed: decides the order of the rows.
        accelerator: see `training.processes`.
        name: shown beside the progress bar.

    Returns:
        The metrics of every step.
    """
    if settings.optimiser.gradient_checkpointing:
        trunk.enable_gradient_checkpointing()
    if settings.optimiser.compile:
        trunk.blocks.compile(trunk.models.values())
    learning = [parameter for _, parameter in trunk.parameters_of("policy")]
    optimiser = make_optimiser([(learning, settings.optimiser.learning_rate)], settings.optimiser, trunk)
    model, optimiser = accelerator.prepare(trunk.to(accelerator.device), optimiser)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state = RunState(trunk, optimiser)
    state.load(folder / "checkpoint")
    log = MetricsLog(folder / "metrics.jsonl", step=state.step)

    with progress(name, total=num_steps, done=state.step) as bar:
        while state.step < num_steps:
            started = time.perf_counter()

            # 1 collect: the next demonstrations, in an order that depends only on seed and step
            rows = rows_of_step(state.step, len(sequences), settings.num_sequences_per_step, seed)
            batch = [sequences[i] for i in rows]

            # 2 update: clip the gradient over all micro-batches, take one step of AdamW
            rate = set_learning_rate(optimiser, learning_rate_factor(state.step, num_steps, settings.optimiser))
            optimiser.zero_grad(set_to_none=True)
            loss = accumulate(
                model,
                batch,
                settings.optimiser.tokens_per_micro_batch,
                collate=trunk.collate,
                accelerator=accelerator,
            )
            norm = clip_gradients(parameters, settings.optimiser.max_grad_norm)
            optimiser.step()

            # 3 log
            seconds = time.perf_counter() - started
            num_tokens = num_policy_tokens(batch)
            figures = {"loss/nll": loss, "grad/norm": norm, "learning_rate": rate, "num/tokens": num_tokens}
            figures |= {"time/step": seconds, "tokens/s": num_tokens / seconds}
            if accelerator.is_main_process:
                log.write(state.step, figures)
            accelerator.log(figures, step=state.step)
            state.step += 1
            if accelerator.is_main_process and state.step % settings.run.save_every == 0:
                state.save(folder / "checkpoint")
            bar.advance(1, loss=loss)
    accelerator.wait_for_everyone()  # the main process writes the rows, all processes read them
    return log.rows()
