"""Learning in bfloat16: as far as in float32, from the same rollouts the same gradient, and restarts change no bit."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from preflab.files import read_jsonl
from preflab.maths.reductions import StepCounts
from preflab.models.loading import load_causal_lm, load_tokenizer
from preflab.models.precision import weights_dtype
from preflab.models.trunk import Role, Trunk
from preflab.policy import grpo, ppo
from preflab.policy.dpo import DpoRun, train_dpo
from preflab.policy.dpo_groups import Group
from preflab.policy.dpo_groups import LabelledPair as LearnedPair
from preflab.policy.dpo_logps import ReferenceCache
from preflab.policy.online_dpo import train_online_dpo
from preflab.policy.sft import train_sft
from preflab.rewards.rankings import LabelledPair, Ranking
from preflab.rewards.train import train_reward_model
from preflab.settings.dpo import DpoSettings
from preflab.settings.learning import LoraSettings, OptimiserSettings, RewardSettings, RunSettings, SftSettings
from preflab.training.batches import TokenSequence
from preflab.training.metrics import is_time
from preflab.training.protocols import SampledCompletion, SampleRequest
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_models import tiny_model
from tiny_worlds import tiny_ppo, tiny_trunk
from trunk_roles import learning_roles

LORA = LoraSettings(rank=2, alpha=4)
BOTH = pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
ON_POLICY: tuple[Role, ...] = ("policy", "reference")
Make = Callable[[str, LoraSettings | None, tuple[Role, ...]], Trunk]
Pairs = list[tuple[TokenSequence, TokenSequence]]
"""(good, bad) completions of the same prompts."""


def random_trunk(precision: str, lora: LoraSettings | None, roles: tuple[Role, ...]) -> Trunk:
    """A random model of one layer, as a stage would load it."""
    torch.manual_seed(0)
    model = tiny_model("llama", num_hidden_layers=1).to(weights_dtype(precision, learns=lora is None))
    return Trunk(model, SimpleNamespace(pad_token_id=0), lora=lora, roles=roles, seed=1, compute=precision)


def texts(num: int, vocabulary: int = 97) -> list[TokenSequence]:
    """Sequences that follow a rule: each token is the last one plus 1 or 2."""
    rng, found = random.Random(0), []
    for _ in range(num):
        ids = [rng.randrange(3, vocabulary)]
        for _ in range(rng.randint(6, 10)):
            ids.append(3 + (ids[-1] - 3 + rng.choice([1, 2])) % (vocabulary - 3))
        found.append(TokenSequence(tuple(ids[:4]), tuple(ids[4:])))
    return found


def pairs_of_texts(num: int) -> Pairs:
    """A text that follows the rule, and one with its completion the other way round."""
    return [(text, TokenSequence(text.prompt_ids, text.completion_ids[::-1])) for text in texts(num)]


def pairs_of_stories(tokenizer: Any, num: int) -> Pairs:
    """A story, and an answer that is none."""
    rng = random.Random(0)
    words = (("Tom", "Lily", "the dog", "a cat"), ("ball", "kite", "cake", "boat"), ("park", "house"), ("happy", "sad"))

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    found = []
    for _ in range(num):
        who, what, where, how = (rng.choice(choice) for choice in words)
        good = f" One day {who} found a big red {what} in the {where}. {who} was very {how} and took it home."
        bad = f" No. I do not know any {what}. Go away from the {where}, {who}. It is bad to be {how}."
        prompt, end = (tokenizer.bos_token_id, *ids("Once upon a time.")), (tokenizer.eos_token_id,)
        found.append((TokenSequence(prompt, ids(good) + end), TokenSequence(prompt, ids(bad) + end)))
    return found


def optimiser(rate: float) -> OptimiserSettings:
    return OptimiserSettings(learning_rate=rate, schedule="constant")


def last_mean(rows: Sequence[dict[str, float]], name: str) -> float:
    """Mean over the last ten steps: a step's own batch is small."""
    return sum(row[name] for row in rows[-10:]) / len(rows[-10:])


def learn_sft(trunk: Trunk, pairs: Pairs, folder: Path, num_steps: int, rate: float) -> float:
    """The loss it ends with."""
    settings = SftSettings(
        model="-", data="-", num_sequences_per_step=8, optimiser=optimiser(rate), run=RunSettings(save_every=2)
    )
    rows = train_sft(
        trunk,
        [good for good, _ in pairs],
        settings,
        num_steps=num_steps,
        folder=folder,
        seed=3,
        accelerator=Accelerator(cpu=True),
    )
    return last_mean(rows, "loss/nll")


def learn_dpo(trunk: Trunk, pairs: Pairs, folder: Path, num_steps: int, rate: float) -> float:
    """The loss it ends with."""
    settings = DpoSettings(
        model="-",
        preferences="-",
        num_groups_per_step=4,
        watch={"every": 2, "num_samples": 0},
        optimiser=optimiser(rate),
        run=RunSettings(save_every=2),
    )
    groups = [Group(f"p{i}", pair, (LearnedPair(0, 1, 1.0, 1.0),)) for i, pair in enumerate(pairs)]
    train_dpo(
        DpoRun(
            trunk, settings, groups, groups[:1], num_steps, ReferenceCache(folder / "cache", "w", "here"), folder, 3,
            accelerator=Accelerator(cpu=True),
        )
    )  # fmt: skip
    return last_mean(read_jsonl(folder / "metrics.jsonl"), "loss/total")


def learn_reward(trunk: Trunk, pairs: Pairs, folder: Path, num_steps: int, rate: float) -> float:
    """The loss it ends with."""
    settings = RewardSettings(
        model="-", preferences="-", num_rankings_per_step=4, optimiser=optimiser(rate), run=RunSettings(save_every=2)
    )
    rankings = [Ranking(f"p{i}", pair, (LabelledPair(0, 1, 1.0, 1.0),), (1, 1), (1, 1)) for i, pair in enumerate(pairs)]
    rows = train_reward_model(
        trunk, rankings, settings, num_steps=num_steps, folder=folder, seed=3, accelerator=Accelerator(cpu=True)
    )
    return last_mean(rows, "loss/total")


class Way(NamedTuple):
    """A way of learning from data: the loop, and the roles its trunk has."""

    learn: Callable[[Trunk, Pairs, Path, int, float], float]
    roles: tuple[Role, ...]


WAYS = {
    "sft": Way(learn_sft, ("policy",)),
    "dpo": Way(learn_dpo, ("policy",)),
    "reward": Way(learn_reward, ("reward",)),
}


class Moved(NamedTuple):
    """What a run did to the weights."""

    share: float
    """Of the weights that are not where they were."""
    update: Tensor
    loss: float


def moved(
    make: Make, pairs: Pairs, way: Way, precision: str, lora: LoraSettings | None, folder: Path, num_steps: int = 100
) -> Moved:
    """Some steps at 1e-5."""
    trunk = make(precision, lora, way.roles)
    learning = trunk.parameters_of(way.roles[0])
    before = [p.detach().clone() for _, p in learning]
    loss = way.learn(trunk, pairs, folder, num_steps, 1e-5)
    update = torch.cat([(p.detach() - b).flatten() for (_, p), b in zip(learning, before, strict=True)])
    return Moved(float((update != 0).float().mean()), update, loss)


def check_moves_as_far(make: Make, pairs: Pairs, way: Way, lora: LoraSettings | None, folder: Path) -> None:
    exact, found = (moved(make, pairs, way, p, lora, folder / p) for p in ("float32", "bfloat16"))
    assert exact.share > 0.5
    assert found.share == pytest.approx(exact.share, rel=0.1)
    # Measured: 2.04 % on a processor with bfloat16 products of its own; pairs of stories are soon told apart: 0.0009.
    assert found.loss == pytest.approx(exact.loss, rel=0.03, abs=2e-4)
    # On bfloat16 weights the cosine of the whole update was 0.16.
    assert torch.nn.functional.cosine_similarity(found.update, exact.update, dim=0) > 0.9
    assert float(found.update.norm()) == pytest.approx(float(exact.update.norm()), rel=0.05)


SLOWLY = [
    pytest.param(*each, marks=pytest.mark.slow)
    for each in (("sft", None), ("sft", LORA), ("dpo", None), ("reward", LORA))
]


@pytest.mark.parametrize(
    ("name", "lora"),
    [("dpo", LORA), ("reward", None), *SLOWLY],
    ids=lambda value: value if isinstance(value, str) else "lora" if value else "full",
)
def test_a_hundred_steps_move_as_far_as_in_float32(name: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    check_moves_as_far(random_trunk, pairs_of_texts(16), WAYS[name], lora, tmp_path)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("name", WAYS)
def test_a_pretrained_model_moves_as_far_as_in_float32(
    name: str, lora: LoraSettings | None, stories_model: Path, tmp_path: Path
) -> None:
    def make(precision: str, lora: LoraSettings | None, roles: tuple[Role, ...]) -> Trunk:
        model = load_causal_lm(stories_model, dtype=weights_dtype(precision, learns=lora is None))
        return Trunk(model, load_tokenizer(stories_model), lora=lora, roles=roles, seed=1, compute=precision)

    pairs = pairs_of_stories(load_tokenizer(stories_model), 16)
    check_moves_as_far(make, pairs, WAYS[name], lora, tmp_path)


class Stored:
    """A sampler that gives what was sampled before."""

    exact = False

    def __init__(self, sampled: Sequence[SampledCompletion]) -> None:
        self.sampled = list(sampled)

    def sync(self, version: int) -> None:
        """What was sampled stays what it is."""

    def release(self) -> None:
        """Nothing is freed."""

    def sample(self, requests: Sequence[SampleRequest], decoding: Any, **_: Any) -> list[SampledCompletion]:
        """As many as are asked for, in order."""
        assert len(requests) == len(self.sampled)
        return self.sampled


class Keeping:
    """Keeps what an engine has sampled."""

    exact = True

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def sync(self, version: int) -> None:
        """As the engine."""
        self.engine.sync(version)

    def release(self) -> None:
        """As the engine."""
        self.engine.release()

    def sample(self, requests: Sequence[SampleRequest], decoding: Any, **_: Any) -> list[SampledCompletion]:
        """What the engine samples."""
        self.sampled = self.engine.sample(requests, decoding)
        return self.sampled


def likes_ones(ids: tuple[int, ...]) -> float:
    return float(ids.count(1))


def push(trunk: Trunk) -> None:
    """The same step away from where the rollouts were made, in any precision."""
    with torch.no_grad():
        for role in learning_roles(trunk):
            for number, (_, p) in enumerate(trunk.parameters_of(role)):
                p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(number)))


def gradient(trunk: Trunk) -> Tensor:
    learning = [p for role in learning_roles(trunk) for _, p in trunk.parameters_of(role)]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in learning])


LONG: dict[str, Any] = {"decoding": {"max_new_tokens": 12, "temperature": 0.9}}


def ppo_step(
    folder: Path, precision: str, lora: LoraSettings | None, stored: Any, treatment: str
) -> tuple[float, Tensor, Any, dict[str, float]]:
    """Loss and gradient of policy and value on rollouts, the sampler with what it gave, and what was said of them."""
    trunk = tiny_trunk(lora=lora, vocab_size=32, precision=precision)
    run = tiny_ppo(
        folder, trunk, likes_ones, kl_treatment=treatment, num_epochs=1, num_minibatches=1, entropy_coef=0.01, **LONG
    )
    run.sampler = stored or Keeping(run.sampler)
    rollouts = ppo.collect(run, 0)
    scores, _ = ppo.score(run, rollouts)
    batch = ppo.advantages(run, rollouts, scores, 0.1)
    push(trunk)
    rows, num_tokens = list(range(len(rollouts))), float(rollouts.num_tokens)
    found, said = ppo.policy_loss(run, trunk, rollouts, batch, rows, num_tokens, 0.1)
    value, _ = ppo.value_loss(run, trunk, rollouts, batch, rows, num_tokens, 0.1)
    (found + value).backward()
    return (found + value).item(), gradient(trunk), run.sampler, said


@BOTH
@pytest.mark.parametrize("treatment", ["reward_k1", "sequence_loss", "exact"])
def test_ppo_learns_from_stored_rollouts_what_float32_learns(
    treatment: str, lora: LoraSettings | None, tmp_path: Path
) -> None:
    exact_loss, exact, kept, said = ppo_step(tmp_path, "float32", lora, None, treatment)
    loss, found, _, _ = ppo_step(tmp_path, "bfloat16", lora, Stored(kept.sampled), treatment)
    assert said["ratio/max_deviation"] > 0.01, "away from where the rollouts were made"
    assert loss == pytest.approx(exact_loss, abs=0.01)
    assert torch.nn.functional.cosine_similarity(found, exact, dim=0) >= 0.99


def grpo_step(
    folder: Path, precision: str, lora: LoraSettings | None, stored: Any, **changes: Any
) -> tuple[float, Tensor, Any, dict[str, float]]:
    """The same of a step of the GRPO family."""
    trunk = tiny_trunk(ON_POLICY, lora=lora, vocab_size=32, precision=precision)
    run = tiny_grpo(folder, trunk, likes_ones, num_prompts_per_step=16, **changes, **LONG)
    run.sampler = stored or Keeping(run.sampler)
    rollouts = grpo.collect(run, 0)
    scores, _ = grpo.score(run, rollouts)
    gained = grpo.advantages(run, rollouts, scores, 0.1)
    push(trunk)
    counts = StepCounts(len(rollouts), rollouts.num_tokens, 12)
    loss, said = grpo.policy_loss(run, trunk, rollouts, gained, list(range(len(rollouts))), counts, 0.1)
    loss.backward()
    return loss.item(), gradient(trunk), run.sampler, said


@BOTH
@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "grpo", "kl_treatment": "token_k3"},
        {"algorithm": "rloo", "kl_treatment": "reward_k1"},
        {"algorithm": "dr_grpo", "kl_treatment": "exact"},
    ],
    ids=lambda changes: changes["algorithm"],
)
def test_grpo_learns_from_stored_rollouts_what_float32_learns(
    changes: dict[str, Any], lora: LoraSettings | None, tmp_path: Path
) -> None:
    exact_loss, exact, kept, said = grpo_step(tmp_path, "float32", lora, None, **changes)
    loss, found, _, _ = grpo_step(tmp_path, "bfloat16", lora, Stored(kept.sampled), **changes)
    assert said["ratio/max_deviation"] > 0.01, "away from where the rollouts were made"
    assert loss == pytest.approx(exact_loss, abs=0.01)
    assert torch.nn.functional.cosine_similarity(found, exact, dim=0) >= 0.99


def train_ppo(folder: Path, lora: LoraSettings | None, num_steps: int, precision: str = "bfloat16") -> Trunk:
    trunk = tiny_trunk(lora=lora, precision=precision)
    ppo.train_ppo(tiny_ppo(folder, trunk, likes_ones, num_steps=num_steps, kl_target=1.0, kl_horizon=50))
    return trunk


def train_grpo(folder: Path, lora: LoraSettings | None, num_steps: int) -> Trunk:
    trunk = tiny_trunk(ON_POLICY, lora=lora, precision="bfloat16")
    chosen = {"algorithm": "dapo", "kl_coef": 0.0, "num_resamples": 2, "num_epochs": 2}
    grpo.train_grpo(tiny_grpo(folder, trunk, likes_ones, num_steps=num_steps, **chosen))
    return trunk


def train_online(folder: Path, lora: LoraSettings | None, num_steps: int) -> Trunk:
    trunk = tiny_trunk(ON_POLICY, lora=lora, precision="bfloat16")
    train_online_dpo(tiny_online_dpo(folder, trunk, likes_ones, num_steps=num_steps, num_minibatches=2))
    return trunk


def train_way(name: str, folder: Path, lora: LoraSettings | None, num_steps: int) -> Trunk:
    trunk = random_trunk("bfloat16", lora, WAYS[name].roles)
    WAYS[name].learn(trunk, pairs_of_texts(12), folder, num_steps, 1e-3)
    return trunk


TRAIN: dict[str, Callable[[Path, LoraSettings | None, int], Trunk]] = {
    **{name: functools.partial(train_way, name) for name in WAYS},
    "ppo": train_ppo,
    "grpo": train_grpo,
    "online_dpo": train_online,
}


def without_times(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not is_time(k)} for row in read_jsonl(folder / "metrics.jsonl")]


@BOTH
@pytest.mark.parametrize("name", TRAIN)
def test_a_resumed_run_in_bfloat16_is_the_unbroken_one(name: str, lora: LoraSettings | None, tmp_path: Path) -> None:
    whole = TRAIN[name](tmp_path / "whole", lora, 4)
    TRAIN[name](tmp_path / "cut", lora, 2)
    resumed = TRAIN[name](tmp_path / "cut", lora, 4)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key
    assert without_times(tmp_path / "whole") == without_times(tmp_path / "cut")


@BOTH
def test_float16_learns_too(lora: LoraSettings | None, tmp_path: Path) -> None:
    exact, found = (
        moved(random_trunk, pairs_of_texts(16), WAYS["sft"], p, lora, tmp_path / p, 20) for p in ("float32", "float16")
    )
    assert found.loss == pytest.approx(exact.loss, rel=0.01)
    assert torch.nn.functional.cosine_similarity(found.update, exact.update, dim=0) > 0.97
