"""What the record of rollouts costs a PPO step: writing it, and the entropy that the rollout pass computes for it.

    python benchmarks/record.py

Random models of two sizes: that of the demo, and 15 million parameters with a vocabulary of 32,000. Ratios are medians
over steps of seconds within one step, so that other load on the machine affects both sides.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from preflab.files import read_jsonl
from preflab.models.chunk import Head
from preflab.models.chunked import token_statistics
from preflab.models.trunk import Trunk
from preflab.policy.ppo import train_ppo
from preflab.settings.learning import LoraSettings, OptimiserSettings

sys.path.append(str(Path(__file__).resolve().parent / "jobs"))
from ppo_parts import ppo_run, settings

LIMIT = 0.03


class Size(NamedTuple):
    """A model and a batch of 64 completions."""

    vocabulary: int
    hidden: int
    layers: int
    num_new_tokens: int


SIZES = {"demo": Size(168, 128, 4, 16), "15M": Size(32_000, 288, 6, 64)}


def main() -> None:
    """Run PPO on each size and print the shares of the step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rollouts", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=SIZES)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in [args.only] if args.only else SIZES:
        size = SIZES[name]
        rows = step_rows(size, args.steps, args.rollouts)
        step = statistics.median(row["time/step"] for row in rows)
        share = statistics.median(row["time/record"] / row["time/step"] for row in rows[1:])
        entropy = entropy_seconds(size) / step
        print(f"{name}: a step takes {step:.2f} s; writing {share:.2%} of it (first {rows[0]['time/record']:.2f} s, "
              f"which imports pandas), entropy {entropy:.2%}; at most {LIMIT:.0%} wanted")  # fmt: skip


def model_of(size: Size) -> Any:
    """A random Llama."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocabulary, hidden_size=size.hidden, intermediate_size=4 * size.hidden,
        num_hidden_layers=size.layers, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256,
        bos_token_id=0, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def step_rows(size: Size, num_steps: int, num_kept: int) -> list[dict[str, float]]:
    """The metrics of a run that keeps this many rollouts."""
    roles: Any = ("policy", "reference", "value", "reward")
    trunk = Trunk(model_of(size), SimpleNamespace(pad_token_id=0), lora=LoraSettings(), roles=roles)
    trunk.freeze("reward")
    chosen = settings(
        lora=LoraSettings(), num_steps=num_steps, num_rows=64, num_new_tokens=size.num_new_tokens,
        optimiser=OptimiserSettings(learning_rate=1e-5),
    )  # fmt: skip
    chosen = chosen.model_copy(update={"num_kept_rollouts": num_kept, "num_epochs": 4})
    prompts = [tuple(range(1, 13)), tuple(range(2, 14))]
    with tempfile.TemporaryDirectory() as folder:
        run, _ = ppo_run(trunk, chosen, prompts, Path(folder))
        train_ppo(run)
        return read_jsonl(Path(folder) / "metrics.jsonl")


@torch.no_grad()
def entropy_seconds(size: Size, repeats: int = 7) -> float:
    """Median additional seconds of the statistics of a step's tokens with entropy, over repetitions in turn."""
    num = 64 * size.num_new_tokens
    hidden, weight = torch.randn(num, size.hidden), torch.randn(size.vocabulary, size.hidden) / size.hidden**0.5
    targets = torch.randint(size.vocabulary, (num,))

    def seconds(entropy: bool) -> float:
        started = time.perf_counter()
        token_statistics(
            hidden, Head(weight), targets, entropy=entropy, entropy_gradient=False, ref_hidden=hidden.flip(0)
        )
        return time.perf_counter() - started

    seconds(True)
    return statistics.median(seconds(True) - seconds(False) for _ in range(repeats))


if __name__ == "__main__":
    main()
