"""A chat template that never ends, or makes its text grow without end, stops with a sentence within some seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chat_templates import BY_NAME, CHATML, byte_tokenizer
from preflab.conversations import rendering_limits
from preflab.conversations.rendering_limits import EndlessTemplate
from preflab.conversations.template import Template
from preflab.errors import PreflabError
from preflab.records import Message, Prompt

ASKED = Prompt.make(messages=(Message("user", "Hi"),))
ROUNDS = "{% for a in range(99999) %}{% for b in range(99999) %}"
ENDLESS = {
    "loops in loops": ROUNDS + "{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "loops that write": ROUNDS + "{{ b }}{% endfor %}{% endfor %}",
    "loops that filter all": ROUNDS + "{% for c in range(99999) if false %}{% endfor %}{% endfor %}{% endfor %}",
    "a loop over long searches": "{% set all = range(99999) | list %}"
    + ROUNDS
    + "{{ -1 in all }}{% endfor %}{% endfor %}",
    "a loop over long filters": ROUNDS + "{{ range(99999) | sum }}{% endfor %}{% endfor %}",
    "macros that branch": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a recursive loop": "{% for x in [range(99)] recursive %}{% if loop.depth < 40 %}{{ loop([1, 1, 1]) }}{% endif %}"
    "{% endfor %}",
}
TWO = "{% set n = namespace(s='ab') %}"
GROWING = {
    "a text times a number": "{{ 'a' * 10**9 }}",
    "a list times a number": "{{ ([0] * 10**9) | length }}",
    "a text that doubles": TWO + "{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "a sum that doubles": TWO + "{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "a list that doubles": "{% set n = namespace(s=[1]) %}"
    "{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "a power of powers": "{{ 10 ** (10 ** 10) }}",
    "squares of squares": "{% set n = namespace(s=3) %}{% for i in range(99) %}{% set n.s = n.s * n.s %}{% endfor %}",
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "a wide format that is computed": "{{ '%*d' % (1000000000, 1) }}",
    "a wide format as a filter": "{{ '%1000000000d' | format(1) }}",
    "a wide format by a method": "{{ '{:1000000000}'.format(1) }}",
    "a wide center": "{{ 'a' | center(1000000000) }}",
    "a wide method": "{{ 'a'.ljust(1000000000) }}",
    "a replacement that grows": TWO + "{% for i in range(99) %}{% set n.s = n.s.replace('a', 'a' * 9) %}{% endfor %}",
    "many slices": "{{ 'a' | slice(1000000000) | list }}",
}


def tokenizer(template: str) -> Any:
    return byte_tokenizer(replace(BY_NAME["chatml"], template=template))


def seconds_until_refused(template: str, run: Callable[[Callable[[], None]], None]) -> float:
    found: list[BaseException] = []

    def render() -> None:
        try:
            Template(tokenizer(template)).text(ASKED.messages, ASKED, opened=True)
        except PreflabError as error:
            found.append(error)

    began = time.monotonic()
    run(render)
    assert [type(each) for each in found] == [EndlessTemplate]
    assert "chat template" in str(found[0])
    return time.monotonic() - began


def on_main(render: Callable[[], None]) -> None:
    render()


def in_thread(render: Callable[[], None]) -> None:
    thread = threading.Thread(target=render)
    thread.start()
    thread.join()


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("run", [on_main, in_thread])
def test_a_template_without_an_end_is_stopped(
    name: str, run: Callable[[Callable[[], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering_limits, "SECONDS", 0.5)
    assert seconds_until_refused(CHATML + ENDLESS[name], run) < 10


@pytest.mark.parametrize("name", GROWING)
def test_a_template_that_grows_is_stopped_before_memory_is(name: str) -> None:
    assert seconds_until_refused(CHATML + GROWING[name], on_main) < 5


def test_it_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command asks a template in many ways and goes on after many refusals."""
    monkeypatch.setattr(rendering_limits, "SECONDS", 0.5)
    endless = Template(tokenizer(CHATML + ENDLESS["loops in loops"]))
    began = time.monotonic()
    for _ in range(50):
        with pytest.raises(EndlessTemplate):
            endless.text(ASKED.messages, ASKED, opened=True)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "template", ["{{ range(999999999) }}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 1 / 0 }}"]
)
def test_what_python_refuses_is_a_sentence(template: str) -> None:
    with pytest.raises(PreflabError, match="refuses the conversation"):
        Template(tokenizer(template)).text(ASKED.messages, ASKED, opened=True)


def test_limits_change_nothing_of_what_templates_write() -> None:
    """What transformers itself writes, of templates that use what the limits look at."""
    from transformers.utils import chat_template_utils

    rendering_limits.install()
    limited = chat_template_utils._compile_jinja_template
    templates: list[str] = [
        CHATML,
        "{{ 'a' * 3 }}{{ [1] + [2] }}{{ '%s-%03d' % ('x', 7) }}{{ 2 ** 10 }}{{ 7 % 4 }}{{ 'a' ~ 1 ~ none }}",
        "{{ messages | map(attribute='role') | join(', ') }}{{ 'x'.replace('x', 'y') }}{{ '{}:{:>5}'.format(1, 2) }}",
        "{% for m in messages if m.role == 'user' %}{{ loop.length }}{{ loop.last }}{% else %}none{% endfor %}",
        "{% set n = namespace(last=5000000, t='') %}{% for m in messages %}{% set n.t = n.t ~ m.content %}{% endfor %}"
        "{{ n.t }}",
        "{% macro f(x) %}<{{ x }}{{ caller() if caller else '' }}>{% endmacro %}{{ f(1) }}"
        "{% call f(2) %}in{% endcall %}",
        "{% generation %}{{ messages[0].content | trim | upper }}{% endgeneration %}{{ messages | tojson(indent=2) }}",
        "{% for a in [1, [2, [3]]] recursive %}{{ loop(a) if a is iterable else a }}{% endfor %}"
        "{% filter upper %}x{% endfilter %}",
    ]
    messages = [{"role": "user", "content": " Hi there "}, {"role": "assistant", "content": "Hello"}]
    for source in templates:
        given: dict[str, Any] = {"messages": messages, "add_generation_prompt": True}
        own = chat_template_utils._cached_compile_jinja_template(source).render(**given)
        with rendering_limits.limited():
            assert limited(source).render(**given) == own, source
