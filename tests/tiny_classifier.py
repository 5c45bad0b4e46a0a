"""A small random classifier with the classes `fine` and `toxic`, saved as a folder that recipes can name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from preflab.models.tiny import build_tokenizer

CLASSES = {0: "fine", 1: "toxic"}


def save_classifier(folder: Path, texts: Sequence[str], context: int = 64, **config: Any) -> None:
    """Save a random Llama classifier whose words are those of the texts."""
    tokenizer = build_tokenizer(texts, context=context)
    settings = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=context, pad_token_id=tokenizer.pad_token_id, id2label=CLASSES,
        label2id={label: index for index, label in CLASSES.items()}, **config,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(settings).eval()
    with torch.no_grad():
        model.score.weight.mul_(40)  # random heads give about ½ for every text
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def toxicity_of(folder: Path, text: str) -> float:
    """The probability of `toxic` by the model's own logits, one text at a time, without padding."""
    from transformers import AutoTokenizer

    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0].double()
    return float(logits.exp()[1] / logits.exp().sum())
