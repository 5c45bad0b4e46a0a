"""Members of an ensemble that are adapters on one base share it, and score as they would alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from preflab.errors import PreflabError
from preflab.models.tiny import build_model, build_tokenizer
from preflab.models.trunk import Trunk
from preflab.models.weights_id import base_hash
from preflab.records import Prompt
from preflab.rewards.ensemble import EnsembleScorer, ExchangedMember
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import RewardModelScorer as Alone
from preflab.rewards.score import load_reward_model, save_reward_model
from preflab.rewards.sources import make_scorer
from preflab.settings.learning import LoraSettings
from preflab.settings.rewards import RewardSource
from preflab.training.protocols import ScoringItem


@pytest.fixture
def members(tmp_path: Path) -> list[Path]:
    """Three reward models on one base, their adapters far from zero."""
    tokenizer = build_tokenizer(["you are kind rude and very"], context=16)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=16, seed=0)
    for saved in (model, tokenizer):
        saved.save_pretrained(tmp_path / "base")
    weights = base_hash(tmp_path / "base", None)
    for number in range(3):
        from preflab.models.loading import load_causal_lm

        trunk = Trunk(
            load_causal_lm(tmp_path / "base", dtype="float32"),
            tokenizer,
            lora=LoraSettings(rank=2),
            roles=("reward",),
            seed=number,
        )
        generator = torch.Generator().manual_seed(number)
        for _, parameter in trunk.parameters_of("reward"):
            parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        encoder = Encoder(tokenizer, True, 16)
        save_reward_model(trunk, tmp_path / f"rm{number}", base="../base", weights_hash=weights, encoder=encoder)
    return [tmp_path / f"rm{number}" for number in range(3)]


def items() -> list[ScoringItem]:
    return [ScoringItem(Prompt.make("you"), text) for text in ("kind", "very very rude and rude", "are kind")]


def test_members_share_a_trunk_and_score_as_alone(members: list[Path]) -> None:
    source = RewardSource(ensemble=tuple(map(str, members)), reference="answers", combine="mean")
    asked = []

    def reference(stage: str) -> list[ScoringItem]:
        asked.append(stage)
        return items()[:1]

    whole = make_scorer([source], Path, reference_items=reference)
    ensemble = whole.terms[0].scorer
    assert isinstance(ensemble, EnsembleScorer)
    assert asked == ["answers"]
    trunks = {id(member.trunk) for member in ensemble.members if isinstance(member, ExchangedMember)}
    assert len(trunks) == 1
    alone = torch.stack(
        [Alone(*load_reward_model(folder), "rm", takes_tokens=False).score(items()).total for folder in members]
    )
    assert alone.std(0).min() > 0.01
    expected = (alone - alone[:, :1]).mean(0)
    for _ in range(2):  # the exchange leaves nothing behind
        torch.testing.assert_close(whole.score(items()).total, expected)
    scores = whole.score(items())
    assert set(scores.terms) == {"ensemble"}
    torch.testing.assert_close(scores.details["ensemble/member_2"], alone[1] - alone[1, 0])
    assert sorted(scores.details) == ["ensemble/member_1", "ensemble/member_2", "ensemble/member_3", "ensemble/spread"]


def test_an_ensemble_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two members and a `reference`"):
        RewardSource(ensemble=("rm",), reference="answers")
    with pytest.raises(ValueError, match="at least two members and a `reference`"):
        RewardSource(ensemble=("a", "b"))


def test_ensemble_stage_without_reference_completions_is_refused(members: list[Path]) -> None:
    source = RewardSource(ensemble=tuple(map(str, members)), reference="answers")
    with pytest.raises(PreflabError, match="without reference completions"):
        make_scorer([source], Path)
