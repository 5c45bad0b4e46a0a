"""An existing sequence classifier as a reward (R10): the logit, or the probability, of one class for the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from preflab.conversations.marks import as_text
from preflab.errors import PreflabError, nearest
from preflab.models.dropout import switch_dropout_off
from preflab.models.rotary import RowLengths
from preflab.models.vocabulary import fitting_vocabulary
from preflab.training.batches import token_budget_batches
from preflab.training.protocols import Scores, ScoringItem

MULTI_LABEL = "multi_label_classification"
"""`problem_type` in the configuration of a classifier whose classes do not exclude one another."""


class ClassifierScorer:
    """A `Scorer` that classifies the text of each completion.

    reward = logit of the class, or its probability: softmax(logits) at the class, or sigmoid(logit) for a classifier
    with one class or with classes that do not exclude one another (`problem_type: multi_label_classification`, such
    as kinds of toxicity). Only the completion is read, since the answer to a hateful prompt need not be hateful. Scores
    do not depend on the other completions in a batch.

    Args:
        model: a model of `AutoModelForSequenceClassification`.
        tokenizer: the classifier's own; text beyond its context is cut at the end.
        class_label: the class that is rewarded, by name or by index.
        output: `logit` (unbounded, as in R10) or `probability`.
        tokens_per_batch: tokens in one forward pass; never changes the scores.

    Raises:
        PreflabError: the tokenizer does not fit the model's embedding.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        class_label: str | int,
        *,
        output: Literal["logit", "probability"] = "logit",
        tokens_per_batch: int = 4096,
    ) -> None:
        fitting_vocabulary(model, tokenizer)
        self.model, self.tokenizer, self.output = model, tokenizer, output
        self.label = class_index(model.config.id2label, class_label)
        self.name = str(model.config.id2label.get(self.label, self.label))
        self.tokens_per_batch = tokens_per_batch
        self.max_tokens = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 10**9))
        self.row_lengths = RowLengths([model])
        switch_dropout_off(model)

    @torch.no_grad()
    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Scores (B,) float32, one term named after the class."""
        length = self.max_tokens
        rows = [as_text(self.tokenizer, item.text, truncation=True, max_length=length) for item in items]
        total = torch.zeros(len(items))
        lengths = [len(row["input_ids"]) for row in rows]
        for group in self.row_lengths.groups(lengths):
            self.row_lengths.use(max((lengths[i] for i in group), default=1))
            for places in token_budget_batches([lengths[i] for i in group], self.tokens_per_batch):
                indices = [group[place] for place in places]
                batch = self.tokenizer.pad([rows[i] for i in indices], return_tensors="pt").to(self.model.device)
                total[indices] = self._class_scores(self.model(**batch).logits.float()).cpu()
        return Scores(total, {self.name: total})

    def num_cut(self, texts: Sequence[str]) -> int:
        """The number of texts that are longer than the classifier's context, so that their ends are not read."""
        return sum(
            len(as_text(self.tokenizer, text, truncation=False)["input_ids"]) > self.max_tokens for text in texts
        )

    def _class_scores(self, logits: torch.Tensor) -> torch.Tensor:
        if self.output == "logit":
            return logits[:, self.label]
        if logits.shape[-1] == 1 or getattr(self.model.config, "problem_type", None) == MULTI_LABEL:
            return logits[:, self.label].sigmoid()
        return logits.softmax(-1)[:, self.label]


def class_index(id2label: dict[int, str], wanted: str | int) -> int:
    """The index of a class given by name (case-insensitive) or by number.

    Raises:
        PreflabError: there is no such class; the message has the nearest names.
    """
    names = {str(label).lower(): index for index, label in id2label.items()}
    if str(wanted).lower() in names:
        return names[str(wanted).lower()]
    if str(wanted).isdigit() and int(wanted) in id2label:
        return int(wanted)
    near = nearest(str(wanted).lower(), list(names))
    raise PreflabError(
        f"the class {wanted!r}: the classifier has no class of this name",
        f"one of {', '.join(map(str, id2label.values()))}" + (f" (near it: {near})" if near else ""),
        "name one of them, or give its number",
    )
