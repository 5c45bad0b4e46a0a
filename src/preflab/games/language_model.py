"""A tiny language model for a game: its words are the moves, and its chat template tells a game as a conversation.

    <s> first 4 </s> >0 8 </s> >2 …        every turn of the policy is one move and the end token

The result is a plain Hugging Face folder (Llama, a word-level tokenizer), which every stage opens like any other model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from preflab.files import new_folder
from preflab.games.game import Game
from preflab.games.words import GameWords
from preflab.models.tiny import BOS, EOS, PAD, UNKNOWN

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %} {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %} {{ eos_token }}{% endif %}{% endfor %}"
)


MLP = 3
"""Width of the MLP, in hidden sizes."""


@dataclass(frozen=True)
class GameModelSize:
    """The size of a model for a game."""

    num_layers: int = 2
    hidden_size: int = 96
    num_heads: int = 4
    context: int = 64
    """Most tokens of a conversation: about three for every move of the policy."""


def game_tokenizer(game: Game, *, context: int) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each word of the game, and the chat template of its conversations."""
    vocabulary = {word: number for number, word in enumerate([PAD, BOS, EOS, UNKNOWN, *GameWords(game).vocabulary])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(f"{BOS} $A", special_tokens=[(BOS, vocabulary[BOS])])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        model_max_length=context,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


def build_game_model(
    game: Game, seed: int, size: GameModelSize | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A random model and its tokenizer; equal seeds give equal weights."""
    size = size or GameModelSize()
    tokenizer = game_tokenizer(game, context=size.context)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden_size,
        intermediate_size=MLP * size.hidden_size,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        max_position_embeddings=size.context,
        initializer_range=size.hidden_size**-0.5,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.float32)
    return model.eval(), tokenizer


def make_game_model(game: Game, folder: Path, seed: int, size: GameModelSize | None = None) -> Path:
    """Write a random model for a game into a new folder, and return the folder.

    Raises:
        PreflabError: the moves' words are not distinct, or the size is impossible.
    """
    model, tokenizer = build_game_model(game, seed, size)
    with new_folder(folder) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
    return folder
