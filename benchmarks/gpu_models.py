"""Qwen2-shaped models with random weights, made on the spot, with prompts and a tokenizer of numbered words.

No download and no data is needed. Every side of a comparison takes its model and prompts from here. This module needs
torch and transformers, not preflab, because the peers' environment does not have it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder of the Qwen2 family."""

    hidden: int
    """H, width of the states."""
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    """I, width inside the feed-forward block."""
    vocabulary: int
    """V, rows of the head."""
    tied: bool = True
    """Whether the head is the embedding."""

    @property
    def kv_width(self) -> int:
        """D, width of the keys of a token: kv_heads · H / heads; that of its values is the same."""
        return self.kv_heads * self.hidden // self.heads

    @property
    def layer_weights(self) -> int:
        """M, weights of the layers' matrices: queries and output H² each, keys and values H · D each, 3 · H · I."""
        h, d, i = self.hidden, self.kv_width, self.intermediate
        return self.layers * (2 * h * h + 2 * h * d + 3 * h * i)

    @property
    def head_weights(self) -> int:
        """V · H."""
        return self.vocabulary * self.hidden


SHAPES = {
    "tiny": Shape(64, 2, 4, 2, 128, 1000),
    "0.5b": Shape(896, 24, 14, 2, 4864, 151936),
    "1.5b": Shape(1536, 28, 12, 2, 8960, 151936),
    "8b": Shape(4096, 32, 32, 8, 14336, 128256, tied=False),
}
"""Name → shape. The second and third are those of Qwen2.5, the last that of Llama 3 8B."""

WORDS = 990
"""Words of the tokenizer, w0 to w989, after ten special places; every model has more rows than that."""


def make_model(name: str, dtype: Any, device: str, seed: int = 0) -> Any:
    """A language model with random weights, in evaluation mode, made on the device itself."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = SHAPES[name]
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=4096,
        tie_word_embeddings=shape.tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    before = torch.get_default_dtype()
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return Qwen2ForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


def make_tokenizer() -> Any:
    """A tokenizer whose tokens are the words of `texts`: a text of n words has n tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<unk>", *(f"<{n}>" for n in range(4, 10))]
    vocabulary = {word: place for place, word in enumerate([*special, *(f"w{n}" for n in range(WORDS))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
    )


def texts(num: int, num_words: int, *, first: int = 0) -> list[str]:
    """`num` texts of random words; text i depends on first + i alone."""
    return [
        " ".join(f"w{n}" for n in random.Random(f"text {first + row}").choices(range(WORDS), k=num_words))
        for row in range(num)
    ]


def token_rows(num: int, num_tokens: int, *, first: int = 0) -> list[tuple[int, ...]]:
    """The tokens of `texts`."""
    return [tuple(10 + int(word[1:]) for word in text.split()) for text in texts(num, num_tokens, first=first)]
