"""Tokenizers with merges, in the manner of published ones: bytes, and SentencePiece with its space before a text."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "Once upon a time there was a little cat. It said hello to the dog.",
    "The dog said hello, hello, hello and the cat was happy all the time.",
    "Hello there, said the little dog to the cat. There was a time for hello.",
    "assistant user hello there time cat dog little happy once upon",
]
KINDS = ("bytes", "prepended", "always", "first", "never")
"""`bytes`: GPT-2's; `prepended`: a space put before every text by a normalizer (Llama 2); the others: Metaspace's
`prepend_scheme`."""


def tokenizer_like(kind: str, *, special: tuple[str, ...] = (), template: str | None = None, end: bool = False) -> Any:
    """A tokenizer of a kind; with `end` it puts its end token after every text, as a few published ones do."""
    own = ["<unk>", "<s>", "</s>"]
    tokenizer = _of_bytes(own) if kind == "bytes" else _of_pieces(kind, own)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*own, *special)])
    frame = "<s> $A </s>" if end else "<s> $A"
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(frame, special_tokens=ids)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )
    fast.chat_template = template
    return fast


def _of_bytes(own: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=own, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _of_pieces(kind: str, own: list[str]) -> Tokenizer:
    learned = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    pieces = [*own, *(f"<0x{byte:02X}>" for byte in range(256))]
    learned.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=500, special_tokens=pieces, show_progress=False))
    model = json.loads(learned.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    spaces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if kind == "prepended":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    tokenizer.decoder = decoders.Sequence(spaces if kind == "never" else [*spaces, decoders.Strip(" ", 1, 0)])
    return tokenizer
