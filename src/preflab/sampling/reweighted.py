"""Samples from a reference that is re-weighted by action values: π(a | s) ∝ π_ref(a | s) · exp(beta · Q(s, a)).

Two models are fed the same tokens, each with its own cache. V(s) is the same for every token, so it cancels when the
weights are divided by their sum, and is not computed. B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preflab.models.rotary import RowLengths
from preflab.sampling.engine import TransformersEngine
from preflab.sampling.pass_choice import fitting_pass
from preflab.sampling.passes import Pass


class ReweightedEngine(TransformersEngine):
    """An engine whose next-token distribution is softmax((log π_ref + beta · Q) / temperature)."""

    def __init__(
        self,
        reference: PreTrainedModel,
        action_values: PreTrainedModel,
        beta: float,
        *,
        pad_id: int,
        stop_token_ids: Sequence[int],
        tokenizer: PreTrainedTokenizerBase | None = None,
        role: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """
        Args:
            reference: the language model that gives π_ref.
            action_values: a model whose logits are Q, from `models.action_values.action_value_model`.
            beta: nats per unit of Q; 0 samples from the reference.
            pad_id, stop_token_ids, tokenizer, role: as for `TransformersEngine`; `role` is that of the reference.
        """
        super().__init__(
            reference, pad_id=pad_id, stop_token_ids=stop_token_ids, tokenizer=tokenizer, role=role, keep_states=False
        )
        self.row_lengths = RowLengths([reference, action_values])
        self.action_values, self.beta = action_values, beta

    def _fitting_pass(self) -> Pass:
        if not isinstance(self._pass, ReweightedPass):
            values = fitting_pass(self.action_values, self.pad_id)
            self._pass = ReweightedPass(super()._fitting_pass(), values, self.beta)
        return self._pass


class ReweightedPass:
    """Two passes over the same rows; the logits are log π_ref + beta · Q up to a constant per row."""

    def __init__(self, reference: Pass, values: Pass, beta: float) -> None:
        self.reference, self.values, self.beta = reference, values, beta
        self.pads = reference.pads and values.pads
        self.name = f"{reference.name}, re-weighted by action values"

    def start(self, prompts: Sequence[tuple[int, ...]], rows: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after the prompts; row b continues prompts[rows[b]]."""
        return self._weighted(self.reference.start(prompts, rows), self.values.start(prompts, rows))

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, V) logits after one more token (B,) per row."""
        return self._weighted(self.reference.step(tokens), self.values.step(tokens))

    def move_rows(self, sources: torch.Tensor, targets: torch.Tensor, num_rows: int) -> None:
        """Copy rows `sources` over rows `targets`, then keep the first `num_rows` rows."""
        self.reference.move_rows(sources, targets, num_rows)
        self.values.move_rows(sources, targets, num_rows)

    def release(self) -> None:
        """Free the memory of both."""
        self.reference.release()
        self.values.release()

    def _weighted(self, reference: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return reference.float() + self.beta * values.float()
