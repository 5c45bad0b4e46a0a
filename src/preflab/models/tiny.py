"""Builds a word-level tokenizer and small random models (Llama, T5, classifiers) that need no download.

Words are separated by spaces. Punctuation directly after a word is a separate token, with a mark that makes decoding
join it to the word again. Text of known words with single spaces is unchanged after encoding and decoding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from preflab.errors import PreflabError

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
PUNCTUATION = ".,?!:;"
GLUE = "##"
"""Marks punctuation that directly follows a word."""


def build_tokenizer(texts: Iterable[str], *, context: int, most_words: int | None = None) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer that knows every word of the texts; frequent words have lower ids.

    Encoding adds <s> at the start but no </s> at the end; pad, bos, eos and unk are four different tokens.
    `decode(encode(x), skip_special_tokens=True) == x` for text of known words with single spaces.

    Args:
        texts: the texts that the model will be trained on.
        context: longest sequence that the model takes, in tokens.
        most_words: know only this many words, the most frequent ones; others are read as <unk>. None: all.

    Raises:
        PreflabError: the texts contain no word.
    """
    tokenizer = Tokenizer(WordLevel({}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(rf"(?<=\S){re.escape(mark)}"), f" {GLUE}{mark}") for mark in PUNCTUATION]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Sequence([decoders.WordPiece(GLUE, cleanup=False), decoders.Replace(GLUE, "")])
    words = _words(tokenizer, texts)[:most_words]
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
    config = _llama_config(tokenizer, num_layers, hidden_size, num_heads, context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.float32)
    return model.eval()


def build_t5(
    tokenizer: PreTrainedTokenizerFast, *, num_layers: int, hidden_size: int, num_heads: int, context: int, seed: int
) -> T5ForConditionalGeneration:
    """Build a random T5 in float32, in the form of T5 v1.1 and FLAN-T5: a gated MLP of twice the hidden size.

    Encoder and decoder have `num_layers` each. The encoder reads at most `context` tokens, the decoder starts with the
    padding token, and dropout is 0.

    Raises:
        PreflabError: the hidden size is not a multiple of the number of heads.
    """
    _check_width(hidden_size, num_heads, 1)
    ids = _special_ids(tokenizer)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=hidden_size,
        d_kv=hidden_size // num_heads,
        d_ff=2 * hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        n_positions=context,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        scale_decoder_outputs=False,
        decoder_start_token_id=ids["pad_token_id"],
        **ids,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config).to(torch.float32)
    return model.eval()


def build_classifier(
    tokenizer: PreTrainedTokenizerFast,
    classes: Sequence[str],
    *,
    architecture: Literal["bert", "llama"],
    num_layers: int,
    hidden_size: int,
    num_heads: int,
    context: int,
    seed: int,
) -> Any:
    """Build a random sequence classifier in float32: BERT, which reads its first token, or Llama, its last one.

    Raises:
        PreflabError: the hidden size is not a multiple of the number of heads (Llama: of twice their number).
    """
    names = dict(enumerate(classes))
    labels = {"num_labels": len(names), "id2label": names, "label2id": {name: n for n, name in names.items()}}
    kind: Any
    config: Any
    if architecture == "llama":
        kind = LlamaForSequenceClassification
        config = _llama_config(tokenizer, num_layers, hidden_size, num_heads, context)
        config.update(labels)
    else:
        _check_width(hidden_size, num_heads, 1)
        kind = BertForSequenceClassification
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            max_position_embeddings=context,
            **_special_ids(tokenizer),
            **labels,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config).to(torch.float32)
    return model.eval()


def _llama_config(
    tokenizer: PreTrainedTokenizerFast, num_layers: int, hidden_size: int, num_heads: int, context: int
) -> LlamaConfig:
    _check_width(hidden_size, num_heads, 2)
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=8 * round(hidden_size / 3),
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        **_special_ids(tokenizer),
    )


def _check_width(hidden_size: int, num_heads: int, per_head: int) -> None:
    """Refuse a width that cannot be divided among the heads; rotary positions need an even share each."""
    unit = per_head * num_heads
    if hidden_size % unit:
        raise PreflabError(
            f"hidden_size {hidden_size} with num_heads {num_heads}",
            f"a width that is a multiple of {'twice ' if per_head == 2 else ''}the number of heads",
            f"use for example hidden_size {unit * max(1, round(hidden_size / unit))}",
        )


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
