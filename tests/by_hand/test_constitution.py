"""Constitutions are read strictly, drawn by weight, and put to a model exactly as their layout says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflab.constitution.principles import Constitution, filled, read_constitution
from preflab.constitution.revising import Written, revise
from preflab.errors import PreflabError
from preflab.records import FinishReason, Prompt

SMALL: dict[str, Any] = {
    "constitution": 1,
    "layout": {
        "critique": "Q {prompt} A {answer} | {critique_request} >",
        "revision": "Q {prompt} A {answer} C {critique} | {revision_request} >",
        "separator": " ## ",
    },
    "principles": [
        {"name": "kind", "critique": "what is rude?", "revision": "be kind", "comparison": "which is kinder?"}
    ],
    "examples": [{"prompt": "p", "answer": "a", "critique": "c", "revision": "r"}],
}


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "constitution.yaml"
    path.write_text(yaml.safe_dump(content) if not isinstance(content, str) else content)
    return path


def changed(**changes: Any) -> dict[str, Any]:
    return {**SMALL, **changes}


def test_the_default_covers_helpful_honest_harmless() -> None:
    found = read_constitution()
    assert found.name == "helpful, honest, harmless"
    assert {"usefulness", "honesty", "harm to others", "refusing too much"} <= {p.name for p in found.principles}
    assert len(found.examples) >= 2


def test_every_text_goes_where_the_layout_says(tmp_path: Path) -> None:
    constitution = read_constitution(written(tmp_path, SMALL))
    asked: dict[str, list[str]] = {}

    def write(what: str, prompts: Sequence[Prompt]) -> list[Written]:
        asked[what] = [prompt.text for prompt in prompts]
        cut: FinishReason = "length" if what == "revision 2" else "stop"
        return [Written(f" {what} of {len(prompt.text)} ", cut) for prompt in prompts]

    found = revise(constitution, [Prompt.make(text="hi {answer}")], write, num_rounds=2, num_examples=1, seed=3)[0]
    assert found.answer == " answer of 11 "
    shown = "Q p A a | what is rude? > c ## "
    # What a text contains in braces stays as it is.
    assert asked["critique 1"] == [f"{shown}Q hi {{answer}} A {found.answer} | what is rude? >"]
    one, two = found.steps
    assert asked["revision 1"] == [
        f"Q p A a C c | be kind > r ## Q hi {{answer}} A {found.answer} C {one.critique} | be kind >"
    ]
    assert asked["critique 2"] == [f"{shown}Q hi {{answer}} A {one.revision} | what is rude? >"]
    assert (one.principle, found.last) == ("kind", two.revision)
    assert one.critique == one.critique.strip()
    assert (found.finish_reason, one.finish_reason, two.finish_reason) == ("stop", "stop", "length")
    assert found.last_finish_reason == "length"


def test_principles_are_drawn_by_weight_and_again_the_same() -> None:
    principles = [
        {"name": name, "critique": "c", "revision": "r", "comparison": "w", "weight": weight}
        for name, weight in (("often", 3.0), ("seldom", 1.0), ("never", 0.0))
    ]
    found = Constitution.model_validate(changed(principles=principles))
    drawn = Counter(found.draw(seed).name for seed in range(4000))
    assert drawn["never"] == 0
    assert drawn["often"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert found.draw(17) == found.draw(17)


PRINCIPLE = SMALL["principles"][0]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            changed(principles=[PRINCIPLE, {**PRINCIPLE, "name": "b", "critique": " "}]),
            "principles.2.critique: is empty",
        ),
        (changed(principles=[]), "principles: "),
        (changed(principles=[PRINCIPLE, PRINCIPLE]), "two principles are called 'kind'"),
        (changed(principles=[{**PRINCIPLE, "weight": 0}]), "every principle has weight 0"),
        (changed(principles=[{**PRINCIPLE, "weight": -1}]), "principles.1.weight"),
        (changed(principles=[{"name": "kind"}]), "principles.1.critique: Field required"),
        (changed(principels=[]), "principels: Extra inputs"),
        (changed(layout={"critique": "{prompt}", "revision": "x"}), "lacks the mark {answer}"),
        (
            changed(layout={**SMALL["layout"], "critique": "{prompt} {answer} {question}"}),
            "layout.critique has the mark {question}",
        ),
        ("just a text", "not a mapping"),
        ("a: [", "constitution.yaml"),
    ],
)
def test_bad_files_are_refused_with_their_place(tmp_path: Path, content: Any, found: str) -> None:
    with pytest.raises(PreflabError) as raised:
        read_constitution(written(tmp_path, content))
    assert found in raised.value.found


def test_marks_are_filled_once() -> None:
    assert filled("{a} and {b}", a="{b}", b="x") == "{b} and x"
