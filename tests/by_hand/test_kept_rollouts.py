"""The rows of rollouts.jsonl, written out: which rollouts, which tokens, five decimals."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from preflab.files import read_jsonl
from preflab.policy.kept_rollouts import keep_rollouts
from preflab.records import Prompt


class TwoRollouts(SimpleNamespace):
    """Completions of two tokens and of one token, a column of padding beside the second."""

    def __len__(self) -> int:
        return 2


def two_rollouts() -> Any:
    nan = float("nan")
    return TwoRollouts(
        prompts=[Prompt.make(text="one"), Prompt.make(text="two")],
        texts=["a b", "c"],
        finished=torch.tensor([True, False]),
        sequences=[SimpleNamespace(completion_ids=(7, 8)), SimpleNamespace(completion_ids=(9,))],
        completion_mask=torch.tensor([[True, True], [True, False]]),
        exact_kl=torch.tensor([[0.0, 2 / 3], [0.5, nan]]),
        values=torch.tensor([[1 / 3, -1.0], [0.25, nan]]),
    )


def kept(path: Path, num: int, **more: Any) -> list[dict[str, Any]]:
    """The rows of a step 4 whose rewards are 1/3 and 2 and whose advantages are 1/7, 2 and 3."""
    advantages, scores = torch.tensor([[1 / 7, 2.0], [3.0, float("nan")]]), torch.tensor([1 / 3, 2.0])
    keep_rollouts(path, num, 4, two_rollouts(), advantages, scores, lambda ids: str(ids[0]), **more)
    return read_jsonl(path)


def test_kept_rollout_has_its_own_tokens_with_five_decimals(tmp_path: Path) -> None:
    """1/7 = 0.142857…, 1/3 = 0.333333…, 2/3 = 0.666666…; padding is left out."""
    first, second = kept(tmp_path / "rollouts.jsonl", 5, with_values=True)
    assert first == {
        "step": 4,
        "prompt_id": Prompt.make(text="one").id,
        "prompt": "one",
        "completion": "a b",
        "finish_reason": "stop",
        "reward": 0.33333,
        "tokens": ["7", "8"],
        "kl": [0.0, 0.66667],
        "values": [0.33333, -1.0],
        "advantages": [0.14286, 2.0],
    }
    assert (second["finish_reason"], second["tokens"], second["kl"]) == ("length", ["9"], [0.5])
    assert (second["values"], second["advantages"], second["reward"]) == ([0.25], [3.0], 2.0)


def test_as_many_rollouts_are_kept_as_asked_and_values_only_where_there_are_some(tmp_path: Path) -> None:
    (only,) = kept(tmp_path / "rollouts.jsonl", 1)
    assert only["completion"] == "a b"
    assert "values" not in only
