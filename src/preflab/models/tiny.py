"""Builds a word-level tokenizer and a small random Llama: a base model that needs no download.

Words are separated by spaces. Punctuation directly after a word is a separate token, with a mark that makes decoding
join it to the word again. Text of known words with single spaces is unchanged after encoding and decoding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from preflab.errors import PreflabError

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
PUNCTUATION = ".,?!:;"
GLUE = "##"
"""Marks punctuation that directly follows a word."""


def build_tokenizer(texts: Iterable[str], *, context: int) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer that knows every word of the texts; frequent words have lower ids.

    Encoding adds <s> at the start but no </s> at the end; pad, bos, eos and unk are four different tokens.
    `decode(encode(x), skip_special_tokens=True) == x` for text of known words with single spaces.

    Args:
        texts: the texts that the model will be trained on.
        context: longest sequence that the model takes, in tokens.

    Raises:
        PreflabError: the texts contain no word.
    """
    tokenizer = Tokenizer(WordLevel({}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(rf"(?<=\S){re.escape(mark)}"), f" {GLUE}{mark}") for mark in PUNCTUATION]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(GLUE, cleanup=False), decoders.Replace(GLUE, "")])
    words = _words(tokenizer, texts)
    vocabulary = {word: i for i, word in enumerate([PAD, BOS, EOS, UNKNOWN, *words])}
    tokenizer.model = WordLevel(vocabulary, unk_token=UNKNOWN)
    tokenizer.post_processor = processors.TemplateProcessing(f"{BOS} $A", special_tokens=[(BOS, vocabulary[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        model_max_length=context,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def build_model(
    tokenizer: PreTrainedTokenizerFast,
    *,
    num_layers: int,
    hidden_size: int,
    num_heads: int,
    context: int,
    seed: int,
) -> LlamaForCausalLM:
    """Build a random Llama in float32, with tied embeddings and an MLP of 8/3 times the hidden size.

    Equal seeds give equal weights; the state of torch's global generator does not change.

    Raises:
        PreflabError: the hidden size is not a multiple of twice the number of heads (rotary positions rotate pairs).
    """
    if hidden_size % (2 * num_heads):
        raise PreflabError(
            f"hidden_size {hidden_size} with num_heads {num_heads}",
            "a width that is a multiple of twice the number of heads",
            f"use for example hidden_size {2 * num_heads * max(1, round(hidden_size / (2 * num_heads)))}",
        )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=8 * round(hidden_size / 3),
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        **_special_ids(tokenizer),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.float32)
    return model.eval()


def _words(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        pieces = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        counts.update(word for word, _ in pieces)
    for special in (PAD, BOS, EOS, UNKNOWN):
        counts.pop(special, None)
    if not counts:
        raise PreflabError("the text contains no word", "a `text` column with words", "check the tiny stage's data")
    return sorted(counts, key=lambda word: (-counts[word], word))


def _special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
