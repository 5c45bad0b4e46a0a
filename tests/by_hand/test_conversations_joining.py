"""A completion's tokens where the tokenizer joins letters and puts spaces: prompt and completion stand side by side."""

from __future__ import annotations

import pytest

from chat_templates import BY_NAME
from preflab.conversations.joining import Joining, decode
from preflab.conversations.renderer import Renderer
from preflab.records import Completion, Message, Prompt
from tokenizers_like import KINDS, tokenizer_like

PAIRS = [
    ("Line.\n", "Hello"),
    ("Q: hello A:", " monday"),
    ("Q: hello A:", "monday"),
    ("the", "  time"),
    ("Once upon a ti", "me there"),
    ("a\n", "\nb"),
    ("a", " "),
]
CHAT = ["llama2", "mistral", "chatml", "gemma"]


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_prompt_and_completion_give_both_texts_letter_for_letter(kind: str, end: bool) -> None:
    tokenizer = tokenizer_like(kind, end=end)
    renderer = Renderer(tokenizer)
    for before, text in PAIRS:
        prompt = Prompt.make(text=before)
        ids = renderer.completion_ids(prompt, text)
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in renderer.prompt_ids(prompt)
        assert renderer.text(prompt, ids) == text
        assert decode(tokenizer, (*renderer.prompt_ids(prompt), *ids)) == before + text


@pytest.mark.parametrize("kind", KINDS)
def test_a_merge_does_not_reach_from_the_completion_into_the_prompt(kind: str) -> None:
    tokenizer = tokenizer_like(kind)
    joining = Joining(tokenizer)
    alone, both = joining.ids("Once upon a ti"), joining.ids("Once upon a time")
    assert both[: len(alone)] != alone, "the word is one token, else this shows nothing"
    assert tokenizer.convert_ids_to_tokens(list(joining.continued("Once upon a ti", "me"))) in (["me"], ["m", "e"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_before_the_last_mark_changes_no_token(kind: str) -> None:
    # `continued` looks at the text from the last special token on; this is what makes that right.
    tokenizer = tokenizer_like(kind, special=("<|im_start|>", "<|im_end|>"))
    joining = Joining(tokenizer)
    for text in ("hello there", " hello", "\nhello", "<|im_start|>user\nhello"):
        whole = joining.ids(f"the little cat<|im_end|>\n<|im_start|>assistant\n{text}")
        far = joining.ids("the little cat<|im_end|>\n<|im_start|>assistant\n")
        assert joining.continued("the little cat<|im_end|>\n<|im_start|>assistant\n", text) == whole[len(far) :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CHAT)
def test_turns_are_the_templates_own_and_come_back(name: str, kind: str) -> None:
    family = BY_NAME[name]
    special = tuple(token for token in (*family.special, family.eos) if token not in ("<s>", "</s>"))
    tokenizer = tokenizer_like(kind, special=special, template=family.template)
    tokenizer.eos_token = family.eos
    renderer = Renderer(tokenizer, [tokenizer.convert_tokens_to_ids(token) for token in family.configured])
    prompt = Prompt.make(messages=(Message("user", "hello there"),))
    for words in ("Hello", "Once upon a time", "* a\n* b", "a  b", "monday"):
        turns = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": words}]
        own = tuple(tokenizer.apply_chat_template(turns, return_dict=False))
        sequence = renderer.sequence(prompt, Completion.make(prompt.id, words, "m"))
        ids = (*sequence.prompt_ids, *sequence.completion_ids)
        assert decode(tokenizer, ids, special=True) == decode(tokenizer, own[: len(ids)], special=True)
        if renderer.joining.is_exact:
            assert ids == own[: len(ids)]
        assert renderer.text(prompt, sequence.completion_ids) == words
