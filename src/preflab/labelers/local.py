"""A local model as a judge: it compares the log-probabilities of the labels, and generates no text.

    P(A) = σ(log π("A" | question) − log π("B" | question))             of a pair, for the order shown
    score = Σ_n n · softmax_n(log π("n" | question)), n = 1 … 5          of a rating

With a chat template, the question is a user turn and the label starts the assistant turn; if the template opens
thinking, it is closed first. Without one, the label follows the text of the question after a space. The
log-probability of a label of several tokens is their sum. Pairs are asked in both orders, as with any judge, which
cancels a preference for "A". Source: Lee et al. 2023 (arXiv 2309.00267), section 3.1, labels from the likelihood of
the answers' names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.labelers.ai import JudgeAnswer, PairAsked, RatingAsked
from preflab.labelers.questions import OWN_WORDING, THINKING_CLOSED, Wording, label_question, rating_question
from preflab.models.facts import context_length
from preflab.models.trunk import Trunk
from preflab.records import Message, Prompt
from preflab.training.batches import TokenSequence, token_budget_batches

POINTS = ("1", "2", "3", "4", "5")


class LocalJudge:
    """A causal language model that judges by the likelihood of each label.

    Args:
        model: the language model.
        tokenizer: its tokenizer.
        tie_width: a pair is a tie if |P(first) − ½| is at most this.
        wording: the question about a pair, and the labels of the two answers.
        tokens_per_batch: tokens per forward pass; does not change the answers.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        tie_width: float = 0.0,
        wording: Wording = OWN_WORDING,
        tokens_per_batch: int = 4096,
    ) -> None:
        self.renderer, self.tie_width, self.tokens_per_batch = (
            Renderer.of(model, tokenizer),
            tie_width,
            tokens_per_batch,
        )
        self.wording = wording
        self.trunk = Trunk(model, tokenizer, lora=None, roles=("policy",))
        self.context = context_length(model.config)

    def fix_longest(self, asked: Iterable[PairAsked | RatingAsked], room: int = 0) -> None:
        """Fix length-dependent rotary frequencies for the longest of these questions plus `room` more tokens.

        Does nothing, and does not read the questions, if the frequencies of this model do not depend on the length.
        """
        if self.trunk.row_lengths:
            rows = [row for one in asked for row in self._rows(one)]
            self.trunk.row_lengths.fix(max(map(len, rows), default=0) + room)

    def compare(self, asked: Sequence[PairAsked], on_done: Callable[[int], None] | None = None) -> list[JudgeAnswer]:
        """See `labelers.ai.Judge`; `confidence` is P(first)."""
        logps = self._label_logps([self._pair(a) for a in asked], self.wording.labels, on_done)
        shares = 1 / (1 + np.exp(logps[:, 1] - logps[:, 0]))
        return [self._choose(float(share)) for share in shares]

    def rate(self, asked: Sequence[RatingAsked], on_done: Callable[[int], None] | None = None) -> list[JudgeAnswer]:
        """See `labelers.ai.Judge`; each score is the expected value over the five labels."""
        logps = self._label_logps([self._rating(a) for a in asked], POINTS, on_done)
        weights = np.exp(logps - logps.max(1, keepdims=True))
        points = (weights @ np.arange(1, 6)) / weights.sum(1)
        return [JudgeAnswer(score=float(value)) for value in points]

    @property
    def asked(self) -> str:
        """How the model is asked, for records and reports: as plain text, in a turn, or with thinking closed."""
        if not self.renderer.template.exists:
            return "likelihood"
        return THINKING_CLOSED if self.renderer.closes_thinking else "likelihood in a turn"

    def _pair(self, asked: PairAsked) -> str:
        return label_question(asked.question, asked.prompt, asked.first, asked.second, self.wording)

    def _rating(self, asked: RatingAsked) -> str:
        question = rating_question(asked.criterion, asked.prompt, asked.completion, asked.ends)
        return f"{question[-1]['content']}\n\nSCORE:"

    def _rows(self, asked: PairAsked | RatingAsked) -> list[TokenSequence]:
        if isinstance(asked, PairAsked):
            return self.label_rows(self._pair(asked), self.wording.labels)
        return self.label_rows(self._rating(asked), POINTS)

    def _choose(self, share: float) -> JudgeAnswer:
        if abs(share - 0.5) <= self.tie_width:
            return JudgeAnswer(choice="equal", confidence=share)
        return JudgeAnswer(choice="first" if share > 0.5 else "second", confidence=share)

    def label_rows(self, text: str, labels: Sequence[str]) -> list[TokenSequence]:
        """One token sequence per label: the question, and the label as the start of the model's answer."""
        chat = self.renderer.template.exists
        prompt = Prompt.make(messages=(Message("user", text),)) if chat else Prompt.make(text=text)
        # After plain text the label keeps its space: to most tokenizers " A" and "A" are different tokens.
        answers = [label.strip() if chat else f" {label.strip()}" for label in labels]
        ids = self.renderer.prompt_ids(prompt)
        return [TokenSequence(ids, self.renderer.answer_ids(prompt, a)) for a in answers]

    def _label_logps(
        self, texts: Sequence[str], labels: Sequence[str], on_done: Callable[[int], None] | None
    ) -> NDArray[np.float64]:
        """(N, labels) log-probability of each label after each text."""
        import torch

        rows = [row for text in texts for row in self.label_rows(text, labels)]
        longest = max(map(len, rows), default=0)
        if self.context is not None and longest > self.context:
            raise PreflabError(
                f"a question of {longest} tokens for a judge with a context of {self.context}",
                "questions that fit: prompt and both completions",
                "use a judge with a longer context, or shorter completions",
            )
        label_logps = np.zeros(len(rows))
        for places in token_budget_batches([len(row) for row in rows], self.tokens_per_batch):
            batch = self.trunk.collate([rows[i] for i in places])
            with torch.no_grad():
                logps = self.trunk(batch, ("policy",))["policy"].logps
            assert logps is not None
            label_logps[places] = torch.where(batch.completion_mask, logps, 0.0).double().sum(1).cpu().numpy()
            if on_done is not None:
                on_done(0)
        if on_done is not None:
            on_done(len(texts))
        return label_logps.reshape(len(texts), len(labels))
