"""An exchange through templates of many families: prompt, answer and end, letter for letter as worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chat_templates import (
    BE_KIND,
    BY_NAME,
    CHATML,
    CLOSED_TAG,
    FAMILIES,
    HELLO,
    HI,
    OPENED,
    SWITCHED,
    Family,
    byte_tokenizer,
    configured_ids,
)
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.records import Completion, Message, Prompt, Span, ToolCall, spans_of_turns

WITH_TEMPLATE = [family for family in FAMILIES if family.template]


def renderer_of(family: Family) -> Renderer:
    tokenizer = byte_tokenizer(family)
    return Renderer(tokenizer, configured_ids(family, tokenizer))


def decoded(renderer: Renderer, ids: Any) -> str:
    return renderer.tokenizer.decode(list(ids))


def completion(prompt: Prompt, *turns: Message, **other: Any) -> Completion:
    return Completion.make(prompt.id, "", "m", spans=spans_of_turns(turns), **other)


def families(chosen: list[Family]) -> Any:
    return pytest.mark.parametrize("family", chosen, ids=[family.name for family in chosen])


@families(WITH_TEMPLATE)
def test_prompt_and_answer_are_what_the_template_writes(family: Family) -> None:
    renderer, prompt = renderer_of(family), Prompt.make(messages=(HI,))
    sequence = renderer.sequence(prompt, completion(prompt, HELLO))
    assert decoded(renderer, sequence.prompt_ids) == family.prompt
    assert decoded(renderer, sequence.completion_ids) == family.answer
    assert sequence.policy_tokens is None


@families(WITH_TEMPLATE)
def test_the_turn_end_is_learned_and_stopped_at(family: Family) -> None:
    renderer, prompt = renderer_of(family), Prompt.make(messages=(HI,))
    end = renderer.tokenizer.convert_tokens_to_ids(family.end)
    ids = renderer.completion_ids(prompt, "Hello")
    assert ids[-1] == end
    assert end in renderer.stop_token_ids
    assert not set(ids[:-1]) & set(renderer.stop_token_ids)


@families(WITH_TEMPLATE)
def test_ids_equal_the_templates_own_up_to_the_end(family: Family) -> None:
    renderer = renderer_of(family)
    turns = [HI, HELLO, Message("user", "And?")]
    turns = [BE_KIND, *turns] if family.system else turns
    prompt = Prompt.make(messages=tuple(turns))
    sequence = renderer.sequence(prompt, completion(prompt, Message("assistant", "Bye")))
    messages = [{"role": turn.role, "content": turn.content} for turn in (*turns, Message("assistant", "Bye"))]
    own = renderer.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    asked = renderer.tokenizer.apply_chat_template(
        messages[:-1], tokenize=True, return_dict=False, add_generation_prompt=True
    )
    assert sequence.prompt_ids == tuple(asked)
    if family.name in ("falcon", "unclosed"):  # it ends no last turn: the end is ours, or the next turn's mark
        assert (*sequence.prompt_ids, *sequence.completion_ids[:-1]) == tuple(own)
    elif family.name == "mistral with system":  # it writes the system's turn only where the user has the last word
        assert decoded(renderer, sequence.completion_ids) == "Bye</s>"
    else:
        ids = (*sequence.prompt_ids, *sequence.completion_ids)
        assert ids == tuple(own)[: len(ids)]


@families(WITH_TEMPLATE)
def test_words_come_back_and_become_the_same_tokens(family: Family) -> None:
    renderer, prompt = renderer_of(family), Prompt.make(messages=(HI,))
    for words in ("Hello", "Two\n\nlines: é, 7.", "*"):
        ids = renderer.completion_ids(prompt, words)
        assert renderer.text(prompt, ids) == words
        sampled = Completion.make(prompt.id, words, "m", token_ids=ids)
        assert renderer.spells(prompt, sampled)
        assert renderer.sequence(prompt, sampled).completion_ids == ids


@families(WITH_TEMPLATE)
def test_text_and_sampled_tokens_are_one_to_a_reward_model_whatever_stopped_them(family: Family) -> None:
    renderer, prompt = renderer_of(family), Prompt.make(messages=(HI,))
    from_text = renderer.completion_ids(prompt, "Hello")
    for stop in renderer.stop_token_ids:
        sampled = (*from_text[:-1], stop)
        ends_calls = renderer.tokenizer.convert_ids_to_tokens(stop) == "<|observation|>"  # these may be a call
        assert renderer.closed(prompt, sampled) == (sampled if ends_calls else from_text)
        assert renderer.text(prompt, sampled) == "Hello"
    assert renderer.closed(prompt, from_text[:-1]) == from_text[:-1]  # cut by the limit: it has no end


def test_a_reply_without_its_close_gets_it() -> None:
    # ` Hello</s>` sampled from a model that leaves out the space before the end
    renderer, prompt = renderer_of(BY_NAME["llama2"]), Prompt.make(messages=(HI,))
    ids = renderer.completion_ids(prompt, "Hello")
    assert renderer.closed(prompt, (*ids[:-2], ids[-1])) == ids


@families(WITH_TEMPLATE)
def test_what_was_cut_has_no_end(family: Family) -> None:
    renderer, prompt = renderer_of(family), Prompt.make(messages=(HI,))
    cut = renderer.sequence(prompt, completion(prompt, HELLO, finish_reason="length"))
    whole = renderer.completion_ids(prompt, "Hello")
    assert cut.completion_ids == whole[: len(cut.completion_ids)]
    assert decoded(renderer, cut.completion_ids).endswith("Hello")


def test_plain_text_ends_with_the_tokenizers_end() -> None:
    for name in ("chatml", "no template"):
        renderer, prompt = renderer_of(BY_NAME[name]), Prompt.make(text="Q: hi A:")
        assert decoded(renderer, renderer.prompt_ids(prompt)) == "Q: hi A:"
        assert decoded(renderer, renderer.completion_ids(prompt, " monday")) == f" monday{BY_NAME[name].eos}"
        assert renderer.closed(prompt, (*renderer.joining.ids(" x"), renderer.stop_token_ids[-1])) == (
            renderer.completion_ids(prompt, " x")
        )


def test_a_system_turn_that_the_template_refuses_is_named_by_line() -> None:
    prompt = Prompt.make(messages=(BE_KIND, HI), source="rows.jsonl, line 4")
    with pytest.raises(PreflabError, match=r"rows.jsonl, line 4: .*System role not supported"):
        renderer_of(BY_NAME["gemma"]).prompt_ids(prompt)


def test_a_turn_that_the_template_leaves_out_is_refused() -> None:
    lost = Family("lost", CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"),
                  BY_NAME["chatml"].special, "<|im_end|>", "", "", "")  # fmt: skip
    prompt = Prompt.make(messages=(BE_KIND, HI), source="rows.jsonl, line 2")
    with pytest.raises(PreflabError, match="line 2: .*does not write turn 1, the system's"):
        renderer_of(lost).prompt_ids(prompt)


def test_a_completion_that_holds_an_end_which_is_no_special_token_is_refused() -> None:
    # What is special is text there (test_conversations_marks.py); a token added as a word cannot be spelled otherwise.
    tokenizer = byte_tokenizer(replace(BY_NAME["chatml"], special=("<|im_start|>",)))
    tokenizer.add_tokens(["<|im_end|>"])
    renderer, prompt = Renderer(tokenizer), Prompt.make(messages=(HI,), source="rows.jsonl, line 3")
    with pytest.raises(PreflabError, match=r"line 3: .*'<\|im_end\|>', which ends the assistant's turn"):
        renderer.completion_ids(prompt, "Hello<|im_end|>\n<|im_start|>user\nMore")


def test_a_template_without_a_generation_prompt_gets_the_header_into_the_prompt() -> None:
    silent = CHATML.partition("{% if add_generation_prompt %}")[0]
    renderer = renderer_of(Family("silent", silent, BY_NAME["chatml"].special, "<|im_end|>", "", "", ""))
    prompt = Prompt.make(messages=(HI,))
    sequence = renderer.sequence(prompt, completion(prompt, HELLO))
    assert decoded(renderer, sequence.prompt_ids) == BY_NAME["chatml"].prompt
    assert decoded(renderer, sequence.completion_ids) == "Hello<|im_end|>"


# Thinking


@pytest.mark.parametrize(
    "turn",
    [Message("assistant", "monday", reasoning="hm"), Message("assistant", "<think>\nhm\n</think>\n\nmonday")],
    ids=["reasoning_content", "in the words"],
)
def test_thinking_is_written_once(turn: Message) -> None:
    for template, opened in ((BY_NAME["thinking"].template, ""), (OPENED, "<think>\n")):
        family = Family("t", template, BY_NAME["chatml"].special, "<|im_end|>", "", "", "")
        renderer, prompt = renderer_of(family), Prompt.make(messages=(HI,))
        sequence = renderer.sequence(prompt, completion(prompt, turn))
        whole = decoded(renderer, (*sequence.prompt_ids, *sequence.completion_ids))
        assert whole.endswith("<|im_start|>assistant\n<think>\nhm\n</think>\n\nmonday<|im_end|>")
        assert whole.count("<think>") == 1
        assert decoded(renderer, sequence.prompt_ids).endswith(f"assistant\n{opened}")
        # what people read has its opening tag, and becomes the same tokens again
        words = renderer.text(prompt, sequence.completion_ids)
        assert words == "<think>\nhm\n</think>\n\nmonday"
        assert renderer.completion_ids(prompt, words) == sequence.completion_ids


def test_an_answer_without_thinking_after_an_opened_one_is_refused() -> None:
    renderer = renderer_of(Family("t", OPENED, BY_NAME["chatml"].special, "<|im_end|>", "", "", ""))
    prompt = Prompt.make(messages=(HI,), source="rows.jsonl, line 5")
    with pytest.raises(PreflabError, match="line 5: .*opens <think> .* does not think") as caught:
        renderer.completion_ids(prompt, "monday")
    assert "enable_thinking" in caught.value.do


def test_thinking_that_a_template_knows_nothing_of_is_refused_and_in_words_stays() -> None:
    renderer, prompt = renderer_of(BY_NAME["chatml"]), Prompt.make(messages=(HI,), source="rows.jsonl, line 6")
    with pytest.raises(PreflabError, match="line 6: the chat template does not write the completion's thinking"):
        renderer.sequence(prompt, completion(prompt, Message("assistant", "monday", reasoning="hm")))
    ids = renderer.completion_ids(prompt, "<think>hm</think>monday")
    assert decoded(renderer, ids) == "<think>hm</think>monday<|im_end|>"


def test_a_template_that_takes_thinking_out_of_answers_gets_it_as_the_model_wrote_it() -> None:
    strips = CHATML.replace("{{ m.content }}", "{{ m.content.split('</think>')[-1] }}")
    renderer = renderer_of(Family("strips", strips, BY_NAME["chatml"].special, "<|im_end|>", "", "", ""))
    prompt = Prompt.make(messages=(HI,))
    assert decoded(renderer, renderer.completion_ids(prompt, "<think>hm</think>monday")) == (
        "<think>hm</think>monday<|im_end|>"
    )


def test_the_templates_own_arguments_come_from_a_column() -> None:
    switch = CHATML.replace(
        "<|im_start|>assistant\n", "<|im_start|>assistant\n{% if not enable_thinking %}<no>{% endif %}"
    )
    renderer = renderer_of(Family("switch", switch, BY_NAME["chatml"].special, "<|im_end|>", "", "", ""))
    thinking = Prompt.make(messages=(HI,), columns={"chat_template_kwargs": {"enable_thinking": True}})
    assert decoded(renderer, renderer.prompt_ids(thinking)).endswith("assistant\n")
    assert decoded(renderer, renderer.prompt_ids(Prompt.make(messages=(HI,)))).endswith("assistant\n<no>")
    wrong = Prompt.make(messages=(HI,), columns={"chat_template_kwargs": {"tokenize": True}}, source="r, line 1")
    with pytest.raises(PreflabError, match="line 1: the column `chat_template_kwargs`"):
        renderer.prompt_ids(wrong)


# Tools

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = Message("assistant", "", tool_calls=(ToolCall("weather", '{"city": "Rome", "now": true}', "c1"),))
ASKS = Message("user", "What is the weather in Rome?")
RESULT = Message("tool", "sunny", name="weather", tool_call_id="c1")
WITH_TOOLS = "{% for t in tools or [] %}[tool {{ t.function.name }}]{% endfor %}" + str(BY_NAME["thinking"].template)


def tool_family(template: str = WITH_TOOLS) -> Family:
    return Family("tools", template, BY_NAME["chatml"].special, "<|im_end|>", "", "", "")


def test_tools_calls_and_results_are_rendered() -> None:
    renderer = renderer_of(tool_family())
    prompt = Prompt.make(messages=(HI,), columns={"tools": TOOLS})
    sequence = renderer.sequence(prompt, completion(prompt, CALL))
    assert decoded(renderer, sequence.prompt_ids).startswith("[tool weather]<|im_start|>user")
    assert decoded(renderer, sequence.completion_ids) == (
        '<think>\n\n</think>\n\n<tool_call>weather {"city": "Rome", "now": true}</tool_call><|im_end|>'
    )
    after = Prompt.make(messages=(HI, CALL, RESULT), columns={"tools": TOOLS})
    text = decoded(renderer, renderer.prompt_ids(after))
    assert '<tool_call>weather {"city": "Rome", "now": true}</tool_call><|im_end|>\n<|im_start|>tool\nsunny' in text


def test_tools_as_json_text_are_the_same_tools() -> None:
    renderer = renderer_of(tool_family())
    as_text = '[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]'
    ids = [renderer.prompt_ids(Prompt.make(messages=(HI,), columns={"tools": t})) for t in (TOOLS, as_text)]
    assert ids[0] == ids[1]
    assert renderer.prompt_ids(Prompt.make(messages=(HI,), columns={"tools": "[]"})) == (
        renderer.prompt_ids(Prompt.make(messages=(HI,)))
    )
    with pytest.raises(PreflabError, match="the column `tools` is not a list of objects"):
        renderer.prompt_ids(Prompt.make(messages=(HI,), columns={"tools": "weather"}))


def test_a_template_that_wants_a_calls_arguments_as_text_gets_them_so() -> None:
    # Written as an object they would be Python's repr: {'city': 'Rome', 'now': True}
    template = WITH_TOOLS.replace("(c.function.arguments | tojson)", "c.function.arguments | string")
    renderer, prompt = renderer_of(tool_family(template)), Prompt.make(messages=(HI,))
    text = decoded(renderer, renderer.sequence(prompt, completion(prompt, CALL)).completion_ids)
    assert '<tool_call>weather {"city": "Rome", "now": true}</tool_call>' in text


@pytest.mark.parametrize(
    ("messages", "columns", "answer", "what"),
    [
        ((HI,), {"tools": TOOLS}, HELLO, "the tool weather"),
        ((HI, CALL, RESULT), {}, HELLO, "the call of weather"),
        ((HI,), {}, CALL, "the call of weather"),
        ((ASKS,), {"tools": TOOLS}, HELLO, "the tool weather"),
        ((ASKS, CALL, RESULT), {}, HELLO, "the call of weather"),
        ((ASKS,), {}, CALL, "the call of weather"),
        ((ASKS,), {}, replace(CALL, content="I ask the weather."), "the call of weather"),
    ],
    ids=["tools", "a call in the prompt", "a call in the completion", *(["its word stands elsewhere"] * 4)],
)
def test_what_a_template_without_tools_would_drop_is_refused(
    messages: Any, columns: Any, answer: Message, what: str
) -> None:
    # It takes tool turns and empty contents, and writes no call.
    renderer = renderer_of(BY_NAME["chatml"])
    prompt = Prompt.make(messages=messages, columns=columns, source="rows.jsonl, line 9")
    with pytest.raises(PreflabError, match=f"line 9: .*does not write {what}"):
        renderer.sequence(prompt, completion(prompt, answer))


def test_a_turn_whose_words_stand_in_another_is_missed() -> None:
    silent = str(BY_NAME["gemma"].template).replace("{{ raise_exception('System role not supported') }}", "")
    silent = silent.replace("{% endif %}<start_of_turn>", "{% else %}<start_of_turn>", 1)
    silent = silent.replace("<end_of_turn>\n{% endfor %}", "<end_of_turn>\n{% endif %}{% endfor %}")
    renderer = renderer_of(replace(BY_NAME["gemma"], template=silent))
    turns = (Message("system", "Be kind"), Message("user", "Be kind to me"))
    with pytest.raises(PreflabError, match="line 4: .*does not write turn 1, the system's"):
        renderer.prompt_ids(Prompt.make(messages=turns, source="rows.jsonl, line 4"))


@pytest.mark.parametrize("prompt", [(HI,), (HI, CALL, RESULT)], ids=["completion", "prompt"])
def test_a_template_that_writes_a_calls_name_alone_is_refused(prompt: tuple[Message, ...]) -> None:
    nameless = WITH_TOOLS.replace("c.function.name + ' ' + (c.function.arguments | tojson)", "c.function.name")
    renderer = renderer_of(tool_family(nameless))
    asked = Prompt.make(messages=prompt, source="rows.jsonl, line 5")
    with pytest.raises(PreflabError, match="line 5: .*does not write the arguments of the call of weather"):
        renderer.sequence(asked, completion(asked, CALL if len(prompt) == 1 else HELLO))


def test_a_call_that_comes_after_the_turns_end_is_refused() -> None:
    late = WITH_TOOLS.replace("{{- '<|im_end|>\n' }}", "").replace("{{- words }}", "{{- words + '<|im_end|>\n' }}")
    renderer, prompt = renderer_of(tool_family(late)), Prompt.make(messages=(HI,), source="rows.jsonl, line 8")
    with pytest.raises(PreflabError, match="line 8: .*does not write the call of weather"):
        renderer.sequence(prompt, completion(prompt, CALL))


def names_said(renderer: Renderer, caplog: pytest.LogCaptureFixture, *turns: Message, line: str) -> list[str]:
    """What is said of names when a prompt is written: never a refusal."""
    caplog.clear()
    renderer.prompt_ids(Prompt.make(messages=turns, source=line))
    return [record.getMessage() for record in caplog.records]


def test_names_that_a_template_does_not_write_are_said_once_per_file(caplog: pytest.LogCaptureFixture) -> None:
    """Of a tool's answer the name is that of the call, which is looked at by itself."""
    renderer, ann = renderer_of(BY_NAME["chatml"]), replace(HI, name="Ann")
    assert names_said(renderer, caplog, HI, line="a.jsonl, line 1") == []
    said = "the model's chat template does not write the name of turn 1, the user's (Ann)"
    after = "names of speakers are left out of this file's conversations"
    assert names_said(renderer, caplog, ann, line="a.jsonl, line 2") == [f"a.jsonl, line 2: {said}: {after}"]
    assert names_said(renderer, caplog, ann, HELLO, HI, line="a.jsonl, line 3") == []
    assert names_said(renderer, caplog, ann, HELLO, ann, line="b.jsonl, line 1") == [
        f"b.jsonl, line 1: {said}: {after}"
    ]
    bob = replace(HELLO, name="Bob")
    prompt = Prompt.make(messages=(HI,), source="c.jsonl, line 1")
    renderer.sequence(prompt, completion(prompt, bob))
    assert "the name of turn 2, the assistant's (Bob)" in caplog.records[-1].getMessage()
    caplog.clear()
    tools = renderer_of(tool_family(WITH_TOOLS))
    tools.prompt_ids(Prompt.make(messages=(HI, CALL, replace(RESULT, name="weather")), source="d.jsonl, line 1"))
    assert not caplog.records


def test_names_that_a_template_writes_are_kept_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    named = str(BY_NAME["chatml"].template).replace(
        "{{ m.role }}", "{{ m.role }}{% if m.name %} {{ m.name }}{% endif %}"
    )
    renderer = renderer_of(replace(BY_NAME["chatml"], template=named))
    assert names_said(renderer, caplog, replace(HI, name="Ann"), line="a.jsonl, line 1") == []


# Several turns


def policy_text(renderer: Renderer, sequence: Any) -> str:
    marks = zip(sequence.completion_ids, sequence.policy_tokens, strict=True)
    return decoded(renderer, [token for token, policy in marks if policy])


def test_of_several_turns_those_of_the_policy_are_marked() -> None:
    renderer = renderer_of(BY_NAME["chatml"])
    prompt = Prompt.make(messages=(HI,))
    turns = (HELLO, Message("user", "And?"), Message("assistant", "Bye"))
    sequence = renderer.sequence(prompt, completion(prompt, *turns))
    assert decoded(renderer, sequence.completion_ids) == (
        "Hello<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\nBye<|im_end|>"
    )
    assert policy_text(renderer, sequence) == "Hello<|im_end|>Bye<|im_end|>"
    spans = (Span.of_turn(turns[0], by_policy=False), *map(Span.of_turn, turns[1:]))
    unlearned = renderer.sequence(prompt, Completion.make(prompt.id, "", "m", spans=spans))
    assert policy_text(renderer, unlearned) == "Bye<|im_end|>"
    with pytest.raises(PreflabError, match="ends with the user's turn"):
        renderer.sequence(prompt, completion(prompt, *turns[:2]))


def test_a_loop_of_tools_stays_as_the_model_wrote_it() -> None:
    # The template writes an empty block of thinking into its last turn alone: sampled, the call had one.
    renderer, prompt = renderer_of(tool_family()), Prompt.make(messages=(HI,), columns={"tools": TOOLS})
    sequence = renderer.sequence(prompt, completion(prompt, CALL, RESULT, Message("assistant", "Sunny.")))
    empty = "<think>\n\n</think>\n\n"
    call = '<tool_call>weather {"city": "Rome", "now": true}</tool_call>'
    assert decoded(renderer, sequence.completion_ids) == (
        f"{empty}{call}<|im_end|>\n<|im_start|>tool\nsunny<|im_end|>\n<|im_start|>assistant\n{empty}Sunny.<|im_end|>"
    )
    assert policy_text(renderer, sequence) == f"{empty}{call}<|im_end|>{empty}Sunny.<|im_end|>"


# Beginnings and templates in other forms


def test_an_assistants_turn_is_continued_where_the_row_says_so() -> None:
    begun = (HI, Message("assistant", "Hel"))
    for name, answer in (("chatml", "lo<|im_end|>"), ("llama2", "lo </s>")):
        renderer = renderer_of(BY_NAME[name])
        with pytest.raises(PreflabError, match="ends with the assistant's turn") as caught:
            renderer.prompt_ids(Prompt.make(messages=begun))
        assert "continue_final_message" in caught.value.do
        prompt = Prompt.make(messages=begun, columns={"continue_final_message": True})
        assert decoded(renderer, renderer.prompt_ids(prompt)).endswith("Hel")
        ids = renderer.completion_ids(prompt, "lo")
        assert decoded(renderer, ids) == answer
        assert renderer.text(prompt, ids) == "lo"


def test_named_templates_need_a_default() -> None:
    tokenizer = byte_tokenizer(BY_NAME["chatml"])
    tokenizer.chat_template = {"default": CHATML, "tool_use": WITH_TOOLS}
    prompt = Prompt.make(messages=(HI,), columns={"tools": TOOLS})
    assert decoded(Renderer(tokenizer), Renderer(tokenizer).prompt_ids(prompt)).startswith("[tool weather]")
    tokenizer.chat_template = {"rag": CHATML}
    with pytest.raises(PreflabError, match="refuses the conversation") as caught:
        Renderer(tokenizer).prompt_ids(Prompt.make(messages=(HI,)))
    assert "`default`" in caught.value.do


TURNS_APART = "{% if messages[0].role == messages[1].role %}{{ raise_exception('must alternate') }}{% endif %}" + CHATML
NO_TOOLS = "{% if tools %}{{ raise_exception('no tools') }}{% endif %}" + CHATML


@pytest.mark.parametrize(
    ("template", "roles", "said", "do"),
    [
        (BY_NAME["gemma"].template, ("system", "user"), "(System role not supported)", "move its text into the first"),
        (TURNS_APART, ("user", "user"), "(must alternate)", "join turns of the same role that follow each other"),
        (NO_TOOLS, ("user",), "(no tools)", "use a model whose template supports tools"),
        ("{{ raise_exception('never') }}", ("user",), "(never)", "correct the turns of the row"),
    ],
)
def test_what_a_template_refuses_is_told_in_its_own_words_with_the_cure(
    template: str, roles: tuple[Any, ...], said: str, do: str
) -> None:
    tokenizer = byte_tokenizer(BY_NAME["chatml"])
    tokenizer.chat_template = template
    turns = tuple(Message(role, f"Hello {place}.") for place, role in enumerate(roles))
    columns = {"tools": TOOLS} if template is NO_TOOLS else {}
    with pytest.raises(PreflabError, match="the chat template refuses the conversation") as caught:
        Renderer(tokenizer).template.text(turns, Prompt.make(messages=turns, columns=columns), opened=True)
    assert caught.value.found.endswith(said)
    assert caught.value.do.startswith(do)
    assert len(caught.value.do) < 90


def test_a_template_for_parts_of_content_gets_parts() -> None:
    parts = CHATML.replace("{{ m.content }}", "{% for part in m.content %}{{ part.text }}{% endfor %}")
    renderer = renderer_of(Family("parts", parts, BY_NAME["chatml"].special, "<|im_end|>", "", "", ""))
    prompt = Prompt.make(messages=(HI,))
    assert decoded(renderer, renderer.prompt_ids(prompt)) == BY_NAME["chatml"].prompt
    assert decoded(renderer, renderer.completion_ids(prompt, "Hello")) == "Hello<|im_end|>"


THOUGHTFUL = Message("assistant", "<think>\nhm\n</think>\n\nmonday")


def switched(template: str, **arguments: bool) -> tuple[Renderer, Prompt]:
    """A renderer, and a prompt whose row gives the template arguments."""
    special = BY_NAME["chatml"].special if template is SWITCHED else BY_NAME["phi"].special
    end = "<|im_end|>" if template is SWITCHED else "<|end|>"
    renderer = renderer_of(Family("t", template, special, end, "", "", ""))
    return renderer, Prompt.make(messages=(HI,), columns={"chat_template_kwargs": arguments}, source="r, line 1")


def test_thinking_that_a_rows_argument_opens_is_opened_once() -> None:
    renderer, prompt = switched(SWITCHED, enable_thinking=True)
    sequence = renderer.sequence(prompt, completion(prompt, THOUGHTFUL))
    assert decoded(renderer, sequence.prompt_ids).endswith("<|im_start|>assistant\n<think>\n")
    assert decoded(renderer, sequence.completion_ids) == "hm\n</think>\n\nmonday<|im_end|>"
    reasoned = completion(prompt, Message("assistant", "monday", reasoning="hm"))
    assert renderer.sequence(prompt, reasoned).completion_ids == sequence.completion_ids
    assert renderer.text(prompt, sequence.completion_ids) == THOUGHTFUL.content
    answer = renderer.answer_ids(prompt, "monday")
    assert decoded(renderer, answer) == "\n</think>\n\nmonday"
    assert renderer.opens_thinking(prompt)
    assert not renderer.opens_thinking(Prompt.make(messages=(HI,)))


def test_an_answer_without_thinking_is_refused_where_a_rows_argument_opens_it() -> None:
    renderer, prompt = switched(SWITCHED, enable_thinking=True)
    with pytest.raises(PreflabError, match="line 1: the chat template opens <think> .* does not think"):
        renderer.sequence(prompt, completion(prompt, HELLO))
    plain = Prompt.make(messages=(HI,))
    assert decoded(renderer, renderer.sequence(plain, completion(plain, HELLO)).completion_ids) == "Hello<|im_end|>"


def test_thinking_is_refused_where_a_rows_argument_or_system_turn_closes_it() -> None:
    renderer, by_argument = switched(SWITCHED, enable_thinking=False)
    by_system = Prompt.make(messages=(Message("system", "/no_think"), HI))
    for prompt in (by_argument, by_system):
        assert decoded(renderer, renderer.prompt_ids(prompt)).endswith("<think>\n\n</think>\n\n")
        assert decoded(renderer, renderer.completion_ids(prompt, "Hello")) == "Hello<|im_end|>"
        with pytest.raises(PreflabError, match="closes thinking, and the completion thinks"):
            renderer.sequence(prompt, completion(prompt, THOUGHTFUL))


def test_thinking_is_refused_where_the_template_would_write_it_after_closing_it() -> None:
    family = BY_NAME["thinking"]
    template = family.template + "{% if add_generation_prompt and quiet %}<think>\n\n</think>\n\n{% endif %}"
    renderer = renderer_of(replace(family, template=template))
    prompt = Prompt.make(messages=(HI,), columns={"chat_template_kwargs": {"quiet": True}})
    assert decoded(renderer, renderer.completion_ids(prompt, "Hello")) == "Hello<|im_end|>"
    with pytest.raises(PreflabError, match="closes thinking, and the completion thinks"):
        renderer.sequence(prompt, completion(prompt, THOUGHTFUL))


def test_an_argument_that_opens_thinking_lets_a_template_think_that_closes_it_by_itself() -> None:
    renderer, prompt = switched(CLOSED_TAG, thinking=True)
    own = completion(prompt, Message("assistant", "<think>hm</think>monday"))
    ids = renderer.sequence(prompt, own).completion_ids
    assert decoded(renderer, ids) == "hm</think>monday<|end|>"
    assert renderer.text(prompt, ids) == "<think>hm</think>monday"
    assert decoded(renderer, renderer.completion_ids(prompt, "Hello")) == "</think>Hello<|end|>"
    closed = Prompt.make(messages=(HI,))
    assert decoded(renderer, renderer.completion_ids(closed, "Hello")) == "Hello<|end|>"
    with pytest.raises(PreflabError, match="closes thinking, and the completion thinks"):
        renderer.sequence(closed, own)


def test_thinking_that_never_ends_is_judged_as_it_was_sampled() -> None:
    renderer, prompt = switched(CLOSED_TAG, thinking=True)
    sampled = renderer.joining.ids("hm<|end|>")
    text = renderer.text(prompt, sampled)
    with pytest.raises(PreflabError, match="opens thinking and does not close it"):
        renderer.completion_ids(prompt, text)
    assert renderer.scored(prompt, Completion.make(prompt.id, text, "m")).completion_ids == sampled
