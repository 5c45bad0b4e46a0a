"""A PPO run put together by hand, as the timing and memory jobs need it: all four roles, no stop token."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from preflab.policy.ppo import PpoRun
from preflab.records import Prompt
from preflab.rewards.score import reward_scores
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings
from preflab.settings.ppo import PpoSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampledCompletion, SampleRequest, Scores, ScoringItem


class ClockedEngine(TransformersEngine):
    """Notes when each rollout begins: from one to the next is one whole step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.starts: list[float] = []

    def sample(
        self,
        requests: Sequence[SampleRequest],
        decoding: DecodingSettings,
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[SampledCompletion]:
        """As the engine."""
        self.starts.append(time.perf_counter())
        return super().sample(requests, decoding, on_done=on_done)


class RewardRole:
    """Scores with the trunk's reward role, tokens in."""

    def __init__(self, trunk: Any, tokens_per_batch: int) -> None:
        self.trunk, self.tokens_per_batch = trunk, tokens_per_batch

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Rewards of prompt + completion."""
        sequences = [TokenSequence(item.prompt_ids, item.completion_ids) for item in items]
        total = reward_scores(self.trunk, sequences, self.tokens_per_batch)
        return Scores(total, {"reward": total})


def settings(
    *, lora: LoraSettings | None, num_steps: int, num_rows: int, num_new_tokens: int, optimiser: OptimiserSettings
) -> PpoSettings:
    """One epoch, one minibatch, k1 in the reward at 0.05: what the peers' trl_ppo.py does."""
    return PpoSettings(
        model="start",
        prompts="prompts",
        rewards=({"model": "reward"},),
        lora=lora,
        num_steps=num_steps,
        num_completions_per_step=num_rows,
        num_epochs=1,
        num_minibatches=1,
        kl_coef=0.05,
        decoding=DecodingSettings(max_new_tokens=num_new_tokens, max_batch_rows=num_rows),
        optimiser=optimiser,
        run=RunSettings(save_every=num_steps + 1),
    )


def decode(ids: Sequence[int], prompt: Prompt | None = None) -> str:
    """Numbers for words: the model's weights are random, so its words say nothing."""
    return " ".join(map(str, ids))


def ppo_run(
    trunk: Any, chosen: PpoSettings, prompts: Sequence[tuple[int, ...]], folder: Path
) -> tuple[PpoRun, ClockedEngine]:
    """The run and its engine, whose clock tells the seconds per step."""
    engine = ClockedEngine(
        trunk.language_model("policy"),
        pad_id=trunk.pad_id,
        stop_token_ids=(),
        role=functools.partial(trunk.role, "policy"),
        keep_states=True,
    )
    rows = [(Prompt.make(text=f"prompt {number}"), ids) for number, ids in enumerate(prompts)]
    scorer = RewardRole(trunk, chosen.optimiser.tokens_per_micro_batch)
    return PpoRun(trunk, chosen, rows, engine, scorer, decode, folder, seed=0), engine
