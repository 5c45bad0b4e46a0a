"""Turns of a demonstration counted by hand: earlier ones, an opening one, and those that are not to be learned."""

from __future__ import annotations

from typing import Any

from preflab.policy.sft import UNLEARNED, Demonstration, _all_turns, num_policy_tokens
from preflab.records import Completion, Message, Prompt, Span
from preflab.training.batches import TokenSequence


def turns(*roles: str) -> tuple[Message, ...]:
    """One turn of each role, whose words are its place."""
    return tuple(Message(role, str(place)) for place, role in enumerate(roles))  # type: ignore[arg-type]


def demonstration(*roles: str, unlearned: tuple[int, ...] = (), spans: tuple[Span, ...] = ()) -> Demonstration:
    """A conversation of these roles with the completion "last"."""
    prompt = Prompt.make(messages=turns(*roles))
    columns = {UNLEARNED: list(unlearned)} if unlearned else {}
    words = spans or (Span("last"),)
    return Demonstration(prompt, Completion.make(prompt.id, "last", "m", spans=words, columns=columns))


def test_earlier_turns_are_those_before_the_completion() -> None:
    told = demonstration("assistant", "user", "assistant", "user")
    assert told.earlier == (0, 2)
    assert told.num_opening == 1
    assert told.conversation == (*told.prompt.messages, Message("assistant", "last"))
    continued = demonstration("user", "assistant", "user", "assistant")
    assert continued.earlier == (1,), "the last one goes on in the completion"
    assert continued.num_opening == 0
    assert demonstration("assistant").earlier == ()
    plain = Demonstration(Prompt.make("a"), Completion.make("x", "b", "m"))
    assert (plain.conversation, plain.earlier, plain.num_opening) == ((), (), 0)


def test_weightless_turns_are_counted_without_the_opening_one() -> None:
    """Places 2 and 4 of the prompt, and two of the assistant's turns inside the completion; a user's counts nothing."""
    roles = ("assistant", "user", "assistant", "user", "assistant", "user")
    assert demonstration(*roles).num_weightless == 0
    assert demonstration(*roles, unlearned=(0, 2)).num_weightless == 1
    assert demonstration(*roles, unlearned=(2, 4)).num_weightless == 2
    others = (Span("x", by_policy=False), Span("y", by_policy=False, role="user"), Span("w", by_policy=False))
    assert demonstration(*roles, unlearned=(4,), spans=(*others, Span("z"))).num_weightless == 3


def test_tokens_count_where_they_are_learned() -> None:
    sequences = [
        TokenSequence((1,), (2, 3, 4)),
        TokenSequence((1,), (2, 3, 4), (True, False, True)),
        TokenSequence((1,), ()),
    ]
    assert num_policy_tokens(sequences) == 5


def test_learned_turns_are_the_assistants_that_the_policy_wrote() -> None:
    """Turn 1 of the prompt; of the completion what the policy wrote as assistant, not the tool's or a given turn."""
    spans = (
        Span("own"), Span("found", by_policy=True, role="tool"), Span("given", by_policy=False), Span("last"),
    )  # fmt: skip
    seen: list[list[bool]] = []

    class Noting:
        def dialogue(self, prompt: Prompt, turns: object, first: int, flags: list[bool], *, ended: bool) -> str:
            seen.append(flags)
            return f"from turn {first}"

    renderer: Any = Noting()
    told = demonstration("user", "assistant", "user", spans=spans)
    assert _all_turns(renderer, told) == ["from turn 1"]
    assert seen == [[False, True, False, True, False, False, True]]
