"""Updates in which the completions of a prompt share its row: the same numbers as with a row each, and fewer tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.models.trunk import Trunk
from preflab.policy import grpo, online_dpo
from preflab.policy.on_policy_setup import minibatches
from preflab.rewards import rankings, train
from preflab.settings.learning import LoraSettings, OptimiserSettings, RewardSettings
from preflab.stages.common.prompt_sharing import find_sharing, may_share
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import JoinedRows
from preflab.training.processes import make_accelerator
from preflab.training.prompt_sharing import PromptSharing, micro_batches
from preflab.training.shared_prompts import SharedRows, packed_rows
from preflab.training.token_limits import TokenLimits
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_models import tiny_model
from tiny_worlds import tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)
A, B = (3, 8, 9), (4,)
"""Two prompts."""


def sequence(prompt: tuple[int, ...], num: int) -> TokenSequence:
    return TokenSequence(prompt, tuple(range(10, 10 + num)))


def trunk(*roles: Any, lora: LoraSettings | None = None, kind: str = "llama", zero_value: bool = True) -> Trunk:
    torch.manual_seed(0)
    return tiny_trunk(roles, lora=lora, model=tiny_model(kind), sharpen=1.0)


SEQUENCES = [sequence(A, 2), sequence(B, 5), sequence(A, 4), sequence(A, 1), sequence(B, 1)]
"""Rows of A take 5, 7 and 4 tokens; two shared take 3 + 2 + 4 = 9, all three 10. Rows of B: 6 and 2, together 7."""


@pytest.mark.parametrize(
    ("longest_row", "budget", "expected"),
    [
        (16, 20, [[0, 2, 3, 1, 4]]),  # rows of 10 and 7: 2 × 10
        (16, 19, [[0, 2, 3], [1, 4]]),
        (9, 9, [[0, 2], [3], [1, 4]]),  # A does not fit as a whole, 2 × 9: cut between its rows of 9 and 4
        (9, 18, [[0, 2, 3], [1, 4]]),
        (
            5,
            7,
            [[0], [2], [3], [1], [4]],
        ),  # nothing fits beside another in a row, and a row of 7 is longer than allowed
    ],
)
def test_micro_batches_keep_prompts_together_by_hand(longest_row: int, budget: int, expected: list[list[int]]) -> None:
    found = micro_batches(SEQUENCES, range(5), budget, PromptSharing(longest_row, 0))
    assert found == expected


def test_micro_batches_without_sharing_are_those_of_the_budget() -> None:
    assert micro_batches(SEQUENCES, [4, 1, 0], 12, None) == [[1, 0], [4]]


def test_batches_share_rows_only_if_a_prompt_occurs_twice_in_a_row() -> None:
    made, sharing = trunk("policy"), PromptSharing(16, 0)
    device = torch.device("cpu")
    assert type(sharing.batch(SEQUENCES[:3], made.collate, device)) is JoinedRows
    shared = sharing.batch([SEQUENCES[0], *SEQUENCES[2:]], made.collate, device)
    assert isinstance(shared, SharedRows)
    assert shared.input_ids.shape == (2, 10)


def gradient_of(made: Trunk, role: str, act: Callable[[], Any]) -> tuple[Any, Tensor]:
    made.zero_grad()
    said = act()
    return said, torch.cat([p.grad.flatten() for _, p in made.parameters_of(role) if p.grad is not None])


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each pass through the trunk, padding included."""
    counted: list[int] = []
    forward = Trunk.forward

    def counting(self: Trunk, batch: Any, *args: Any, **kwargs: Any) -> Any:
        counted.append(batch.input_ids.numel())
        return forward(self, batch, *args, **kwargs)

    monkeypatch.setattr(Trunk, "forward", counting)
    return counted


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("loop", ["grpo", "online_dpo"])
@pytest.mark.parametrize("budget", [4096, 12])
def test_on_policy_updates_do_not_change(
    loop: str, lora: LoraSettings | None, budget: int, tmp_path: Path, widths: list[int]
) -> None:
    """Four groups of four completions of three tokens after a prompt of one: rows of 4 tokens, or of 1 + 4 · 3 = 13."""
    found, tokens = [], []
    for sharing in (None, PromptSharing(13, 0)):
        made = trunk("policy", "reference", lora=lora)
        make: Any = tiny_grpo if loop == "grpo" else tiny_online_dpo
        optimiser = {"learning_rate": 1e-2, "schedule": "constant", "tokens_per_micro_batch": budget}
        run = make(tmp_path, made, lambda ids: float(ids[0] % 5), num_epochs=1, num_minibatches=1, optimiser=optimiser)
        run.sharing = sharing
        widths.clear()
        if loop == "grpo":
            rollouts = grpo.collect(run, 0)
            rest: Any = (grpo.advantages(run, rollouts, grpo.score(run, rollouts)[0], 0.1), 0, 0.1)
        else:
            rollouts = online_dpo.collect(run, 0)
            rest = (online_dpo.label(run, online_dpo.score(run, rollouts)[0], 0), 0)
        module: Any = grpo if loop == "grpo" else online_dpo
        descent = torch.optim.SGD([p for _, p in made.parameters_of("policy")], lr=1.0)
        before = torch.cat([p.detach().flatten().clone() for _, p in made.parameters_of("policy")])
        metrics = module.update(run, made, descent, rollouts, *rest)
        after = torch.cat([p.detach().flatten() for _, p in made.parameters_of("policy")])
        found.append((metrics, rollouts, after - before))
        tokens.append(sum(widths))
    (metrics, rollouts, step), (shared_metrics, shared_rollouts, shared_step) = found
    assert rollouts.sequences == shared_rollouts.sequences
    torch.testing.assert_close(shared_rollouts.ref_logps, rollouts.ref_logps, rtol=0, atol=1e-5)
    assert shared_metrics == pytest.approx(metrics, abs=1e-5)
    assert step.abs().max() > 1e-3
    torch.testing.assert_close(shared_step, step, rtol=1e-4, atol=2e-6)
    if budget == 4096:
        assert tokens == [2 * 64, 2 * 52], "once for the reference, once for the update; one prompt: rows of 13"


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("budget", [4096, 10])
@pytest.mark.parametrize("likelihood", ["bradley_terry", "plackett_luce"])
def test_reward_updates_do_not_change(
    likelihood: str, lora: LoraSettings | None, budget: int, widths: list[int]
) -> None:
    """Rankings of three and two: rows of 7 and 6 tokens, 3 · 7 and 2 · 6, or shared rows of 10 and 7."""
    parts = [(0, 2, 3), (1, 4)]
    data = []
    for number, part in enumerate(parts):
        pairs = tuple(rankings.LabelledPair(i, i + 1, 1.0, 1.0) for i in range(len(part) - 1))
        ranks = tuple(range(len(part)))
        data.append(rankings.Ranking(f"p{number}", tuple(SEQUENCES[i] for i in part), pairs, ranks, (1,) * len(part)))
    settings = RewardSettings(
        model="m", preferences="p", likelihood=likelihood, optimiser=OptimiserSettings(tokens_per_micro_batch=budget)
    )
    made, accelerator = trunk("reward", lora=lora), make_accelerator(cpu=True)
    with torch.no_grad():
        for _, p in made.parameters_of("reward"):
            p.add_(0.02 * torch.randn_like(p))
    found, tokens = [], []
    for sharing in (None, PromptSharing(16, 0)):
        widths.clear()

        def act(sharing: PromptSharing | None = sharing) -> Any:
            return train.accumulate(
                made, data, settings, collate=made.collate, accelerator=accelerator, sharing=sharing
            )  # fmt: skip

        found.append(gradient_of(made, "reward", act))
        tokens.append(sum(widths))
    (figures, gradient), (shared_figures, shared_gradient) = found
    assert shared_figures == pytest.approx(figures, rel=1e-5)
    assert gradient.abs().max() > 1e-3
    torch.testing.assert_close(shared_gradient, gradient, rtol=1e-4, atol=2e-6)
    if budget == 4096:
        assert tokens == [5 * 7, 2 * 10], "one micro-batch"
    if budget == 10:
        in_rows = 2 * (2 * 5 + 7) + (1 * 6 + 1 * 2) * 2
        assert tokens == [in_rows, 10 + 7], "a ranking in parts passes through twice; in a shared row it fits"


def test_minibatches_hold_the_same_rows_with_and_without_sharing(tmp_path: Path) -> None:
    run = tiny_grpo(tmp_path, trunk("policy", "reference"), len, num_minibatches=2)
    sequences = [sequence(A if n % 2 else B, 1 + n % 3) for n in range(16)]
    lengths = [len(s) for s in sequences]
    plain = minibatches(run, lengths, 0, 0, sequences)
    run.sharing = PromptSharing(32, 0)
    shared = minibatches(run, lengths, 0, 0, sequences)
    for ours, theirs in zip(shared, plain, strict=True):
        assert sorted(row for part in ours for row in part) == sorted(row for part in theirs for row in part)
    assert shared != plain


@pytest.mark.parametrize(
    ("prompt", "completion", "rows"),
    [
        (128, 32, [[0, 1, 2, 3]]),  # the fourth: 256 · 2560 − 224 · 2528 = 89,088 < 160 · (80 + 2304) = 381,440
        (32, 192, [[0], [1], [2], [3]]),  # the second: 416 · 2720 − 224 · 2528 = 565,248 > 224 · (112 + 2304) = 541,184
    ],
)
def test_rows_grow_only_if_that_is_cheaper_by_hand(prompt: int, completion: int, rows: list[list[int]]) -> None:
    """A model 384 wide: 6 H = 2304. Long completions attend to one another in vain."""
    sequences = [TokenSequence((1,) * prompt, (2,) * completion)] * 4
    assert packed_rows(sequences, 4096, 384) == rows
    assert packed_rows(sequences, 4096) == [[0, 1, 2, 3]]


def test_which_models_share() -> None:
    limits = TokenLimits(both=40)
    wanted: Any = {"share_prompts": True, "tokens_per_micro_batch": 64, "limits": limits}
    assert find_sharing(trunk("policy"), "policy", **wanted) == PromptSharing(40, 0, 32)
    assert find_sharing(trunk("policy"), "policy", **{**wanted, "tokens_per_micro_batch": 24}) == PromptSharing(
        24, 0, 32
    )
    assert find_sharing(trunk("policy"), "policy", **{**wanted, "share_prompts": False}) is None
    assert find_sharing(trunk("policy", kind="mistral"), "policy", **wanted) is None, "its window counts places"
    reward = Trunk(tiny_model("llama"), SimpleNamespace(pad_token_id=0), lora=None, roles=("reward",))
    assert find_sharing(reward, "reward", **wanted) == PromptSharing(40, 0, 32)
    reward.pooling = "mean"
    assert find_sharing(reward, "reward", **wanted) is None, "the mean over a row is no score of one completion"


def test_warning_says_why_a_model_does_not_share(caplog: pytest.LogCaptureFixture) -> None:
    """It is not about the setting: `share_prompts: false` was chosen, and PPO has no such setting."""
    wanted: Any = {"tokens_per_micro_batch": 64, "limits": TokenLimits(both=40)}
    with caplog.at_level(logging.INFO):
        find_sharing(trunk("policy"), "policy", share_prompts=True, **wanted)
        find_sharing(trunk("policy", kind="mistral"), "policy", share_prompts=False, **wanted)
        assert caplog.records == []
        find_sharing(trunk("policy", kind="mistral"), "policy", share_prompts=True, **wanted)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "MistralForCausalLM: prompts are not shared between completions: its configuration sets sliding_window = 6",
        )
    ]


def test_fixed_rotary_frequencies_share() -> None:
    """Once they are fixed for the stage's longest row, frequencies depend on no row."""
    scaled = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model = Trunk(
        tiny_model("llama", max_position_embeddings=16, rope_parameters=scaled),
        SimpleNamespace(pad_token_id=0),
        lora=None,
        roles=("policy",),
    )
    assert model.row_lengths
    assert not may_share(model, "policy")
    model.row_lengths.fix(40)
    assert may_share(model, "policy")


@pytest.mark.parametrize("loop", ["grpo", "online_dpo"])
def test_first_ratio_is_one_in_half_precision(loop: str, tmp_path: Path) -> None:
    """π_old is computed in the shared rows of the update, so it is rounded in the same way."""
    torch.manual_seed(0)
    roles: Any = ("policy", "reference")
    made = tiny_trunk(roles, lora=LORA, model=tiny_model("llama"), sharpen=1.0, precision="bfloat16")
    make: Any = tiny_grpo if loop == "grpo" else tiny_online_dpo
    run = make(tmp_path, made, lambda ids: float(ids[0] % 5), num_epochs=1, num_minibatches=1)
    run.sharing = PromptSharing(13, 0)
    assert not run.sampler.exact
    module: Any = grpo if loop == "grpo" else online_dpo
    rollouts = module.collect(run, 0)
    scores = module.score(run, rollouts)[0]
    learned = grpo.advantages(run, rollouts, scores, 0.1) if loop == "grpo" else online_dpo.label(run, scores, 0)
    descent = torch.optim.SGD([p for _, p in made.parameters_of("policy")], lr=1.0)
    metrics = module.update(run, made, descent, rollouts, learned, 0, *((0.1,) if loop == "grpo" else ()))
    assert metrics["ratio/first_deviation"] == 0
