"""Small random encoder–decoders: T5 v1.0 and v1.1, BART, mBART, Marian and T5Gemma, with heads that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    T5GemmaConfig,
    T5GemmaForConditionalGeneration,
)

IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def tiny_t5(vocab_size: int = 32, *, scaled: bool = False, seed: int = 0) -> T5ForConditionalGeneration:
    """A random T5: v1.1 with an untied head, or v1.0, whose states are scaled before a head tied to the embedding."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=vocab_size, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0,
        scale_decoder_outputs=scaled, feed_forward_proj="relu" if scaled else "gated-gelu", **IDS,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    if not scaled:
        model.lm_head.weight = nn.Parameter(torch.randn(vocab_size, 32) * 0.3)
    return model.eval()


def _like_bart(config: Any, kind: Any, vocab_size: int, seed: int, **changes: Any) -> Any:
    torch.manual_seed(seed)
    sides = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (
        ("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))}  # fmt: skip
    settings = {"decoder_start_token_id": 1, "forced_eos_token_id": None, **IDS, **changes}
    model = kind(config(vocab_size=vocab_size, d_model=32, max_position_embeddings=64, **sides, **settings))
    model.final_logits_bias.copy_(torch.randn(1, vocab_size))
    return model.eval()


def tiny_bart(vocab_size: int = 32, *, seed: int = 0, **changes: Any) -> BartForConditionalGeneration:
    """A random BART with a bias beside its head."""
    return _like_bart(BartConfig, BartForConditionalGeneration, vocab_size, seed, **changes)


def tiny_mbart(vocab_size: int = 32, *, seed: int = 0) -> MBartForConditionalGeneration:
    """A random mBART whose decoder starts with the end token and a language code."""
    model = _like_bart(MBartConfig, MBartForConditionalGeneration, vocab_size, seed)
    model.generation_config.forced_bos_token_id = 3  # the configuration's constructor would drop it
    return model


def tiny_marian(vocab_size: int = 32, *, seed: int = 0) -> MarianMTModel:
    """A random Marian, whose decoder starts with the padding token."""
    return _like_bart(MarianConfig, MarianMTModel, vocab_size, seed, decoder_start_token_id=0)


def tiny_t5gemma(vocab_size: int = 32, *, seed: int = 0) -> T5GemmaForConditionalGeneration:
    """A random T5Gemma, which caps its logits: preflab uses its own logits."""
    torch.manual_seed(seed)
    part = {
        "vocab_size": vocab_size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8,
        "sliding_window": 16, **IDS,
    }  # fmt: skip
    return T5GemmaForConditionalGeneration(T5GemmaConfig(encoder=part, decoder=part, vocab_size=vocab_size)).eval()


MODELS: dict[str, Callable[..., Any]] = {
    "t5 1.0": lambda vocab_size=32, seed=0: tiny_t5(vocab_size, scaled=True, seed=seed),
    "t5 1.1": tiny_t5,
    "bart": tiny_bart,
    "mbart": tiny_mbart,
    "marian": tiny_marian,
    "t5gemma": tiny_t5gemma,
}
"""Name → a function (vocab_size, seed) that makes the model."""


def unigram_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Like T5's: pieces of words with a mark for the space before them, an end token after every text, and no BOS."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )


def byte_pair_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Like BART's: pairs of bytes, BOS before and an end token after every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special, letters = ["<pad>", "</s>", "<s>", "<unk>"], pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def save_encoder_decoder(name: str, folder: Path, texts: Iterable[str]) -> Path:
    """Write a tiny T5 or BART and its tokenizer to a folder, with the generation defaults of a summariser."""
    if name == "bart":
        tokenizer = byte_pair_tokenizer(texts)
        model = tiny_bart(len(tokenizer), forced_eos_token_id=1)
        model.generation_config.update(num_beams=4, min_length=56, no_repeat_ngram_size=3, early_stopping=True)
    else:
        tokenizer = unigram_tokenizer(texts)
        model = tiny_t5(len(tokenizer), scaled=name == "t5 1.0")
        model.config.n_positions = 64
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
