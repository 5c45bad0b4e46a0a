"""The peers' side: transformers' `generate`, TRL's GRPO and DPO, on the models and prompts of preflab's jobs.

Needs torch and transformers, for GRPO and DPO also trl, datasets and peft; not preflab. Without TRL the job emits
`missing`, and its columns stay empty.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import statistics
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from gpu_common import PAIRS, PER_PROMPT, emit, median_of, now, parser, peak_mib
from gpu_models import make_model, make_tokenizer, texts


def main() -> None:
    """Runs one job."""
    made = parser(__doc__)
    made.add_argument("--job", choices=sorted(JOBS), required=True)
    args = made.parse_args()
    wanted = {"generate": ("transformers",)}.get(args.job, ("trl", "datasets", "peft"))
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        emit(missing=missing)
        return
    emit(**JOBS[args.job](args), peak_mib=peak_mib(), version=importlib.metadata.version(wanted[0]))


def generate(args: Any) -> dict[str, Any]:
    """`generate` over the full distribution, every completion of full length."""
    import torch

    model, tokenizer = make_model(args.model, getattr(torch, args.dtype), args.device), make_tokenizer()
    prompts = tokenizer(texts(args.rows, args.prompt), return_tensors="pt", padding=True).to(args.device)

    def run() -> None:
        with torch.inference_mode():
            model.generate(
                input_ids=prompts["input_ids"],
                attention_mask=prompts["attention_mask"],
                do_sample=True,
                top_k=0,
                max_new_tokens=args.new,
                min_new_tokens=args.new,
                pad_token_id=0,
            )

    seconds = median_of(run, 3)
    return {"seconds": seconds, "tokens_per_s": args.rows * args.new / seconds}


def grpo(args: Any) -> dict[str, Any]:
    """TRL's GRPO with transformers' `generate`."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            per_device_train_batch_size=args.rows,
            num_generations=min(PER_PROMPT, args.rows),
            max_completion_length=args.new,
            beta=0.05,
            temperature=1.0,
            generation_kwargs={"min_new_tokens": args.new},
            **_common(args, folder),
        )
        clock = _clock()
        trainer = GRPOTrainer(
            model=_model(args, folder),
            reward_funcs=_number_of_ones,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": texts(args.rows * args.steps, args.prompt)}),
            processing_class=make_tokenizer(),
            callbacks=[clock],
            peft_config=_lora(args),
        )
        trainer.train()
    return {"seconds": clock.median()}


def dpo(args: Any) -> dict[str, Any]:
    """TRL's DPO on `PAIRS` pairs per step."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    num = PAIRS * args.steps
    written = texts(2 * num, args.new, first=10**6)
    rows = [
        {"prompt": prompt, "chosen": written[2 * n], "rejected": written[2 * n + 1]}
        for n, prompt in enumerate(texts(num, args.prompt))
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(per_device_train_batch_size=PAIRS, max_length=4096, beta=0.1, **_common(args, folder))
        clock = _clock()
        trainer = DPOTrainer(
            model=_model(args, folder),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=make_tokenizer(),
            callbacks=[clock],
            peft_config=_lora(args),
        )
        trainer.train()
    seconds = clock.median()
    return {"seconds": seconds, "pairs_per_s": PAIRS / seconds}


JOBS: dict[str, Callable[[Any], dict[str, Any]]] = {"generate": generate, "grpo": grpo, "dpo": dpo}


def _number_of_ones(completions: list[str], **_: Any) -> list[float]:
    return [text.count("1") / 10 for text in completions]


def _clock() -> Any:
    """A callback that notes the end of every step; the median leaves out the first."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(now())

        def median(self) -> float:
            return statistics.median(later - earlier for earlier, later in pairwise(self.ends))

    return Clock()


def _model(args: Any, folder: str) -> Any:
    """The model; with full fine-tuning float32 weights, which `bf16` multiplies in bfloat16, as preflab's jobs do."""
    import torch

    model = make_model(args.model, getattr(torch, args.dtype) if args.lora else torch.float32, args.device)
    place = str(Path(folder) / "model")
    model.save_pretrained(place)
    model.config._name_or_path = model.name_or_path = place
    return model


def _lora(args: Any) -> Any:
    """preflab's default adapters: rank 16, alpha 32, on every linear layer."""
    if not args.lora:
        return None
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def _common(args: Any, folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "max_steps": args.steps,
        "learning_rate": 1e-5,
        "bf16": args.device != "cpu" and args.dtype == "bfloat16",
        "use_cpu": args.device == "cpu",
        "gradient_checkpointing": False,
        "disable_dropout": True,
    }


if __name__ == "__main__":
    main()
