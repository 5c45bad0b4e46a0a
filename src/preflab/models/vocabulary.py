"""The token ids that exist: the tokenizer's ids. A model's embedding often has more rows than the tokenizer has ids.

    π(v | state) = exp(logit_v / temperature) / Σ over the tokenizer's ids u of exp(logit_u / temperature)

Embeddings are padded to a round number of rows. A row without a token is never drawn and has no probability, in the
sampler, the trainer and the reference alike. V rows; n is the largest id of the tokenizer plus 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.models.chunk import Head
from preflab.training.transfers import to_device

NEVER = -1e30
"""The logit of an id that does not exist: far below any other logit, and finite, so that 0 · logit is 0."""

FITS = "at most as many tokens as rows"
"""The expectation in the error message here and in the table of `preflab check`."""

ADVICE = "resize the embedding, or use the model's own tokenizer"


@dataclass(frozen=True)
class Vocabulary:
    """The ids of a tokenizer."""

    num_ids: int
    """n: the largest id plus 1."""
    holes: tuple[int, ...] = ()
    """Ids below `num_ids` that belong to no token."""

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary | None:
        """The ids of a tokenizer, including added tokens; None if the tokenizer does not list its ids."""
        if not hasattr(tokenizer, "get_vocab"):
            return None
        ids = set(tokenizer.get_vocab().values())
        num_ids = max(ids, default=-1) + 1
        return cls(num_ids, tuple(sorted(set(range(num_ids)) - ids))) if ids else None

    def cut_logits(self, logits: Tensor) -> Tensor:
        """(…, V) → (…, n): the logits of the ids that exist, `NEVER` in the holes; differentiable."""
        logits = logits[..., : self.num_ids]
        if not self.holes:
            return logits
        return logits.index_fill(-1, to_device(torch.tensor(self.holes), logits.device), NEVER)

    def cut_head(self, head: Head) -> Head:
        """The head restricted to ids below n: weight (n, H), a view, and bias (n,), which is `NEVER` for the holes."""
        weight = head.weight[: self.num_ids]
        bias = None if head.bias is None else head.bias[: self.num_ids]
        if not self.holes:
            return Head(weight, bias)
        bias = torch.zeros(len(weight), device=weight.device) if bias is None else bias.detach().float().clone()
        bias[to_device(torch.tensor(self.holes), weight.device)] = NEVER
        return Head(weight, bias)

    def check(self, largest_id: int, num_rows: int) -> None:
        """Check that the largest token id to be trained on or scored exists.

        Raises:
            PreflabError: an id is larger than the tokenizer's largest, although the model has rows for such ids.
        """
        if self.num_ids < num_rows and largest_id >= self.num_ids:
            raise PreflabError(
                f"a completion contains the token {largest_id}",
                f"the tokenizer's ids, 0 to {self.num_ids - 1}",
                "sample it again: it was written with another tokenizer or an old version of preflab",
            )


def fitting_vocabulary(model: Any, tokenizer: Any) -> Vocabulary | None:
    """The ids of a tokenizer, after a check that the model has a row for each; None if the tokenizer lists no ids.

    Raises:
        PreflabError: the tokenizer has an id beyond the embedding.
    """
    vocabulary, num_rows = Vocabulary.of(tokenizer), num_embedding_rows(model)
    if vocabulary is not None and vocabulary.num_ids > num_rows:
        problem = f"the tokenizer does not fit the embedding: {vocabulary.num_ids} tokens, {num_rows} rows"
        raise PreflabError(problem, FITS, ADVICE)
    return vocabulary


def num_embedding_rows(model: Any) -> int:
    """V: `vocab_size` of the configuration, or the number of rows of the embedding if it is not set."""
    size = getattr(model.config.get_text_config(), "vocab_size", None)
    return int(size if size is not None else model.get_input_embeddings().weight.shape[0])
