"""Seconds per step of preflab's loops: grpo, ppo with four roles, dpo, sft. Medians over the steps after the first."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gpu_common import PAIRS, PER_PROMPT, emit, now, parser, peak_mib, profiled


def main() -> None:
    """Runs one loop in a folder of its own."""
    made = parser(__doc__)
    made.add_argument("--job", choices=sorted(JOBS), required=True)
    args = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        emit(**JOBS[args.job](args, Path(folder)), peak_mib=peak_mib())


def grpo(args: Any, folder: Path) -> dict[str, Any]:
    """Policy and reference; `PER_PROMPT` completions of each prompt; k3 as a loss, as TRL does it."""
    from gpu_checks import FirstTokens
    from gpu_worlds import decode, make_trunk, prompts_of

    from preflab.policy import grpo as loop
    from preflab.settings.grpo import GrpoSettings

    per_prompt = min(PER_PROMPT, args.rows)
    trunk = make_trunk(args.model, args.device, ("policy", "reference"), **_trunk_options(args))
    settings = GrpoSettings(
        num_prompts_per_step=args.rows // per_prompt,
        num_completions_per_prompt=per_prompt,
        kl_treatment="token_k3",
        **_on_policy(args),
    )
    prompts = prompts_of(args.rows // per_prompt * args.steps, args.prompt)
    engine = _TimedSampler(trunk, args)
    run = loop.GrpoRun(trunk, settings, prompts, engine, FirstTokens(), decode, folder, seed=0)
    _train(args, loop, lambda: loop.train_grpo(run))
    return _shares(args, folder, engine.seconds)


def ppo(args: Any, folder: Path) -> dict[str, Any]:
    """Policy, reference, value and reward; one pass, one minibatch."""
    from gpu_worlds import decode, make_trunk, prompts_of

    from preflab.policy import ppo as loop
    from preflab.settings.ppo import PpoSettings

    trunk = make_trunk(args.model, args.device, ("policy", "reference", "value", "reward"), **_trunk_options(args))
    trunk.freeze("reward")
    settings = PpoSettings(num_completions_per_step=args.rows, num_epochs=1, num_minibatches=1, **_on_policy(args))
    engine = _TimedSampler(trunk, args)
    prompts = prompts_of(args.rows * args.steps, args.prompt)
    run = loop.PpoRun(trunk, settings, prompts, engine, _RewardRole(trunk, args.budget), decode, folder, seed=0)
    _train(args, loop, lambda: loop.train_ppo(run))
    return _shares(args, folder, engine.seconds)


def dpo(args: Any, folder: Path) -> dict[str, Any]:
    """`PAIRS` pairs per step; the completions of a pair share a row if the loop can."""
    from gpu_models import token_rows
    from gpu_worlds import make_trunk

    from preflab.policy.dpo import DpoRun, train_dpo
    from preflab.policy.dpo_groups import Group, LabelledPair
    from preflab.policy.dpo_logps import ReferenceCache
    from preflab.settings.dpo import DpoSettings
    from preflab.settings.learning import RunSettings
    from preflab.training.batches import TokenSequence

    num = PAIRS * args.steps
    prompts, written = token_rows(num, args.prompt), token_rows(2 * num, args.new, first=10**6)
    groups = [
        Group(
            f"g{n}",
            (TokenSequence(prompt, written[2 * n]), TokenSequence(prompt, written[2 * n + 1])),
            (LabelledPair(0, 1, 1.0, 1.0),),
        )
        for n, prompt in enumerate(prompts)
    ]
    trunk = make_trunk(args.model, args.device, ("policy", "reference"), **_trunk_options(args))
    settings = DpoSettings(
        model="s", preferences="p", lora=_lora(args), num_groups_per_step=PAIRS, optimiser=_optimiser(args),
        run=RunSettings(save_every=10**6),
    )  # fmt: skip
    cache = ReferenceCache(folder / "cache", "weights", args.dtype)
    train_dpo(DpoRun(trunk, settings, groups, [], args.steps, cache, folder, seed=0, longest_row=4096))
    seconds = _median(_rows(folder), "time/step")
    return {"seconds": seconds, "pairs_per_s": PAIRS / seconds, "tokens": PAIRS * (args.prompt + 2 * args.new),
            "completion_tokens": 2 * PAIRS * args.new, "update_seconds": seconds}  # fmt: skip


def sft(args: Any, folder: Path) -> dict[str, Any]:
    """Rows of prompt and completion; the loss is on the completion."""
    from gpu_models import token_rows
    from gpu_worlds import make_trunk

    from preflab.policy.sft import train_sft
    from preflab.settings.learning import RunSettings, SftSettings
    from preflab.training.batches import TokenSequence
    from preflab.training.processes import make_accelerator

    num = args.rows * args.steps
    written = token_rows(num, args.new, first=10**6)
    rows = [TokenSequence(p, c) for p, c in zip(token_rows(num, args.prompt), written, strict=True)]
    trunk = make_trunk(args.model, args.device, ("policy",), **_trunk_options(args))
    settings = SftSettings(
        model="s", data="d", num_sequences_per_step=args.rows, lora=_lora(args), optimiser=_optimiser(args),
        run=RunSettings(save_every=10**6),
    )  # fmt: skip
    train_sft(trunk, rows, settings, num_steps=args.steps, folder=folder, seed=0, accelerator=make_accelerator())
    seconds = _median(_rows(folder), "time/step")
    return {"seconds": seconds, "tokens": args.rows * (args.prompt + args.new),
            "completion_tokens": args.rows * args.new, "update_seconds": seconds}  # fmt: skip


JOBS: dict[str, Callable[[Any, Path], dict[str, Any]]] = {"grpo": grpo, "ppo": ppo, "dpo": dpo, "sft": sft}


class _RewardRole:
    """Scores with the trunk's reward role."""

    def __init__(self, trunk: Any, tokens_per_batch: int) -> None:
        self.trunk, self.tokens_per_batch = trunk, tokens_per_batch

    def score(self, items: Sequence[Any]) -> Any:
        """Rewards (B,) of prompt and completion."""
        from preflab.rewards.score import reward_scores
        from preflab.training.batches import TokenSequence
        from preflab.training.protocols import Scores

        rows = [TokenSequence(item.prompt_ids, item.completion_ids) for item in items]
        total = reward_scores(self.trunk, rows, self.tokens_per_batch).float().cpu()
        return Scores(total, {"reward": total})


class _TimedSampler:
    """An engine that notes the seconds of each call of `sample`."""

    def __init__(self, trunk: Any, args: Any) -> None:
        from gpu_worlds import default_engine, make_engine

        self.engine = make_engine(trunk, args.engine or default_engine(), keep_states=True)
        self.seconds: list[float] = []

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        """As the engine."""
        start = now()
        sampled = self.engine.sample(*args, **kwargs)
        self.seconds.append(now() - start)
        return sampled

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def _train(args: Any, loop: Any, train: Callable[[], Any]) -> None:
    """Train; with --profile the update of the second step is profiled."""
    if not args.profile:
        train()
        return
    whole, calls = loop.update, iter(range(args.steps))

    def update(*given: Any, **named: Any) -> Any:
        run = lambda: whole(*given, **named)  # noqa: E731
        return profiled(run) if next(calls) == 1 else run()

    with patch.object(loop, "update", update):
        train()


def _lora(args: Any) -> Any:
    from preflab.settings.learning import LoraSettings

    return LoraSettings() if args.lora else None


def _optimiser(args: Any) -> Any:
    from preflab.settings.learning import OptimiserSettings

    return OptimiserSettings(learning_rate=1e-5, tokens_per_micro_batch=args.budget)


def _trunk_options(args: Any) -> dict[str, Any]:
    return {"precision": args.dtype, "lora": _lora(args), "packing": "auto"}


def _on_policy(args: Any) -> dict[str, Any]:
    """Settings that PPO and GRPO have in common."""
    from gpu_worlds import decoding

    from preflab.settings.learning import RunSettings

    return {
        "model": "s",
        "prompts": "p",
        "rewards": ({"model": "r"},),
        "lora": _lora(args),
        "num_steps": args.steps,
        "kl_coef": 0.05,
        "decoding": decoding(args.new, args.rows),
        "optimiser": _optimiser(args),
        "run": RunSettings(save_every=10**6),
    }


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def _median(rows: Sequence[dict[str, Any]], name: str) -> float:
    """The median over the steps after the first, which also chooses ways, captures steps and fills caches."""
    return statistics.median(row[name] for row in rows[1:])


def _shares(args: Any, folder: Path, sampling: Sequence[float]) -> dict[str, Any]:
    """The seconds of a step and of its parts, and what its update had to compute."""
    rows = _rows(folder)
    sampled = statistics.median(sampling[1:])
    learning = 2 if args.job == "ppo" else 1
    return {
        "seconds": _median(rows, "time/step"),
        "sampling_seconds": sampled,
        "sampled_tokens_per_s": args.rows * args.new / sampled,
        "rollout_seconds": max(0.0, _median(rows, "time/collect") - sampled),
        "scoring_seconds": _median(rows, "time/score"),
        "update_seconds": _median(rows, "time/update"),
        "tokens": learning * args.rows * (args.prompt + args.new),
        "completion_tokens": args.rows * args.new,
        "first_ratio": rows[-1]["ratio/first_deviation"],
        "mismatch_nats": rows[-1]["mismatch/logps"],
    }


if __name__ == "__main__":
    main()
