"""The one place where prompts and completions become token ids, and token ids text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.errors import PreflabError
from preflab.records import Prompt

WORD = "a"
"""Any word: what a tokenizer does with the space after it, it does after the prompt's last word."""


def prompt_ids(tokenizer: Any, prompt: Prompt) -> tuple[int, ...]:
    """What the model reads before it writes; no end token, and never two BOS.

    Plain text begins with BOS where the tokenizer puts one. A conversation is what the tokenizer's chat template makes
    of it, up to where the assistant speaks; the template alone says whether it begins with BOS.

    Raises:
        PreflabError: a conversation without a chat template, a template that refuses it, or no tokens at all.
    """
    if prompt.messages:
        ids = list(tokenizer(_conversation(tokenizer, prompt), add_special_tokens=False)["input_ids"])
    else:
        ids = _with_its_start(tokenizer, prompt.text)
    while tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2:
        ids = ids[1:]
    if not ids:
        raise PreflabError(
            f"prompt {prompt.id}: no tokens",
            "a prompt with at least one token",
            "give it a text, or use a tokenizer that adds a BOS token",
        )
    return tuple(ids)


def fitting_prompt_ids(
    tokenizer: Any, prompts: Sequence[Prompt], *, max_new_tokens: int, context_length: int | None
) -> list[tuple[int, ...]]:
    """`prompt_ids` of every prompt, refusing what leaves no room for its completion before anything is written.

    Raises:
        PreflabError: a prompt and max_new_tokens are together longer than the context; the prompt is named by its line.
    """
    found = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    for prompt, ids in zip(prompts, found, strict=True):
        if context_length and len(ids) + max_new_tokens > context_length:
            raise PreflabError(
                f"{prompt.source or prompt.id}: a prompt of {len(ids)} tokens and max_new_tokens {max_new_tokens}",
                f"together at most {context_length}, the model's context",
                "shorten the prompt or lower max_new_tokens",
            )
    return found


def completion_ids(tokenizer: Any, text: str, *, add_eos: bool) -> tuple[int, ...]:
    """Tokens of a completion as they follow a prompt: no BOS; the end token if asked for and not there already.

    A tokenizer of SentencePiece's kind puts a space before every text. A completion that brings its own gets no second
    one: its tokens are those that stand after another word.

    Raises:
        PreflabError: an end token is asked for, but the tokenizer has none.
    """
    ids = _after_a_word(tokenizer, text) if text.startswith(" ") else _plain(tokenizer, text)
    if not add_eos:
        return ids
    if tokenizer.eos_token_id is None:
        raise PreflabError(
            "the tokenizer has no end-of-sequence token (eos_token)",
            "one, so that completions can end",
            'add "eos_token" to tokenizer_config.json in the model folder',
        )
    return ids if ids[-1:] == (tokenizer.eos_token_id,) else (*ids, tokenizer.eos_token_id)


def _plain(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _after_a_word(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Tokens of a text as they follow a word; as they are alone where the word and the text melt into one token."""
    word, both = _plain(tokenizer, WORD), _plain(tokenizer, WORD + text)
    return both[len(word) :] if both[: len(word)] == word else _plain(tokenizer, text)


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, special tokens left out, spaces as they are."""
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def completion_text(tokenizer: Any, ids: Sequence[int], stop_token_ids: Sequence[int]) -> str:
    """The text of a sampled completion, without the stop token that ended it (some models end with an ordinary one)."""
    return decode(tokenizer, ids[:-1] if ids and ids[-1] in stop_token_ids else ids)


def _with_its_start(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text with the special ones that the tokenizer puts before it, without those it puts after it."""
    plain = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    full = list(tokenizer(text)["input_ids"])
    if not plain:
        return [tokenizer.bos_token_id] if full[:1] == [tokenizer.bos_token_id] else []
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[: start + len(plain)]
    return full


def _conversation(tokenizer: Any, prompt: Prompt) -> str:
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise PreflabError(
            f"prompt {prompt.id} is a conversation, but the tokenizer has no chat template",
            "plain text prompts, or a tokenizer with a chat template",
            "lay a chat_template.jinja into the model folder, or write the prompts as text",
        )
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise PreflabError(
            f"prompt {prompt.id}: the chat template refuses the conversation ({error})",
            "roles in the order that the model's template takes",
            "look at its turns: many templates want user and assistant to alternate, and some know no system turn",
        ) from error
