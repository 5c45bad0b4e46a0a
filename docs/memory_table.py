"""Writes docs/reference/memory.md and the memory table in the README from the estimate of `preflab init`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from preflab.memory.arithmetic import estimate
from preflab.memory.free import GIB, USED
from preflab.memory.load import USUAL_RANK, Load
from preflab.memory.model_sizes import ModelSizes
from preflab.words import percent

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- memory: begin -->\n", "<!-- memory: end -->\n"
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "0.5B": ("qwen2", {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "vocab_size": 151936,
                       "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "1.5B": ("qwen2", {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "vocab_size": 151936,
                       "num_attention_heads": 12, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "3B": ("llama", {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "vocab_size": 128256,
                     "num_attention_heads": 24, "num_key_value_heads": 8, "tie_word_embeddings": True}),
    "8B": ("llama", {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "vocab_size": 128256,
                     "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False}),
    "14B": ("qwen2", {"hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48, "vocab_size": 152064,
                      "num_attention_heads": 40, "num_key_value_heads": 8, "tie_word_embeddings": False}),
    "32B": ("qwen2", {"hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64, "vocab_size": 152064,
                      "num_attention_heads": 40, "num_key_value_heads": 8, "tie_word_embeddings": False}),
}  # fmt: skip
"""Name → model type and sizes of published models: Qwen 2.5 and Llama 3."""
MEMORIES = (16, 24, 48, 80, 141)
"""Memory sizes of the README's table, GiB."""
TOKENS, ROWS, ROW_TOKENS = 4096, 64, 1024
COLUMNS = ("SFT, LoRA", "DPO, LoRA", "PPO, LoRA", "SFT, full", "DPO, full", "PPO, full")


def load_of(column: str) -> Load:
    """The memory load of a column's stage; full DPO holds its reference, full PPO also a reward model."""
    kind, trained = column.lower().split(", ")
    lora = trained == "lora"
    roles, models = {"sft": (1, 0), "dpo": (1, 1), "ppo": (2, 2)}[kind]
    rows, row_tokens = (0, 0) if kind == "sft" else (ROWS, ROW_TOKENS)
    return Load(kind, roles, 0 if lora else models, lora, True, TOKENS, True, rows, row_tokens)


@functools.cache
def look(name: str) -> ModelSizes:
    """The sizes of a model of `MODELS`, made without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, sizes = MODELS[name]
    with torch.device("meta"):
        return ModelSizes.of(AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)))


@functools.cache
def needed(name: str, column: str) -> float:
    """Peak memory of a column's stage, GiB."""
    return estimate(look(name), load_of(column), accelerator=True).total / GIB


def largest(memory: float, column: str) -> str:
    """Name of the largest model whose stage needs at most the share `USED` of a memory in GiB; – if none fits."""
    fitting = [name for name in MODELS if needed(name, column) <= USED * memory]
    return fitting[-1] if fitting else "–"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    return "".join("| " + " | ".join(line) + " |\n" for line in (head, tuple("---" for _ in head), *rows))


def readme_table() -> str:
    """Memory → the largest model that fits, by stage."""
    rows = [(f"{memory} GiB", *(largest(memory, column) for column in COLUMNS)) for memory in MEMORIES]
    return table(("memory", *COLUMNS), rows)


def page_tables() -> str:
    """The page below its title: the peak of every stage, then the largest models that fit."""
    rows = [(name, *(f"{needed(name, column):.1f}" for column in COLUMNS)) for name in MODELS]
    shapes = [
        (name, kind, f"{look(name).num_parameters / 1e9:.2f}", *(f"{sizes[key]:,}" for key in SHAPE))
        for name, (kind, sizes) in MODELS.items()
    ]
    head = ("model", "type", "parameters, billion", "layers", "hidden", "feed-forward", "vocabulary")
    return "\n".join(
        [
            HEAD,
            "## GiB at the peak of a stage\n",
            table(("model", *COLUMNS), rows),
            "## The largest model that fits\n",
            f"The table uses at most {percent(USED)} of the memory, as `preflab init` does.\n",
            readme_table(),
            "## The models\n",
            table(head, shapes),
        ]
    )


SHAPE = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
HEAD = f"""The estimate is that of `preflab init` and of `preflab check --memory` (`src/preflab/memory/arithmetic.py`),
for one GPU and bfloat16: micro-batches of {TOKENS:,} tokens, activation checkpointing, adapters of rank {USUAL_RANK}.
DPO (for its samples) and PPO decode {ROWS} rows of {ROW_TOKENS:,} tokens at once.

- With LoRA all roles are adapters on one base in bfloat16. For the larger models the peak is at the end of the stage,
  when the adapters are merged into a float32 copy of the model: 4 bytes per parameter.
- With full fine-tuning a trained model takes 18 bytes per parameter: float32 weights and a rounded copy, two moments, a
  gradient. Activations come on top. DPO keeps its reference unless `watch.num_samples` is 0; PPO also trains a value
  model and holds a reference and a reward model.
- Captured decoding keeps its buffers between calls: keys and values of all rows, and with full fine-tuning the weights
  once more in 2 bytes. They count in every phase of DPO and PPO.
- The table leaves out the stage `evaluate`. It holds the reference, the sampled model and a reward model: 6 bytes
  per parameter in bfloat16.

The error of the estimate was measured [on a processor](../experiments/memory-estimate.md), but not on GPUs or at these
sizes. `preflab check --memory` predicts the stages of your recipe. `preflab init --model MODEL --data FILE --memory
GIB` makes the same estimate for your model and your lengths.
"""


def write_readme() -> None:
    """Write the table into the README, between its markers."""
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")


def with_table(text: str) -> str:
    """The text with the current table between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "".join([before, BEGIN, readme_table(), END, after])
