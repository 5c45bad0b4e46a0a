"""Seconds per PPO step of preflab: 64 prompts x 64 new tokens, four roles, one epoch, one minibatch.

The same job as the peers' trl_ppo.py, on its prompts; with --lora all roles share one base.
"""

from __future__ import annotations

import statistics
import tempfile
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

from common import emit, parse, parser, peers_common

NUM_ROWS, NUM_PROMPT_TOKENS, NUM_NEW_TOKENS = 64, 16, 64


def main() -> None:
    """The median gap between the beginnings of two steps."""
    made = parser(__doc__)
    made.add_argument("--steps", type=int, default=5)
    made.add_argument("--lora", action="store_true")
    args = parse(made)
    import torch
    from ppo_parts import ppo_run, settings
    from transformers import AutoModelForCausalLM

    from preflab.models.trunk import Trunk
    from preflab.policy.ppo import train_ppo
    from preflab.settings.learning import LoraSettings, OptimiserSettings

    peers = peers_common(args.peers)
    tokenizer = peers.tokenizer()
    model = AutoModelForCausalLM.from_pretrained(args.root / "rand15m", dtype=torch.float32)
    lora = LoraSettings() if args.lora else None
    # The peers' tokenizer has 512 tokens, their model 32,000: TRL draws from all of them, and so does this job.
    any_token = SimpleNamespace(pad_token_id=tokenizer.pad_token_id)
    trunk = Trunk(model, any_token, lora=lora, roles=("policy", "reference", "value", "reward"))
    trunk.freeze("reward")
    prompts = [tuple(tokenizer(text)["input_ids"][:NUM_PROMPT_TOKENS]) for text in peers.prompts()]
    chosen = settings(
        lora=lora,
        num_steps=args.steps,
        num_rows=NUM_ROWS,
        num_new_tokens=NUM_NEW_TOKENS,
        optimiser=OptimiserSettings(learning_rate=1e-5),
    )
    with tempfile.TemporaryDirectory() as folder:
        run, engine = ppo_run(trunk, chosen, prompts, Path(folder))
        train_ppo(run)
    gaps = [later - earlier for earlier, later in pairwise(engine.starts)]
    emit(job="preflab-ppo", lora=args.lora, s_per_step=round(statistics.median(gaps), 3))


if __name__ == "__main__":
    main()
