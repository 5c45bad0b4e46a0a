"""T5 and BART in every loop, in a world where all sixteen completions of a prompt can be listed.

The same fixed points as for decoders (`test_ppo_optimum`, `test_group_optimum`, `test_dpo_loop_optimum`), and the exact
policy gradient compared with that of transformers' own forward pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from enumerated.test_group_optimum import CASES, SMALL_STEPS, fixed_point, kl
from preflab.models.kinds import family_of
from preflab.models.trunk import Trunk
from preflab.policy.dpo import DpoRun, train_dpo
from preflab.policy.dpo_groups import Group, LabelledPair
from preflab.policy.dpo_logps import ReferenceCache
from preflab.policy.grpo import train_grpo
from preflab.policy.online_dpo import train_online_dpo
from preflab.policy.ppo import train_ppo
from preflab.settings.dpo import DpoSettings
from preflab.settings.learning import LoraSettings
from tiny_encoder_decoders import tiny_bart, tiny_t5
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_worlds import all_sequences, sequence_logps, tiny_ppo, tiny_trunk

BETA = 0.5
REWARDS = {(0, 0): 1.0, (0, 1): -0.5, (0, 2): 0.3, (1, 0): 0.0, (1, 1): 0.8, (1, 2): -1.0, (2, 0): 0.2, (2, 1): 0.6}
SEQUENCES = all_sequences()
START, FORCED, ROWS = 5, 6, 8
"""Tokens that no completion contains: T5, like a decoder, cannot tell a token from its repetition. BART's decoder
starts with both, T5's with the first."""
SHARPEN = {"t5": 1.0, "bart": 16.0}
"""A head that can express the optimum although the states before it have a fixed size."""
RATES = {"t5": 1e-3, "bart": 3e-3}
MODELS: dict[str, Callable[..., Any]] = {"t5": tiny_t5, "bart": tiny_bart}
TOKENIZER = SimpleNamespace(pad_token_id=0, get_vocab=lambda: {"a": 0, "b": 1, "c": 2, "d": 3})
by_model = pytest.mark.parametrize("name", MODELS)


def reward(ids: tuple[int, ...]) -> float:
    """A known reward of each completion; 0.4 for those not listed."""
    return REWARDS.get(tuple(ids), 0.4)


WORTH = torch.tensor([reward(s.completion_ids) for s in SEQUENCES])


def trunk_of(name: str, roles: tuple[Any, ...], lora: LoraSettings | None = None) -> Trunk:
    """A trunk on a tiny encoder–decoder whose tokenizer has four tokens, and whose embedding has more rows."""
    model = MODELS[name](ROWS)
    model.generation_config.decoder_start_token_id = START
    model.generation_config.forced_bos_token_id = FORCED if name == "bart" else None
    return tiny_trunk(roles, lora=lora, model=model, tokenizer=TOKENIZER, sharpen=SHARPEN[name])


def from_optimum(trunk: Trunk) -> float:
    """KL(π ‖ π*) with π* ∝ π_ref exp(reward / β), by enumeration."""
    policy, reference = (sequence_logps(trunk, role, SEQUENCES) for role in ("policy", "reference"))
    assert policy.exp().sum() == pytest.approx(1.0, abs=1e-4)
    return float((policy.exp() * (policy - (reference + WORTH / BETA).log_softmax(0))).sum())


def long_run(num_steps: int, learning_rate: float) -> dict[str, Any]:
    """Settings that loops on sampled completions share."""
    return {
        "num_steps": num_steps,
        "num_kept_rollouts": 0,
        "decoding": {"max_new_tokens": 2, "max_batch_rows": 256},
        "optimiser": {"learning_rate": learning_rate, "max_grad_norm": 10.0, "schedule": "linear"},
        "run": {"save_every": 1000},
    }


@by_model
@pytest.mark.parametrize("where", [None, "decoder"], ids=["full", "adapters on the decoder"])
def test_ppo_lands_on_the_tilted_reference(name: str, where: Any, tmp_path: Path) -> None:
    lora = LoraSettings(rank=8, alpha=16, where=where) if where else None
    trunk = trunk_of(name, ("policy", "reference", "value"), lora)
    assert from_optimum(trunk) > 0.05
    run = tiny_ppo(
        tmp_path, trunk, reward, kl_treatment="reward_k1", kl_coef=BETA, num_completions_per_step=128, num_epochs=2,
        num_minibatches=1, value_coef=1.0, value_clip=None, whiten_advantages=False, lam=1.0,
        **long_run(100, RATES[name] * (3 if lora else 1)),
    )  # fmt: skip
    train_ppo(run)
    assert from_optimum(trunk) < 0.01


@by_model
def test_rloo_lands_on_the_tilted_reference(name: str, tmp_path: Path) -> None:
    trunk = trunk_of(name, ("policy", "reference"))
    chosen = {"num_prompts_per_step": 64, "num_completions_per_prompt": 2, **long_run(100, RATES[name])}
    run = tiny_grpo(tmp_path, trunk, reward, algorithm="rloo", kl_treatment="reward_k1", kl_coef=BETA, **chosen)
    train_grpo(run)
    assert from_optimum(trunk) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "treatment", "num", "beta"), CASES)
def test_the_group_family_lands_on_its_fixed_points_with_a_t5(
    algorithm: str, treatment: str, num: int, beta: float, tmp_path: Path
) -> None:
    trunk = trunk_of("t5", ("policy", "reference"))
    rate = RATES["t5"] / (2 if (algorithm, treatment) in SMALL_STEPS else 1)
    chosen = {"num_prompts_per_step": 256 // num, "num_completions_per_prompt": num, **long_run(150, rate)}
    train_grpo(tiny_grpo(tmp_path, trunk, reward, algorithm=algorithm, kl_treatment=treatment, kl_coef=beta, **chosen))
    policy, reference = (sequence_logps(trunk, role, SEQUENCES).double() for role in ("policy", "reference"))
    assert kl(policy, fixed_point(algorithm, treatment, num, reference, beta)) < 0.02


@by_model
def test_online_dpo_lands_on_the_tilted_reference(name: str, tmp_path: Path) -> None:
    trunk = trunk_of(name, ("policy", "reference"))
    chosen = {"num_prompts_per_step": 64, "num_completions_per_prompt": 2, **long_run(100, RATES[name])}
    train_online_dpo(tiny_online_dpo(tmp_path, trunk, reward, labels="soft", beta=BETA, **chosen))
    assert from_optimum(trunk) < 0.02


@by_model
def test_dpo_lands_on_the_tilted_reference(name: str, tmp_path: Path) -> None:
    trunk = trunk_of(name, ("policy", "reference"))
    wins = torch.sigmoid(WORTH[:, None] - WORTH[None, :]).tolist()
    pairs = tuple(LabelledPair(i, j, wins[i][j], 1.0) for i, j in itertools.combinations(range(16), 2))
    group = Group("the prompt", tuple(SEQUENCES), pairs)
    settings = DpoSettings(
        model="tiny", preferences="all", losses=[{"kind": "dpo", "beta": BETA}], lora=None,
        optimiser={"learning_rate": RATES[name], "max_grad_norm": 10.0}, watch={"every": 1000, "num_samples": 0},
        run={"save_every": 1000},
    )  # fmt: skip
    cache = ReferenceCache(tmp_path / "cache", "tiny", "float32")
    train_dpo(
        DpoRun(
            trunk=trunk, settings=settings, groups=[group], held_out=[group], num_steps=150, cache=cache,
            folder=tmp_path, seed=0, longest_row=None, accelerator=Accelerator(cpu=True),
        )
    )  # fmt: skip
    assert from_optimum(trunk) < 0.01


def expected_objective(model: Any, reference: Tensor, start: tuple[int, ...]) -> Tensor:
    """E[reward] − β · KL(π ‖ π_ref) from transformers' own forward pass over all completions."""
    prompt = torch.tensor([SEQUENCES[0].prompt_ids] * len(SEQUENCES))
    written = torch.tensor([[*start, *s.completion_ids] for s in SEQUENCES])
    logits = model(input_ids=prompt, decoder_input_ids=written, decoder_attention_mask=torch.ones_like(written)).logits
    tokens = torch.tensor([s.completion_ids for s in SEQUENCES])
    logps = logits[:, len(start) - 1 : -1, :4].log_softmax(-1).gather(-1, tokens[..., None]).sum((1, 2))
    return (logps.exp() * (WORTH - BETA * (logps - reference))).sum()


@by_model
def test_policy_gradient_is_that_of_the_models_own_forward_pass(name: str) -> None:
    trunk = trunk_of(name, ("policy",))
    reference = sequence_logps(trunk, "policy", SEQUENCES) + torch.linspace(-0.3, 0.3, 16)
    model = trunk.language_model("policy")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    logps = trunk(trunk.collate(SEQUENCES), ("policy",))["policy"].logps.sum(1)
    advantages = (WORTH - BETA * (logps.detach() - reference)).detach()
    # The score function ∇ log π has the expectation 0, so β · ∇ log π of the KL's own term drops out.
    ours = torch.autograd.grad((logps.detach().exp() * advantages * logps).sum(), parameters, allow_unused=True)
    theirs = torch.autograd.grad(
        expected_objective(model, reference, family_of(model).start), parameters, allow_unused=True
    )
    largest = max(g.abs().max().item() for g in theirs if g is not None)
    for mine, expected in zip(ours, theirs, strict=True):
        assert (mine is None) == (expected is None)
        if expected is not None:
            assert (mine - expected).abs().max().item() <= 1e-6 * max(1.0, largest)
