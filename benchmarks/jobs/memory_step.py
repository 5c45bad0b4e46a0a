"""A few steps of PPO with four roles on one LoRA trunk or on four copies, or of SFT with LoRA, on a Llama or T5.

The model is made on the spot. Nothing is timed: benchmarks/memory.py and memory_t5.py read the peak memory of
the whole process. `imports` only imports what the others use.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from common import emit

NUM_STEPS = 2


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("ppo", "ppo_copies", "sft", "imports"))
    parser.add_argument("--t5", action="store_true", help="the shape of t5-small instead of a Llama")
    parser.add_argument("--where", choices=("all", "decoder"), default="all", help="parts of T5 with an adapter")
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--tokens-per-micro-batch", type=int, default=4096)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Runs the stage and says how many parameters the model has, and how many prompts its encoder read."""
    args = arguments()
    import torch

    from preflab.models.trunk import Trunk
    from preflab.policy.ppo import train_ppo  # noqa: F401  (what every stage imports)
    from preflab.settings.learning import LoraSettings

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.stage == "imports":
        emit(stage=args.stage, parameters=0)
        return
    model = t5_small() if args.t5 else llama(args)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    four = ("policy", "reference", "value", "reward")
    roles = ("policy",) if args.stage == "sft" else four
    args.lora = None if args.stage == "ppo_copies" else LoraSettings(where=args.where)
    trunk = Trunk(model, SimpleNamespace(pad_token_id=0), lora=args.lora, roles=roles)
    prompts = [tuple(row) for row in torch.randint(3, 32000, (args.rows, args.prompt_tokens)).tolist()]
    num_read = [0]
    if args.t5:

        def count(module: Any, given: Any, output: Any) -> None:
            num_read[0] += len(output.last_hidden_state)

        model.get_encoder().register_forward_hook(count)
    with tempfile.TemporaryDirectory() as folder:
        (sft if args.stage == "sft" else ppo)(trunk, prompts, args, Path(folder))
    emit(
        stage=args.stage,
        parameters=num_parameters,
        weights_mib=round(num_parameters * 4 / 2**20),
        prompts_read=num_read[0],
    )


def llama(args: argparse.Namespace) -> Any:
    """A Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=args.hidden,
        intermediate_size=args.hidden * 11 // 4,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 64,
        num_key_value_heads=args.hidden // 64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def t5_small() -> Any:
    """A T5 of the shape of t5-small (60.5 million parameters) with random weights."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)


def optimiser(args: argparse.Namespace) -> Any:
    """The same for both stages."""
    from preflab.settings.learning import OptimiserSettings

    return OptimiserSettings(
        learning_rate=1e-5,
        tokens_per_micro_batch=args.tokens_per_micro_batch,
        gradient_checkpointing=args.gradient_checkpointing,
    )


def ppo(trunk: Any, prompts: list[tuple[int, ...]], args: argparse.Namespace, folder: Path) -> None:
    """PPO: policy, reference, value and reward on the one base, or on a copy each."""
    from ppo_parts import ppo_run, settings

    from preflab.policy.ppo import train_ppo

    trunk.freeze("reward")
    chosen = settings(
        lora=args.lora,
        num_steps=NUM_STEPS,
        num_rows=args.rows,
        num_new_tokens=args.new_tokens,
        optimiser=optimiser(args),
    )
    run, _ = ppo_run(trunk, chosen, prompts, folder)
    train_ppo(run)


def sft(trunk: Any, prompts: list[tuple[int, ...]], args: argparse.Namespace, folder: Path) -> None:
    """SFT on completions of the same length, as many per step."""
    import torch

    from preflab.policy.sft import train_sft
    from preflab.settings.learning import LoraSettings, RunSettings, SftSettings
    from preflab.training.batches import TokenSequence
    from preflab.training.processes import make_accelerator

    completions = torch.randint(3, 32000, (len(prompts), args.new_tokens)).tolist()
    sequences = [TokenSequence(prompt, tuple(ids)) for prompt, ids in zip(prompts, completions, strict=True)]
    chosen = SftSettings(
        model="start",
        data="demonstrations",
        num_sequences_per_step=args.rows,
        lora=LoraSettings(),
        optimiser=optimiser(args),
        run=RunSettings(save_every=NUM_STEPS + 1),
    )
    train_sft(trunk, sequences, chosen, num_steps=NUM_STEPS, folder=folder, seed=0, accelerator=make_accelerator())


if __name__ == "__main__":
    main()
