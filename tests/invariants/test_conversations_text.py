"""Prompts and completions as token ids: BOS once, no end at the end of a prompt, templates where there is one."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from preflab.conversations.joining import decode
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.records import Message, Prompt

WORDS = ["<pad>", "<s>", "</s>", "hello", "there", "user", "assistant", "system", "."]
PAD, BOS, EOS, HELLO, THERE, USER, ASSISTANT, SYSTEM, DOT = range(9)
TEMPLATE = (
    "{% for m in messages %}{{ m.role }} {{ m.content }} {{ eos_token }} {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
TALK = Prompt.make(messages=(Message("user", "hello there"),))


def word_tokenizer(*, before: str = "<s>", after: str = "", template: str | None = None) -> Any:
    """One token per word, with special tokens before and after every text."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [(token, WORDS.index(token)) for token in (before, after) if token]
    if special:
        tokenizer.post_processor = processors.TemplateProcessing(f"{before} $A {after}".strip(), special_tokens=special)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = template
    return fast


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (BOS, HELLO, THERE)),
        ({"before": ""}, (HELLO, THERE)),
        ({"after": "</s>"}, (BOS, HELLO, THERE)),
        ({"before": "", "after": "</s>"}, (HELLO, THERE)),
    ],
)
def test_a_text_begins_as_the_tokenizer_has_it_and_does_not_end(
    arguments: dict[str, str], expected: tuple[int, ...]
) -> None:
    assert Renderer(word_tokenizer(**arguments)).prompt_ids(Prompt.make(text="hello there")) == expected


def test_a_text_that_brings_its_own_bos_gets_no_second_one() -> None:
    assert Renderer(word_tokenizer()).prompt_ids(Prompt.make(text="<s> hello")) == (BOS, HELLO)
    assert Renderer(word_tokenizer(before="")).prompt_ids(Prompt.make(text="<s> hello")) == (BOS, HELLO)


def test_a_special_token_in_a_text_of_whole_words_is_refused_since_no_other_words_spell_it() -> None:
    prompt = Prompt.make(text="hello </s> there", source="rows.jsonl, line 2")
    with pytest.raises(PreflabError, match="line 2: the text '</s>' is a special token"):
        Renderer(word_tokenizer(after="</s>")).prompt_ids(prompt)


def test_a_conversation_goes_through_the_template_up_to_the_assistants_turn() -> None:
    tokenizer = word_tokenizer(template=TEMPLATE)
    assert Renderer(tokenizer).prompt_ids(TALK) == (USER, HELLO, THERE, EOS, ASSISTANT)
    with_bos = word_tokenizer(template="{{ bos_token }} " + TEMPLATE)
    assert Renderer(with_bos).prompt_ids(TALK) == (BOS, USER, HELLO, THERE, EOS, ASSISTANT)
    assert Renderer(with_bos).prompt_ids(Prompt.make(text="hello")) == (BOS, HELLO)


def test_it_is_what_transformers_makes_of_the_conversation() -> None:
    tokenizer = word_tokenizer(template="{{ bos_token }} " + TEMPLATE)
    messages = [{"role": "system", "content": "."}, {"role": "user", "content": "hello"}]
    prompt = Prompt.make(messages=(Message("system", "."), Message("user", "hello")))
    theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert Renderer(tokenizer).prompt_ids(prompt) == tuple(theirs)


def test_a_conversation_without_a_template_is_refused() -> None:
    with pytest.raises(PreflabError) as error:
        Renderer(word_tokenizer()).prompt_ids(TALK)
    assert "no chat template" in error.value.found
    assert TALK.id in error.value.found


def test_a_template_that_refuses_the_roles_says_so() -> None:
    strict = word_tokenizer(template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(PreflabError, match="roles must alternate"):
        Renderer(strict).prompt_ids(TALK)


def test_a_prompt_without_tokens_is_refused() -> None:
    assert Renderer(word_tokenizer()).prompt_ids(Prompt.make(text="")) == (BOS,)
    with pytest.raises(PreflabError, match="no tokens"):
        Renderer(word_tokenizer(before="")).prompt_ids(Prompt.make(text=""))


def sentencepiece_tokenizer() -> Any:
    """Puts a space before every text, as Llama's tokenizer does; a space on its own is a token too."""
    words = ["▁", "▁a", "▁hello", "hello", "there", "▁there"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="▁"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="▁")


def test_a_completions_own_space_is_not_doubled_by_the_tokenizer() -> None:
    # Words alone: no token for a letter or a line break, so nothing can be given back letter for letter.
    tokenizer = sentencepiece_tokenizer()
    renderer, prompt = Renderer(tokenizer), Prompt.make(text="a")
    assert not renderer.joining.is_exact
    assert tokenizer("a hello there", add_special_tokens=False)["input_ids"] == [1, 2, 5]
    assert renderer.completion_ids(prompt, " hello there", ended=False) == (2, 5)
    assert renderer.completion_ids(prompt, "hello there", ended=False) == (2, 5)


def test_a_completion_has_no_bos_and_one_end_if_it_ended() -> None:
    prompt = Prompt.make(text="there")
    for tokenizer in (word_tokenizer(), word_tokenizer(after="</s>")):
        renderer = Renderer(tokenizer)
        assert renderer.completion_ids(prompt, "hello there", ended=False) == (HELLO, THERE)
        assert renderer.completion_ids(prompt, "hello there") == (HELLO, THERE, EOS)
        assert renderer.completion_ids(prompt, "hello </s>") == (HELLO, EOS)
    tokenizer = word_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(PreflabError, match="no end-of-sequence token"):
        Renderer(tokenizer).completion_ids(prompt, "hello")


def test_texts_lose_special_tokens_and_the_stop_token_alone() -> None:
    tokenizer = word_tokenizer()
    assert decode(tokenizer, (BOS, HELLO, DOT, EOS)) == "hello ."
    renderer, prompt = Renderer(tokenizer, stops=(DOT,)), Prompt.make(text="hello")
    assert renderer.stop_token_ids == (EOS, DOT)
    assert renderer.text(prompt, (HELLO, DOT, THERE, DOT)) == "hello . there"
    assert renderer.text(prompt, (HELLO, DOT, THERE)) == "hello . there"
    assert renderer.text(prompt, ()) == ""
