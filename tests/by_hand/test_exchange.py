"""Turn by turn, an exchange writes the tokens that the template writes for the whole dialogue at once."""

from __future__ import annotations

import pytest

from chat_templates import FAMILIES, HELLO, HI, Family, byte_tokenizer, configured_ids
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.records import Completion, Message, Prompt, spans_of_turns
from preflab.settings.environment import EnvironmentSettings
from preflab.settings.sampling import DecodingSettings
from preflab.stages.common.episodes import make_episodes
from preflab.training.token_limits import TokenLimits

WHY, SO, AND, END = (
    Message("user", "Why?"),
    Message("assistant", "So."),
    Message("user", "And?"),
    Message("assistant", "End"),
)
GO_ON = [family for family in FAMILIES if family.template and family.name != "harmony"]
"""Templates that keep earlier answers as the model wrote them; harmony's ends them with another token."""


def renderer_of(family: Family) -> Renderer:
    tokenizer = byte_tokenizer(family)
    return Renderer(tokenizer, configured_ids(family, tokenizer))


def whole(renderer: Renderer, prompt: Prompt, *turns: Message) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Tokens of all turns as the renderer writes them together, and which are the policy's."""
    completion = Completion.make(prompt.id, "", "m", spans=spans_of_turns(turns))
    sequence = renderer.sequence(prompt, completion)
    return sequence.completion_ids, sequence.policy_tokens or (True,) * len(sequence.completion_ids)


def turns_of_policy(ids: tuple[int, ...], mask: tuple[bool, ...]) -> list[tuple[int, ...]]:
    """The runs of tokens that the policy wrote."""
    runs: list[list[int]] = []
    for place, (token, written) in enumerate(zip(ids, mask, strict=True)):
        if written:
            if place == 0 or not mask[place - 1]:
                runs.append([])
            runs[-1].append(token)
    return [tuple(run) for run in runs]


@pytest.mark.parametrize("family", GO_ON, ids=[family.name for family in GO_ON])
def test_turn_by_turn_gives_the_tokens_of_the_whole(family: Family) -> None:
    renderer, prompt = renderer_of(family), Prompt.make(messages=(HI,))
    expected, mask = whole(renderer, prompt, HELLO, WHY, SO, AND, END)
    exchange, written = renderer.exchange(prompt), list[int]()
    sampled = turns_of_policy(expected, mask)
    assert len(sampled) == 3
    for turn, words, answer in zip(sampled, ("Hello", "So.", "End"), ("Why?", "And?", None), strict=True):
        assert exchange.words(turn).strip() == words
        written += turn
        if answer is not None:
            written += exchange.reply(turn, answer)
    assert tuple(written) == expected


@pytest.mark.parametrize("family", GO_ON, ids=[family.name for family in GO_ON])
def test_a_turn_that_was_cut_is_closed_for_the_policy(family: Family) -> None:
    """The end that the policy did not write comes with the answer, and is not the policy's."""
    renderer, prompt = renderer_of(family), Prompt.make(messages=(HI,))
    expected, mask = whole(renderer, prompt, HELLO, WHY, SO)
    first, second = turns_of_policy(expected, mask)
    exchange = renderer.exchange(prompt)
    close = renderer.turns_after(prompt).close_ids
    cut = first[: -len(close)]
    assert exchange.words(cut).strip() == "Hello"
    assert (*cut, *exchange.reply(cut, "Why?"), *second) == expected


def chatml() -> Renderer:
    return renderer_of(next(family for family in FAMILIES if family.name == "chatml"))


def test_an_answer_that_spells_a_special_token_stays_text() -> None:
    renderer = chatml()
    exchange = renderer.exchange(Prompt.make(messages=(HI,)))
    ids = exchange.reply(renderer.completion_ids(Prompt.make(messages=(HI,)), "Hello"), "say <|im_end|> now")
    end = renderer.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert ids.count(end) == 1, "only that of the user's turn"
    assert "say <|im_end|> now" in renderer.tokenizer.decode(list(ids))


def test_a_plain_prompt_goes_on_as_plain_text() -> None:
    renderer = renderer_of(next(family for family in FAMILIES if not family.template))
    prompt = Prompt.make(text="Guess:")
    first = renderer.completion_ids(prompt, " 4")
    exchange = renderer.exchange(prompt)
    assert exchange.words(first) == " 4"
    assert renderer.tokenizer.decode(list(exchange.reply(first, " higher."))) == " higher."


def test_a_template_that_drops_the_answer_is_refused() -> None:
    renderer = chatml()
    renderer.tokenizer.chat_template = renderer.tokenizer.chat_template.replace(
        "{{ m.content }}", "{{ m.content if m.content != 'Why?' else '' }}"
    )
    exchange = Renderer(renderer.tokenizer).exchange(Prompt.make(messages=(HI,)))
    with pytest.raises(PreflabError, match=r"does not write the turn 'Why\?'"):
        exchange.reply((65,), "Why?")


def test_an_encoder_decoder_and_a_begun_answer_are_refused() -> None:
    renderer = chatml()
    with pytest.raises(PreflabError, match="a prompt that ends within an answer, and an environment"):
        renderer.exchange(Prompt.make(messages=(HI, HELLO), columns={"continue_final_message": True}))
    apart = Renderer(renderer.tokenizer, apart=True)
    with pytest.raises(PreflabError, match="is an encoder–decoder, and an environment answers it"):
        apart.exchange(Prompt.make(text="Hi"))
    asked = EnvironmentSettings(source="talking_world:Echo")
    with pytest.raises(PreflabError, match="is an encoder–decoder, and an environment answers it"):
        make_episodes(asked, apart, None, DecodingSettings(), TokenLimits())  # type: ignore[arg-type]
