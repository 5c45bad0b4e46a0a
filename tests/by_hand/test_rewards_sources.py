"""What a recipe's rewards are made of: which model is loaded how, on which trunk, by stand-ins for the models."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.errors import PreflabError
from preflab.records import Prompt
from preflab.rewards import sources
from preflab.rewards.sources import PolicySide, make_scorer
from preflab.settings.rewards import RewardSource
from preflab.training.protocols import Scores, ScoringItem

PROMPTS = ((Prompt.make("a"), (1, 2)),)
REFERENCE = [ScoringItem(PROMPTS[0][0], "yes")]


class FakeTrunk(SimpleNamespace):
    """A trunk that remembers where it was moved to."""

    def __init__(self, name: str, **other: Any) -> None:
        values = {
            "lora": SimpleNamespace(base="as_loaded"),
            "heads": {},
            "device": f"device of {name}",
            "tokenizer": "words",
        } | other
        super().__init__(name=name, moved=[], layout=SimpleNamespace(choice=f"packing of {name}"), **values)

    def to(self, device: str) -> FakeTrunk:
        self.moved.append(device)
        return self


class FakeScorer(SimpleNamespace):
    """A scorer that gives 1 to everything."""

    def score(self, items: Any) -> Scores:
        return Scores(torch.ones(len(items)))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Fixed lengths, in order: (scorer, prompts, max_new_tokens, further items)."""
    fixed: list[Any] = []
    monkeypatch.setattr(sources, "fix_longest", lambda *arguments: fixed.append(arguments))
    monkeypatch.setattr(sources, "same_tokenizer", lambda one, other: one == other)
    return fixed


def test_function_keeps_its_weight_name_and_time() -> None:
    words_source = RewardSource(function="preflab.rewards.library:num_words", timeout_s=2.5, weight=0.5)
    named = RewardSource(function="preflab.rewards.library:num_words", name="length")
    first, second = make_scorer([words_source, named], lambda name: name).terms
    assert (first.name, first.weight, second.name, second.weight) == ("num_words", 0.5, "length", 1.0)
    assert [term.scorer.timeout_s for term in (first, second)] == [2.5, None]  # type: ignore[attr-defined]


def test_implicit_reward_reads_the_folder_on_the_policys_device(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = FakeScorer(name="dpo", trunk=FakeTrunk("own"))
    loaded: list[Any] = []
    monkeypatch.setattr(sources, "load_implicit", lambda *a, **other: loaded.append((a, other)) or scorer)
    policy = PolicySide("words", FakeTrunk("policy"), "hash", PROMPTS, 7)  # type: ignore[arg-type]
    (term,) = make_scorer([RewardSource(implicit="dpo")], lambda name: f"/at/{name}", policy, dtype="bfloat16").terms
    ((arguments, others),) = loaded
    assert arguments == (Path("/at/dpo"), "dpo")
    assert (others["dtype"], others["tokenizer"]) == ("bfloat16", "words")
    assert term.scorer is scorer
    assert scorer.trunk.moved == ["device of policy"]
    assert scorer.trunk.layout.choice == "packing of policy"
    assert calls == [(scorer, PROMPTS, 7)]
    make_scorer([RewardSource(implicit="dpo")], lambda name: f"/at/{name}")
    assert scorer.trunk.moved == ["device of policy"]  # without a policy it stays


@pytest.mark.parametrize(
    ("trunk", "shares", "lies", "joins"),
    [
        (FakeTrunk("policy"), True, True, True),
        (None, True, True, False),
        (FakeTrunk("policy", lora=None), True, True, False),
        (FakeTrunk("policy", heads={"reward": 1}), True, True, False),
        (FakeTrunk("policy"), False, True, False),
        (FakeTrunk("policy"), True, False, False),
    ],
)
def test_reward_model_joins_the_policys_trunk_where_it_can(
    trunk: Any, shares: bool, lies: bool, joins: bool, calls: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / sources.CARD).touch()
    own_trunk, loaded = FakeTrunk("own"), []

    def load(folder: Path, **other: Any) -> Any:
        loaded.append((folder, other))
        return other["trunk"] or own_trunk, SimpleNamespace(causal=True)

    monkeypatch.setattr(sources, "load_reward_model", load)
    monkeypatch.setattr(sources, "shares_base", lambda folder, weights, _: shares and weights == "hash")
    monkeypatch.setattr(sources, "shares_experts", lambda folder, trunk: lies)
    policy = PolicySide("words", trunk, "hash", PROMPTS, 7)
    (term,) = make_scorer([RewardSource(model="rm")], lambda _: tmp_path, policy, dtype="bfloat16").terms
    scorer: Any = term.scorer
    expected = {"trunk": trunk, "trunk_hash": "hash"} if joins else {"trunk": None, "trunk_hash": ""}
    assert loaded == [(tmp_path, {"dtype": "bfloat16", **expected})]
    assert (scorer.name, scorer.takes_tokens, scorer.trunk) == ("rm", True, trunk if joins else own_trunk)
    assert own_trunk.moved == ([] if joins or trunk is None else ["device of policy"])
    assert own_trunk.layout.choice == f"packing of {'own' if joins or trunk is None else 'policy'}"
    assert calls == ([] if joins else [(scorer, PROMPTS, 7)])


@pytest.mark.parametrize(
    ("tokenizer", "causal", "takes_tokens"),
    [("words", True, True), ("others", True, False), (None, True, False), ("words", False, False)],
)
def test_tokens_are_taken_from_a_policy_with_the_same_tokenizer(
    tokenizer: str | None, causal: bool, takes_tokens: bool, calls: list[Any]
) -> None:
    encoder: Any = SimpleNamespace(causal=causal)
    policy = PolicySide(tokenizer)
    scorer = sources._scorer(FakeTrunk("own"), encoder, "rm", policy, 64)  # type: ignore[arg-type]
    assert (scorer.takes_tokens, scorer.tokens_per_batch) == (takes_tokens, 64)


def test_members_of_an_ensemble_share_a_trunk_where_their_bases_agree(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """a and b are adapters on one base, c on another, d a whole model; none of them is on the policy's trunk."""
    bases = {"a": ("one", {}), "b": ("one", {}), "c": ("two", {}), "d": ("one", None)}
    made: list[Any] = []

    def read(folder: Path) -> Any:
        base, lora = bases[folder.name]
        return SimpleNamespace(weights_hash=base, lora=lora, pooling="last", causal=True)

    def make(name: str, folder: Path, side: PolicySide, *_: Any, on: Any) -> Any:
        made.append((name, side.trunk, side.trunk_hash, on.name if on else None))
        return FakeScorer(name=name, trunk=on or FakeTrunk(f"of {name}"))

    monkeypatch.setattr(sources.RewardModelCard, "read", read)
    monkeypatch.setattr(sources, "_reward_model", make)
    monkeypatch.setattr(sources, "ExchangedMember", lambda trunk, scorer: FakeScorer(name=f"exchanged {scorer.name}"))
    policy = PolicySide("words", FakeTrunk("policy"), "hash", PROMPTS, 7)  # type: ignore[arg-type]
    source = RewardSource(ensemble=("a", "b", "c", "d"), reference="sample", combine="minimum", std_coef=2.0)
    (term,) = make_scorer([source], lambda name: name, policy, reference_items=lambda _: REFERENCE).terms
    scorer: Any = term.scorer
    assert made == [("a", None, "", None), ("b", None, "", "of a"), ("c", None, "", None), ("d", None, "", None)]
    assert [member.name for member in scorer.members] == ["exchanged a", "exchanged b", "exchanged c", "d"]
    assert [(prompts, num, further) for _, prompts, num, further in calls] == [(PROMPTS, 7, REFERENCE)] * 4
    assert (term.name, scorer.how, scorer.std_coef) == ("ensemble", "minimum", 2.0)
    assert scorer.baselines.overall.tolist() == [1, 1, 1, 1]


def test_judge_is_asked_for_by_its_source() -> None:
    source: Any = SimpleNamespace(ensemble=(), judge="model", name=None, weight=2.0)
    asked: list[Any] = []
    (term,) = make_scorer([source], lambda name: name, judges=lambda source: asked.append(source) or FakeScorer()).terms  # type: ignore[arg-type, func-returns-value, return-value]
    assert (asked, term.name, term.weight) == ([source], "judge", 2.0)
    with pytest.raises(PreflabError, match="AI judge"):
        make_scorer([source], lambda name: name)


def test_classifier_is_read_with_its_class_and_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(sources, "load_classifier", lambda ref, dtype: (ref, dtype))
    monkeypatch.setattr(sources, "load_tokenizer", lambda ref, writes: ("tokenizer", writes))
    monkeypatch.setattr(
        sources, "ClassifierScorer", lambda *a, **other: made.append((a, other)) or FakeScorer(name="x")
    )
    source = RewardSource(model="m", class_label="kind", class_output="probability")
    (term,) = make_scorer([source], lambda _: tmp_path, dtype="bfloat16").terms
    ((arguments, others),) = made
    assert arguments == ((tmp_path, "bfloat16"), ("tokenizer", False), "kind")
    assert (others["output"], term.name) == ("probability", "x")
