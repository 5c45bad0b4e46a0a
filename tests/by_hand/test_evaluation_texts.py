"""What judges are asked and how F counts; log-probabilities and exact KL summed along completions, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from preflab.errors import PreflabError
from preflab.evaluation.exact_kl import sequence_kl
from preflab.evaluation.likelihood import completion_logps
from preflab.evaluation.texts import Judge, checked_labels, counts, fail_column
from preflab.models.role_output import RoleOutput
from preflab.records import Prompt
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.joined_rows import join_rows


def test_judges_get_prompts_completions_and_a_column_of_each_name() -> None:
    asked: dict[str, Any] = {}

    def function(prompts: list[str], completions: list[str], **columns: Any) -> list[float | None]:
        asked.update(prompts=prompts, completions=completions, **columns)
        return [1.0, None]

    prompts = [Prompt.make(text="one", columns={"topic": "a"}), Prompt.make(text="two", columns={"answer": 2})]
    assert Judge("gold", function, None).scores(prompts, ("x", "y")) == [1.0, None]
    assert asked == {
        "prompts": ["one", "two"], "completions": ["x", "y"], "topic": ["a", None], "answer": [None, 2],
    }  # fmt: skip


def test_fails_count_as_their_utility_or_are_left_out() -> None:
    scores = [2.0, None, 0.0]
    assert Judge("gold", lambda **_: [], -5.0).column(scores).tolist() == [2.0, -5.0, 0.0]
    left_out = Judge("gold", lambda **_: [], None).column(scores)
    assert np.isnan(left_out).tolist() == [False, True, False]
    assert left_out[[0, 2]].tolist() == [2.0, 0.0]
    assert fail_column(scores).tolist() == [0.0, 1.0, 0.0]


def test_classes_are_counted_from_the_most_frequent() -> None:
    assert list(counts(["b", "a", "a"]).items()) == [("a", 2), ("b", 1)]
    assert checked_labels(["b", "a"], "f") == ["b", "a"]
    for value in (1, ""):
        with pytest.raises(PreflabError, match="as the class of a completion"):
            checked_labels(["a", value], "f")


class NumberedTrunk:
    """A trunk whose log-probability of token i is −i and whose KL there is i / temperature; nothing elsewhere."""

    @staticmethod
    def collate(sequences: Sequence[TokenSequence]) -> TokenBatch:
        return join_rows(sequences, 0)

    def __call__(
        self, batch: TokenBatch, roles: tuple[str, ...], *, temperature: float = 1.0, exact_kl: bool = False
    ) -> Any:
        assert roles == (("policy", "reference") if exact_kl else ("policy",))
        numbers = torch.where(batch.completion_mask, batch.completion_ids.float(), math.nan)
        return {"policy": RoleOutput(logps=-numbers, kl=numbers / temperature if exact_kl else None)}


SEQUENCES = [
    TokenSequence((1,), (2, 3)),
    TokenSequence((1, 1, 1), (4, 5, 6)),
    TokenSequence((1,), (7, 8), (False, True)),
]
"""Of other lengths, so that they are batched in another order; the policy did not write the 7."""


def test_log_probabilities_are_summed_over_the_policys_tokens_of_each_row() -> None:
    trunk: Any = NumberedTrunk()
    assert completion_logps(trunk, SEQUENCES).tolist() == [-5.0, -15.0, -8.0]


def test_exact_kl_is_summed_over_the_policys_tokens_at_the_temperature() -> None:
    trunk: Any = NumberedTrunk()
    assert sequence_kl(trunk, SEQUENCES).tolist() == [5.0, 15.0, 8.0]
    done: list[int] = []
    assert sequence_kl(trunk, SEQUENCES, temperature=0.5, on_done=done.append).tolist() == [10.0, 30.0, 16.0]
    assert sum(done) == 3
