"""Tiny models whose tokens are bytes, and small files of many kinds, for `preflab init`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from chat_templates import BY_NAME, byte_tokenizer

Rows = list[dict[str, Any]]
CONTEXT = 192
NUM = 24


def save_model(folder: Path, family: str, *, context: int = CONTEXT, **changes: Any) -> Path:
    """A random Llama with the byte-level tokenizer and the template of a family (`no template` for a base model)."""
    tokenizer = byte_tokenizer(BY_NAME[family])
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=context, **sizes | ids | changes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_encoder(folder: Path) -> Path:
    """A random BERT with the same bytes."""
    tokenizer = byte_tokenizer(BY_NAME["no template"])
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=CONTEXT,
    )  # fmt: skip
    config.architectures = ["BertModel"]
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: Rows) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(num: int = NUM) -> Rows:
    """Texts; the completions begin with a space, as plain texts want it."""
    return [
        {"prompt": f"Where is {i:02d}?", "chosen": f" On its way {i % 7}.", "rejected": " No idea."} for i in range(num)
    ]


def turn_pairs(num: int = NUM) -> Rows:
    """The same as turns, the prompt within the conversations."""
    rows = []
    for row in pairs(num):
        asked_by = {"role": "user", "content": row["prompt"]}
        sides = {
            name: [asked_by, {"role": "assistant", "content": row[name].strip()}] for name in ("chosen", "rejected")
        }
        rows.append(sides)
    return rows


def demonstrations(num: int = NUM) -> Rows:
    """Conversations that end with the assistant's turn."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"Where is {i:02d}?"},
                {"role": "assistant", "content": "It is here."},
            ]
        }
        for i in range(num)
    ]


def answers(num: int = NUM) -> Rows:
    """Questions with the worked answer, as GSM8K has them."""
    return [{"question": f"What is {i:02d} + 1?", "answer": f"One more.\n#### {i + 1}"} for i in range(num)]


def ratings(num: int = NUM) -> Rows:
    """Two completions per prompt, each with scores from 1 to 5."""
    return [
        {"prompt": f"Where is {i:02d}?", "completion": text, "helpfulness": score, "verbosity": 3}
        for i in range(num)
        for text, score in ((f" At place {i % 5}.", 4 + i % 2), (" No.", 1 + i % 2))
    ]


def thumbs(num: int = NUM) -> Rows:
    """One good completion and one bad one per prompt."""
    return [
        {"prompt": f"Where is {i:02d}?", "completion": text, "label": good}
        for i in range(num)
        for text, good in ((f" At place {i % 5}.", True), (" No.", False))
    ]


FILES = {
    "pairs": pairs, "turn_pairs": turn_pairs, "demonstrations": demonstrations, "answers": answers, "ratings": ratings,
    "thumbs": thumbs,
}  # fmt: skip
