"""A small instruct model with Gemma's turns, made on the spot, and data in the layouts of published sets to align it.

Questions ask what a thing is like; answers call it two things. People prefer kind words to unkind ones, whatever the
thing, which a policy can learn in a few steps and a test can count.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chat_templates import BY_NAME

KIND = ("warm", "bright", "calm", "gentle", "lovely", "fresh")
UNKIND = ("cold", "dull", "rude", "grim", "dirty", "stale")
THINGS = ("cat", "dog", "sea", "house", "garden", "train", "song", "book", "street", "soup", "coat", "room", "river",
          "bread", "lamp", "boat")  # fmt: skip
QUESTIONS = ("What is the {} like?", "Tell me about the {}.", "How do you find the {}?", "Is the {} any good?")

Turn = dict[str, str]


def share_kind(text: str) -> float:
    """The share of kind words among kind and unkind ones; ½ where there are none."""
    words = text.lower().replace(".", " ").replace(",", " ").split()
    kind, unkind = sum(word in KIND for word in words), sum(word in UNKIND for word in words)
    return kind / (kind + unkind) if kind + unkind else 0.5


def exchanges(num: int, seed: int) -> Iterator[tuple[Turn, Turn, Turn]]:
    """Questions with two answers each, kind and unkind by chance."""
    rng = random.Random(seed)
    for _ in range(num):
        thing = rng.choice(THINGS)
        words = rng.sample(KIND + UNKIND, 4)
        one, other = (
            {"role": "assistant", "content": f"The {thing} is {first} and {second}."}
            for first, second in (words[:2], words[2:])
        )
        yield {"role": "user", "content": rng.choice(QUESTIONS).format(thing)}, one, other


def write_model(folder: Path, *, num_steps: int = 150, seed: int = 0) -> None:
    """A Gemma 3 text model, tiny, that has learned the exchanges by plain transformers with its own template."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    ids = tokenizer.convert_tokens_to_ids
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=16, sliding_window=32, max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, ids("<end_of_turn>")],
    )  # fmt: skip
    model = Gemma3ForCausalLM(config)
    rendered = [
        tokenizer.apply_chat_template([asked, said], return_dict=False) for asked, said, _ in exchanges(800, seed)
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rng = random.Random(seed)
    for _ in range(num_steps):
        rows = rng.sample(rendered, 16)
        longest = max(map(len, rows))
        batch = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
        labels = batch.masked_fill(batch == tokenizer.pad_token_id, -100)
        loss = model(input_ids=batch, attention_mask=(labels != -100).long(), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    family = BY_NAME["gemma"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<eos>", "<s>", *family.special]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    texts = [turn["content"] for turns in exchanges(800, 0) for turn in turns]
    tokenizer.train_from_iterator([*texts, "user", "model"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<eos>", pad_token="<pad>")
    fast.chat_template = family.template
    return fast


def write_messages(path: Path, num: int = 160) -> None:
    """Demonstrations in the manner of UltraChat: prompt, its id, and the whole conversation."""
    _write(path, [
        {"prompt": asked["content"], "prompt_id": _id(asked["content"]), "messages": [asked, said]}
        for asked, said, _ in exchanges(num, 1)
    ])  # fmt: skip


def write_pairs(path: Path, num: int = 320) -> None:
    """Preferences in the manner of UltraFeedback, binarized: dialogues that repeat the prompt, with their scores."""
    rows = []
    for asked, one, other in exchanges(num, 2):
        better, worse = sorted((one, other), key=lambda turn: -share_kind(turn["content"]))
        if share_kind(better["content"]) == share_kind(worse["content"]):
            continue
        rows.append(
            {
                "prompt": asked["content"],
                "prompt_id": _id(asked["content"]),
                "chosen": [asked, better],
                "rejected": [asked, worse],
                "messages": [asked, better],
                "score_chosen": 5.0 + 5.0 * share_kind(better["content"]),
                "score_rejected": 5.0 + 5.0 * share_kind(worse["content"]),
            }
        )
    _write(path, rows)


def _id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
