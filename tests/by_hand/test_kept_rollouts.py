"""The columns of kept rollouts, written out: which rollouts, which tokens, which numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from preflab.errors import PreflabError
from preflab.explain.rollout_files import read_rollouts
from preflab.policy.kept_rollouts import RolloutRecord
from preflab.records import Prompt
from preflab.training.protocols import SampledCompletion
from preflab.training.rollouts import Rollouts

NAN = float("nan")
MASKED = torch.tensor([[0.0, 0.0], [0.0, NAN]])
"""Padding may hold anything; it is never written."""


def two_rollouts() -> Rollouts:
    """Completions of two tokens and of one token; the second has a column of padding."""
    sampled = [SampledCompletion((7, 8), (-0.5, -0.25), "stop"), SampledCompletion((9,), (-1.0,), "length")]
    prompts = [Prompt.make(text="one"), Prompt.make(text="two")]
    rollouts = Rollouts.start(prompts, [(3, 4), (5,)], sampled, ["a b", "c"], seeds=[2**63 - 1, 5], rows=[0, 2])
    rollouts.trainer_logps = torch.tensor([[-0.5, -0.75], [-1.5, 0.0]]) + MASKED
    rollouts.ref_logps = torch.tensor([[-2.0, -1.0], [-3.0, 0.0]]) + MASKED
    rollouts.exact_kl = torch.tensor([[-0.0, 2 / 3], [0.5, 0.0]]) + MASKED
    rollouts.entropy = torch.tensor([[1.5, 0.5], [0.25, 0.0]]) + MASKED
    rollouts.values = torch.tensor([[1 / 3, -1.0], [0.25, 0.0]]) + MASKED
    return rollouts


def record(folder: Path, num: int, num_alternatives: int = 0, num_done: int = 0) -> RolloutRecord:
    decoding = SimpleNamespace(temperature=0.5)
    settings = SimpleNamespace(
        kind="ppo", num_kept_rollouts=num, num_kept_alternatives=num_alternatives, max_record_mib=1, decoding=decoding
    )
    words = {7: "a", 8: "b", 9: "c"}
    run: Any = SimpleNamespace(folder=folder, settings=settings, decode=lambda ids: words[ids[0]])
    return RolloutRecord(run, num_done)


def kept(folder: Path, num: int, *, values: bool = True) -> list[dict[str, Any]]:
    """The rows of a step 4 whose rewards are 1/3 and 2 and whose advantages are 1/7, 2 and 3."""
    rollouts = two_rollouts()
    rollouts.visit([1, 0], torch.tensor([[-1.0 + math.log(2), NAN], [-0.5, -0.25 - math.log(4)]]))
    rollouts.note_ratios()
    learned = {"advantages": torch.tensor([[1 / 7, 2.0], [3.0, 0.0]]) + MASKED}
    if values:
        learned |= {"values": rollouts.values, "returns": rollouts.values + 1}
    terms = {"rm": torch.tensor([1.0, 2.5]), "len": torch.tensor([-2 / 3, -0.5])}
    record(folder, num).write(4, rollouts, torch.tensor([1 / 3, 2.0]), terms, learned)
    table = read_rollouts(folder)
    return [] if table is None else table.to_pylist()


def f32(*numbers: float) -> list[float]:
    """As a float32 column has them."""
    return torch.tensor(numbers).tolist()


def test_kept_rollout_has_its_own_tokens_unrounded(tmp_path: Path) -> None:
    """The update last saw e^(log 2) of π_old at the second's token, 1 and 1/4 at the first's."""
    first, second = kept(tmp_path, 5)
    assert first == {
        "step": 4,
        "row": 0,
        "seed": 2**63 - 1,
        "prompt_id": Prompt.make(text="one").id,
        "prompt": "one",
        "completion": "a b",
        "finish_reason": "stop",
        "reward": f32(1 / 3)[0],
        "reward/rm": 1.0,
        "reward/len": f32(-2 / 3)[0],
        "prompt_ids": [3, 4],
        "token_ids": [7, 8],
        "tokens": ["a", " b"],
        "written": [True, True],
        "sampler_logps": [-0.5, -0.25],
        "trainer_logps": [-0.5, -0.75],
        "ref_logps": [-2.0, -1.0],
        "kl": f32(0.0, 2 / 3),
        "entropy": [1.5, 0.5],
        "ratio": [1.0, pytest.approx(0.25, rel=1e-6)],
        "advantages": f32(1 / 7, 2.0),
        "values": f32(1 / 3, -1.0),
        "returns": f32(4 / 3, 0.0),
    }
    assert math.copysign(1, first["kl"][0]) == 1, "an exact KL of −0 is written as 0"
    assert (second["row"], second["seed"], second["finish_reason"]) == (2, 5, "length")
    assert (second["tokens"], second["token_ids"], second["prompt_ids"]) == (["c"], [9], [5])
    assert (second["kl"], second["values"], second["advantages"]) == ([0.5], [0.25], [3.0])
    assert second["ratio"] == [pytest.approx(2.0, rel=1e-6)]
    assert (second["reward"], second["reward/rm"], second["reward/len"]) == (2.0, 2.5, -0.5)


def test_as_many_rollouts_are_kept_as_asked_and_values_only_where_there_are_some(tmp_path: Path) -> None:
    (only,) = kept(tmp_path / "one", 1, values=False)
    assert only["completion"] == "a b"
    assert not {"values", "returns", "top_ids"} & set(only)
    assert kept(tmp_path / "none", 0) == []
    assert not (tmp_path / "none" / "rollouts").exists()


def test_alternatives_stand_beside_their_position(tmp_path: Path) -> None:
    asked = record(tmp_path, 1, num_alternatives=2)
    asked.alternatives = [(torch.tensor([[7, 9], [8, 7]]), torch.tensor([[-0.5, -1.0], [-0.0, -9.0]]))]
    asked.write(0, two_rollouts(), torch.zeros(2), {}, {"advantages": torch.zeros(2, 2)})
    (row,) = pq.read_table(tmp_path / "rollouts").to_pylist()
    assert row["top_ids"] == [[7, 9], [8, 7]]
    assert row["top_tokens"] == [["a", "c"], ["b", "a"]]
    assert row["top_logps"] == [[-0.5, -1.0], [0.0, -9.0]]


def test_files_are_named_by_step_and_say_what_they_are(tmp_path: Path) -> None:
    kept(tmp_path, 2)
    (file,) = (tmp_path / "rollouts").iterdir()
    assert file.name == "step-000004.parquet"
    assert json.loads(pq.read_schema(file).metadata[b"preflab"]) == {"schema": 1, "kind": "ppo", "temperature": 0.5}


def test_ratio_is_one_where_no_update_came_by() -> None:
    """In a warm-up of the critic the policy is not visited."""
    assert two_rollouts().ratio.tolist() == [[1.0, 1.0], [1.0, 0.0]]


def test_completion_without_tokens_is_a_row_of_empty_lists(tmp_path: Path) -> None:
    sampled = [SampledCompletion((), (), "stop"), SampledCompletion((7,), (-1.0,), "stop")]
    rollouts = Rollouts.start([Prompt.make(text="one")] * 2, [(3,)] * 2, sampled, ["", "a"])
    record(tmp_path, 2).write(0, rollouts, torch.zeros(2), {}, {"advantages": torch.zeros(2, 1)})
    empty, _ = pq.read_table(tmp_path / "rollouts").to_pylist()
    assert [empty[name] for name in ("tokens", "token_ids", "kl", "ratio", "written")] == [[]] * 5


def test_reading_names_the_file_and_what_is_wrong(tmp_path: Path) -> None:
    kept(tmp_path, 2)
    (file,) = (tmp_path / "rollouts").iterdir()
    table = pq.read_table(file)
    assert read_rollouts(tmp_path, ["step", "kl"]).column_names == ["step", "kl"]  # type: ignore[union-attr]
    with pytest.raises(PreflabError, match=r"step-000004\.parquet: no column top_ids"):
        read_rollouts(tmp_path, ["top_ids"])
    for spoilt, said in {
        "no column kl": table.drop_columns(["kl"]),
        "column step holds float": table.set_column(0, "step", table["step"].cast("float")),
        "no record of preflab": table.replace_schema_metadata(None),
        "a record of version 9": table.replace_schema_metadata({"preflab": '{"schema": 9}'}),
    }.items():
        pq.write_table(said, file)
        with pytest.raises(PreflabError, match=rf"step-000004\.parquet: {spoilt}"):
            read_rollouts(tmp_path)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PreflabError, match=r"step-000004\.parquet") as refused:
        read_rollouts(tmp_path)
    assert refused.value.expected == "a Parquet file"


def test_detail_that_only_some_steps_have_is_null_in_the_others(tmp_path: Path) -> None:
    learned = {"advantages": torch.zeros(2, 2)}
    for step, terms in enumerate(({"rm": torch.ones(2)}, {"rm": torch.ones(2), "rm/spread": torch.ones(2)})):
        record(tmp_path, 1, num_done=step).write(step, two_rollouts(), torch.zeros(2), terms, learned)
    table = read_rollouts(tmp_path)
    assert table is not None
    assert table["reward/rm/spread"].to_pylist() == [None, 1.0]


def test_run_without_rollouts_has_no_table(tmp_path: Path) -> None:
    assert read_rollouts(tmp_path) is None
