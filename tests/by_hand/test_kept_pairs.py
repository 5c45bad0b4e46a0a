"""The columns of kept pairs, written out, and which pairs are kept."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from preflab.explain.rollout_files import read_pairs
from preflab.policy.dpo_groups import Group, LabelledPair
from preflab.records import Completion, Preference, Prompt
from preflab.stages.common.pairs_to_keep import pairs_to_keep
from preflab.stages.common.preference_data import PreferenceData
from preflab.training.batches import TokenSequence
from preflab.training.kept_pairs import KeptPair, KeptSide, PairRecord, steps_between_looks, token_numbers

NAN = float("nan")
GOOD = KeptSide(TokenSequence((3,), (7, 8)), "a b", ("a", " b"), "completion-1")
BAD = KeptSide(TokenSequence((3,), (9, 8, 9), (True, False, True)), "c b c", ("c", " b", " c"))
PAIR = KeptPair("prompt-1", "one", GOOD, BAD)


def record(folder: Path, num_done: int = 0) -> PairRecord:
    return PairRecord(folder, [PAIR], {"kind": "dpo", "temperature": 1.0}, num_done=num_done, every=5, most_mib=1)


def test_pair_is_two_rows_with_a_margin(tmp_path: Path) -> None:
    """0.5 − (−0.25) is 0.75; the token that no policy wrote has no number."""
    logps = token_numbers(torch.tensor([[-1.0, -2.0, 0.0], [-3.0, 0.0, -4.0]]), [GOOD.sequence, BAD.sequence])
    record(tmp_path).write(5, torch.tensor([0.5, -0.25]), {"logps": logps, "ref_logps": logps})
    (file,) = (tmp_path / "pairs").iterdir()
    assert file.name == "step-000005.parquet"
    assert json.loads(pq.read_schema(file).metadata[b"preflab"]) == {"schema": 1, "kind": "dpo", "temperature": 1.0}
    table = read_pairs(tmp_path)
    assert table is not None
    chosen, rejected = table.to_pylist()
    assert chosen == {
        "step": 5,
        "pair": 0,
        "prompt_id": "prompt-1",
        "prompt": "one",
        "side": "chosen",
        "completion": "a b",
        "completion_id": "completion-1",
        "token_ids": [7, 8],
        "tokens": ["a", " b"],
        "written": [True, True],
        "logps": [-1.0, -2.0],
        "ref_logps": [-1.0, -2.0],
        "score": 0.5,
        "margin": 0.75,
    }
    assert (rejected["side"], rejected["score"], rejected["margin"]) == ("rejected", -0.25, 0.75)
    assert rejected["logps"] == pytest.approx([-3.0, NAN, -4.0], nan_ok=True)
    assert (rejected["written"], rejected["completion_id"]) == ([True, False, True], None)


def test_reward_model_has_no_log_probabilities(tmp_path: Path) -> None:
    record(tmp_path).write(0, torch.tensor([1.0, 2.0]))
    assert not {"logps", "ref_logps"} & set(pq.read_table(tmp_path / "pairs").column_names)


def test_looks_are_at_multiples_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    looks = record(tmp_path)
    assert [step for step in range(14) if looks.due(step, last=step == 13)] == [0, 5, 10, 13]
    nothing = PairRecord(tmp_path, [], {}, num_done=0, every=5, most_mib=1)
    assert not any(nothing.due(step, last=True) for step in range(14))


def test_look_of_the_checkpoint_is_kept_and_later_ones_are_cut(tmp_path: Path) -> None:
    killed = record(tmp_path)
    for step in (0, 5, 10):
        killed.write(step, torch.zeros(2))
    record(tmp_path, 5)
    assert sorted(path.name for path in (tmp_path / "pairs").iterdir()) == [
        "step-000000.parquet", "step-000005.parquet"
    ]  # fmt: skip


@pytest.mark.parametrize(("num_steps", "every"), [(1, 1), (20, 1), (39, 1), (40, 2), (1000, 50)])
def test_run_has_about_twenty_looks(num_steps: int, every: int) -> None:
    assert steps_between_looks(num_steps) == every


LETTERS = "abcdefgh"


class LetterEncoder:
    """One token per letter."""

    tokenizer = SimpleNamespace(
        decode=lambda ids, **_: "".join(LETTERS[i] for i in ids), all_special_ids=[], clean_up_tokenization_spaces=False
    )

    def __call__(self, prompt: Prompt, completion: Completion) -> TokenSequence:
        return TokenSequence((0,), tuple(LETTERS.index(letter) for letter in completion.text))


def groups(prompts: list[Prompt], *pairs: tuple[LabelledPair, ...]) -> list[Group]:
    """Every prompt has the completions "ab", "cd" and "ef"."""
    sequences = tuple(TokenSequence((0,), ids) for ids in ((0, 1), (2, 3), (4, 5)))
    return [Group(prompt.id, sequences, found) for prompt, found in zip(prompts, pairs, strict=True)]


def preference_data(prompts: list[Prompt]) -> PreferenceData:
    completions = {}
    preferences = []
    for prompt in prompts:
        made = [Completion.make(prompt.id, text, "m") for text in ("ab", "cd", "ef")]
        completions |= {one.id: one for one in made}
        preferences.append(Preference.make(prompt.id, [one.id for one in made], ranks=(1, 2, 3)))
    return PreferenceData("p", tuple(preferences), {p.id: p for p in prompts}, completions, {})


def test_first_decided_pair_of_each_held_out_group_is_kept() -> None:
    prompts = [Prompt.make(text=text) for text in ("one", "two", "three", "four")]
    even, first, other = (LabelledPair(0, 1, 0.5, 1.0), LabelledPair(2, 1, 1.0, 1.0), LabelledPair(0, 1, 0.25, 1.0))
    found = groups(prompts, (even, first, other), (even,), (other,), (first,))
    encoder: Any = LetterEncoder()
    data = preference_data(prompts)
    kept = pairs_to_keep(data, encoder, found[:3], found[3:], 8)
    assert [(pair.prompt, pair.chosen.text, pair.rejected.text) for pair in kept] == [
        ("one", "ef", "cd"), ("three", "cd", "ab")
    ]  # fmt: skip
    assert kept[0].chosen.tokens == ("e", "f")
    assert kept[0].chosen.completion_id == Completion.make(prompts[0].id, "ef", "m").id
    assert [pair.prompt for pair in pairs_to_keep(data, encoder, found[:3], found[3:], 1)] == ["one"]
    assert [pair.prompt for pair in pairs_to_keep(data, encoder, found[1:2], found[3:], 8)] == ["four"]
    assert pairs_to_keep(data, encoder, found[:3], found[3:], 0) == []


def test_completion_is_found_by_its_end_where_its_beginning_was_cut() -> None:
    prompt = Prompt.make(text="one")
    pair = (LabelledPair(0, 1, 1.0, 1.0),)
    cut = Group(prompt.id, (TokenSequence((0,), (1,)), TokenSequence((0,), (7, 7))), pair)
    encoder: Any = LetterEncoder()
    (kept,) = pairs_to_keep(preference_data([prompt]), encoder, [cut], [], 8)
    assert kept.chosen.text == "ab"
    assert (kept.rejected.text, kept.rejected.completion_id) == ("hh", None), "of no record: the tokens' own text"
