"""Files as data sets and tools lay them out, one small file for each, and what each of them is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from layout_words import demonstrations, groups
from preflab.records import Completion, Message, Prompt, Span, ToolCall
from preflab.store.formats import FORMATS, read_file
from preflab.store.formats.layouts import LAYOUTS

FILES = Path(__file__).parent / "data" / "layouts"
Q = "Where is my parcel?"
ASKED = f"user: {Q}"
GOOD, BAD = "On its way.", "Gone."
PAIR = {"ranks": {GOOD: 1, BAD: 2}, "pairs": {(GOOD, BAD): 1.0}}
TOOL = {
    "type": "function",
    "function": {"name": "track", "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}}},
}
CALLED = 'assistant: <tool_call>{"name": "track", "arguments": {"number": 7}}</tool_call>\n\ntool: In Rome.\n\n'


def slug(name: str) -> str:
    """A layout's name as its file is called."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("ü", "u")).strip("-")


def read(name: str) -> Any:
    return read_file(FILES / f"{name}.jsonl")


JUDGED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "ultrafeedback-binarized": (
        "trl-explicit",
        [{"prompt": ASKED, **PAIR, "scores": {"score": {GOOD: 8.5, BAD: 3.0}}}],
    ),
    "capybara-preferences": (
        "trl-explicit",
        [
            {
                "prompt": f"{ASKED}\n\nassistant: Which one?\n\nuser: The red one.",
                **PAIR,
                "scores": {"rating": {GOOD: 5.0, BAD: 4.0}},
            }
        ],
    ),
    "tulu-3-preferences": ("trl-explicit", [{"prompt": ASKED, **PAIR, "scores": {"rating": {GOOD: 4.0, BAD: 2.0}}}]),
    "orca-pairs": (
        "trl-explicit",
        [
            {"prompt": f"system: You are kind.\n\n{ASKED}", **PAIR},
            {"prompt": "Who?", "ranks": {"We.": 1, "They.": 2}, "pairs": {("We.", "They."): 1.0}},
        ],
    ),
    "argilla-s-orca-pairs": (
        "trl-explicit",
        [
            {"prompt": f"system: You are kind.\n\n{ASKED}", **PAIR, "scores": {"score": {GOOD: 9.0, BAD: None}}},
            {
                "prompt": "system: You are kind.\n\nuser: Who?",
                "ranks": {"They.": 1, "We.": 2},
                "pairs": {("They.", "We."): 1.0},
                "scores": {"score": {"They.": 8.0, "We.": None}},
            },
            {
                "prompt": "system: You are kind.\n\nuser: When?",
                "ranks": {"Now.": 1, "Soon.": 1},
                "ties": [{"Now.", "Soon."}],
                "scores": {"score": {"Now.": 8.0, "Soon.": None}},
            },
        ],
    ),
    "llama-factory-preferences": (
        "trl-explicit",
        [
            {"prompt": "Translate.\n\nHallo", "ranks": {"Hello": 1, "Bye": 2}, "pairs": {("Hello", "Bye"): 1.0}},
            {"prompt": Q, **PAIR},
        ],
    ),
    "llama-factory-preferences-turns": ("trl-explicit", [{"prompt": ASKED, **PAIR}]),
    "rewardbench": ("trl-explicit", [{"prompt": Q, **PAIR}]),
    "tools-trl": (
        "trl-explicit",
        [
            {
                "prompt": ASKED,
                "ranks": {f"{CALLED}assistant: In Rome.": 1, "No idea.": 2},
                "pairs": {(f"{CALLED}assistant: In Rome.", "No idea."): 1.0},
            }
        ],
    ),
    "skywork-ultrafeedback-by-trl": (
        "trl-implicit",
        [{"prompt": ASKED, **PAIR, "scores": {"score": {GOOD: 8.5, BAD: 3.0}}}],
    ),
    "llama-factory-kto": (
        "trl-unpaired",
        [{"prompt": Q, "ranks": {GOOD: 1, BAD: 1}, "thumbs": {GOOD: 1.0, BAD: 0.0}}],
    ),
    "helpsteer-helpsteer2": (
        "ratings",
        [
            {
                "prompt": Q,
                "ranks": {GOOD: 1, BAD: 1},
                "scores": {
                    "coherence": {GOOD: 4.0, BAD: 3.0},
                    "complexity": {GOOD: 1.0, BAD: 1.0},
                    "correctness": {GOOD: 4.0, BAD: 1.0},
                    "helpfulness": {GOOD: 4.0, BAD: 0.0},
                    "verbosity": {GOOD: 1.0, BAD: 1.0},
                },
            },
            {
                "prompt": "Who?",
                "ranks": {"We.": 1},
                "scores": {
                    "coherence": {"We.": 3.0},
                    "complexity": {"We.": 0.0},
                    "correctness": {"We.": 3.0},
                    "helpfulness": {"We.": 3.0},
                    "verbosity": {"We.": 0.0},
                },
            },
        ],
    ),
    "lists-of-scores": (
        "ratings",
        [
            {"prompt": Q, "ranks": {GOOD: 1}, "scores": {"rating": {GOOD: 5.0}}},
            {"prompt": "Who?", "ranks": {"We.": 1, "They.": 1}, "scores": {"rating": {"We.": 4.0, "They.": 2.5}}},
        ],
    ),
    "ratings": (
        "ratings",
        [
            {
                "prompt": Q,
                "ranks": {GOOD: 1, BAD: 1},
                "scores": {"kind": {GOOD: 3.5, BAD: None}, "score": {GOOD: 4.0, BAD: 1.0}},
            }
        ],
    ),
    "pku-saferlhf": (
        "pku-saferlhf",
        [
            {
                "prompt": "How do I open a parcel of others?",
                "ranks": {"Do not.": 2, "With a knife.": 1},
                "pairs": {("With a knife.", "Do not."): 1.0},
                "scores": {
                    "safer": {"Do not.": 1.0, "With a knife.": 0.0},
                    "safe": {"Do not.": 1.0, "With a knife.": 0.0},
                },
            }
        ],
    ),
    "helpsteer3": (
        "helpsteer3",
        [
            {"prompt": ASKED, "ranks": {GOOD: 1, BAD: 2}, "pairs": {(GOOD, BAD): 0.6667}},  # strength 2 of 3
            {"prompt": "user: Who?", "ranks": {"They.": 2, "We.": 1}, "pairs": {("We.", "They."): 1.0}},
            {"prompt": "user: When?", "ranks": {"Now.": 1, "Soon.": 1}, "ties": [{"Now.", "Soon."}]},
        ],
    ),
    "helpsteer2-preferences": (
        "helpsteer3",
        [{"prompt": Q, "ranks": {GOOD: 1, BAD: 2}, "pairs": {(GOOD, BAD): 0.3333}}],
    ),
    "shp": (
        "shp",
        [
            {
                "prompt": "Post text",
                "ranks": {"Answer A": 1, "Answer B": 2},
                "pairs": {("Answer A", "Answer B"): 1.0},
                "scores": {"score": {"Answer A": 340.0, "Answer B": 166.0}},
            },
            {
                "prompt": "Post text",
                "ranks": {"Answer A": 2, "Answer C": 1},
                "pairs": {("Answer C", "Answer A"): 1.0},
                "scores": {"score": {"Answer A": 340.0, "Answer C": 400.0}},
            },
        ],
    ),
    "nectar": (
        "nectar",
        [
            {
                "prompt": f"\n\nHuman: {Q}\n\nAssistant: ",
                "ranks": {BAD: 3, GOOD: 1, "No idea.": 2},
                "pairs": {(GOOD, BAD): 0.3333, ("No idea.", BAD): 0.3333, (GOOD, "No idea."): 0.3333},
            }
        ],
    ),
    "rewardbench-2": (
        "rewardbench2",
        [
            {
                "prompt": Q,
                "ranks": {GOOD: 1, BAD: 2, "lamp": 2, "x": 2},
                "pairs": {(GOOD, BAD): 0.3333, (GOOD, "lamp"): 0.3333, (GOOD, "x"): 0.3333},
                "ties": [{BAD, "lamp"}, {BAD, "x"}, {"lamp", "x"}],
            }
        ],
    ),
    "completions-with-one-score": (
        "ultrafeedback",
        [{"prompt": Q, **PAIR, "scores": {"overall": {GOOD: 0.9, BAD: -1.0}}}],
    ),
    "comparisons": (
        "comparisons",
        [
            {"prompt": Q, "ranks": {GOOD: 1, BAD: 2}, "pairs": {(GOOD, BAD): 1.0}},  # one vote for it and one tie
            {"prompt": "Who?", "ranks": {"They.": None, "It.": None}},
        ],
    ),
    "lmarena-33k-100k-mt-bench": (
        "chatbot-arena",
        [
            {
                "prompt": ASKED,
                "ranks": {
                    "assistant: Which one?\n\nuser: The red one.\n\nassistant: On its way.": 1,
                    "assistant: Gone.\n\nuser: The red one.\n\nassistant: Gone.": 2,
                },
                "pairs": {
                    (
                        "assistant: Which one?\n\nuser: The red one.\n\nassistant: On its way.",
                        "assistant: Gone.\n\nuser: The red one.\n\nassistant: Gone.",
                    ): 1.0
                },
            },
            {"prompt": "user: Who?", "ranks": {"They.": None, "It.": None}},
        ],
    ),
    "lmarena-140k": ("chatbot-arena", [{"prompt": ASKED, "ranks": {BAD: None, "No idea.": None}}]),
    "oasst-flat": ("oasst-flat", [{"prompt": ASKED, **PAIR}]),
    "openai-preferences": ("openai-preferences", [{"prompt": f"system: You are kind.\n\n{ASKED}", **PAIR}]),
    "argilla-s-sdk-nested": ("argilla", [{"prompt": Q, "ranks": {GOOD: 1, BAD: 1}}]),  # one vote for each
    "argilla-s-sdk-rankings-as-lists": (
        "argilla",
        [{"prompt": Q, "ranks": {GOOD: 2, BAD: 1}, "pairs": {(BAD, GOOD): 1.0}}],
    ),
    "argilla-1": ("argilla", [{"prompt": Q, "ranks": {GOOD: 2, BAD: 1}, "pairs": {(BAD, GOOD): 1.0}}]),
    "label-studio-json-min-csv": ("label-studio", [{"prompt": Q, "ranks": {GOOD: 1, BAD: 1}}]),
}
ANSWERED: dict[str, list[tuple[str, str]]] = {
    "alpaca": [
        (Q, GOOD),
        ("Add.\n\n1 2", "3"),
        (f"system: You are kind.\n\n{ASKED}\n\nassistant: On its way.\n\nuser: And now?", "Arrived."),
    ],
    "dolly": [("Who wrote it?\n\nAnna wrote it.", "Anna")],
    "prompt-and-response": [(Q, GOOD)],
    "openai-s-messages-tulu-3-smoltalk": [
        (f"system: You are kind.\n\n{ASKED}\n\nassistant: Which one?\n\nuser: The red one.", GOOD)
    ],
    "no-robots-ultrachat": [(ASKED, GOOD), (f"system: You are kind.\n\n{ASKED}", GOOD)],
    "sharegpt": [(f"system: You are kind.\n\n{ASKED}\n\n{CALLED.strip()}", "In Rome.")],
    "capybara": [(f"{ASKED}\n\nassistant: Which one?\n\nuser: The red one.", GOOD)],
}
PROMPTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gsm8k": ("1+1?", {"answer": "It is 2\n#### 2"}),
    "openr1-math": ("1+1?", {"solution": "Count.", "answer": "2"}),
    "rlvr": ("user: 1+1?", {"ground_truth": "2", "dataset": "gsm8k"}),
    "verl": (
        "user: 1+1?",
        {
            "data_source": "gsm8k",
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": "2"},
            "extra_info": {"index": 1},
        },
    ),
}


@pytest.mark.parametrize("name", JUDGED)
def test_judged_layouts_are_groups_of_their_texts(name: str) -> None:
    found = read(name)
    format, expected = JUDGED[name]
    assert found.format == format
    # the order of the groups and of the completions within one says nothing
    key = {group["prompt"] + "".join(sorted(group["ranks"])): group for group in groups(found)}
    assert key == {group["prompt"] + "".join(sorted(group["ranks"])): group for group in expected}
    assert not found.demonstrations


@pytest.mark.parametrize("name", ANSWERED)
def test_answered_layouts_are_demonstrations(name: str) -> None:
    found = read(name)
    assert (found.format, demonstrations(found)) == ("demonstrations", ANSWERED[name])
    assert not found.preferences


@pytest.mark.parametrize("name", PROMPTS)
def test_layouts_with_an_answer_to_check_are_prompts_with_it(name: str) -> None:
    found = read(name)
    (prompt,) = found.prompts
    assert (found.format, (prompt.shown, prompt.columns)) == ("prompts", PROMPTS[name])
    assert not found.completions


def test_every_layout_and_every_new_format_has_its_file() -> None:
    files = {file.stem for file in FILES.glob("*.jsonl")}
    assert files == JUDGED.keys() | ANSWERED.keys() | PROMPTS.keys()
    formats = {**{name: format for name, (format, _) in JUDGED.items()}, **dict.fromkeys(ANSWERED, "demonstrations")}
    formats |= dict.fromkeys(PROMPTS, "prompts")
    for layout in LAYOUTS:
        assert layout.format in FORMATS
        assert formats[slug(layout.name)] == layout.format, layout.name


def test_models_stay_with_their_side() -> None:
    for name in ("rewardbench", "tulu-3-preferences", "capybara-preferences", "pku-saferlhf", "lists-of-scores"):
        found = read(name)
        assert {c.model for c in found.completions} <= {"one", "two"}, name
    best = next(c for c in read("nectar").completions if c.text == GOOD)
    assert best.model == "one"


def test_tools_thinking_names_and_weights_of_conversations() -> None:
    call = ToolCall("track", '{"number": 7}')
    found = read("tools-trl")
    assert found.prompts[0].id == Prompt.make(messages=(Message("user", Q),), columns={"tools": [TOOL]}).id
    chosen, rejected = found.completions
    assert chosen.turns == (
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "In Rome.", name="track"),
        Message("assistant", "In Rome."),
    )
    assert [span.by_policy for span in chosen.spans] == [True, False, True]
    assert rejected.spans == (Span("No idea."),)
    asked = read("sharegpt").prompts[0]
    assert asked.columns == {"tools": [TOOL]}
    assert asked.messages == (
        Message("system", "You are kind."),
        Message("user", Q),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "In Rome."),
    )
    found = read("openai-s-messages-tulu-3-smoltalk")
    assert found.prompts[0].messages[3] == Message("user", "The red one.", name="anna")
    assert found.completions[0].columns == {"source": "s", "unlearned_turns": [2]}
    assert isinstance(found.completions[0], Completion)


def test_columns_are_said_to_be_used_kept_or_left_out() -> None:
    columns = read("ultrafeedback-binarized").columns.to_json()
    assert columns == {
        "used": {name: name for name in ("chosen", "prompt", "rejected", "score_chosen", "score_rejected")},
        "kept": ["prompt_id"],
        "left_out": ["messages"],
        "empty": [],
    }
    columns = read("orca-pairs").columns.to_json()
    assert columns["used"]["question"] == "prompt"
    found = read("oasst-flat")
    assert found.columns.to_json()["left_out"] == ["message_tree_id"]
    assert found.left_out == {"messages whose parent is not in the file": 1}
    found = read("openai-preferences")
    assert found.left_out == {"the field 'input.parallel_tool_calls'": 1}
    assert "answers for reward functions, with each prompt: answer" in read("gsm8k").lines()
    found = read("argilla-s-sdk-nested")
    assert found.columns.to_json()["left_out"] == ["suggestions"]
    assert [j.answer.choice for j in found.judgments] in (["first", "second"], ["second", "first"])  # type: ignore[union-attr]
