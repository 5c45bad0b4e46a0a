"""Whoever scores a completion of several turns reads them as turns, and a cut one without an end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from chat_templates import BY_NAME, byte_tokenizer
from preflab.cli import run_command
from preflab.conversations.renderer import Renderer
from preflab.records import Completion, FinishReason, Message, Prompt, Span
from preflab.training.protocols import Scores, ScoringItem

TURNS = [
    {"role": "assistant", "content": "Which one?"},
    {"role": "user", "content": "The red one."},
    {"role": "assistant", "content": "Here."},
]
RENDERED = "Which one?<|im_end|>\n<|im_start|>user\nThe red one.<|im_end|>\n<|im_start|>assistant\nHere."
ASKED = Prompt.make(messages=(Message("user", "Give me a lamp"),))


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a reward model of ChatML's turns would read as completions, in the order they are scored."""
    tokenizer = byte_tokenizer(BY_NAME["chatml"])
    renderer, seen = Renderer(tokenizer), list[str]()

    class Reader:
        def score(self, items: Sequence[ScoringItem]) -> Scores:
            for item in items:
                seen.append(tokenizer.decode(renderer.scored(item.prompt, item.completion).completion_ids))
            return Scores(torch.arange(float(len(items))))

    monkeypatch.setattr("preflab.rewards.sources.make_scorer", lambda *args, **settings: Reader())
    return seen


@pytest.mark.parametrize("finish_reason", ["stop", "imported", "length"])
@pytest.mark.parametrize("own", [True, False])
def test_an_item_is_the_record_it_is_made_of(finish_reason: FinishReason, own: bool) -> None:
    messages = [Message(turn["role"], turn["content"]) for turn in TURNS]  # type: ignore[arg-type]
    spans = tuple(Span.of_turn(m) if own else Span(m.content, m.role == "assistant", m.role) for m in messages)
    completion = Completion.make(ASKED.id, "", "m", spans=spans, finish_reason=finish_reason)
    item = ScoringItem.of(ASKED, completion)
    renderer = Renderer(byte_tokenizer(BY_NAME["chatml"]))
    ids = renderer.scored(ASKED, item.completion).completion_ids
    end = "" if finish_reason == "length" else "<|im_end|>"
    assert renderer.tokenizer.decode(ids) == RENDERED + end
    plain = ScoringItem.of(ASKED, Completion.make(ASKED.id, "Here.", "m", finish_reason=finish_reason))
    assert (plain.text, plain.turns, plain.finish_reason) == ("Here.", (), finish_reason)


def test_a_campaign_s_conversations_are_put_in_order_as_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"prompt": [{"role": "user", "content": "Give me a lamp"}], "completions": [TURNS, TURNS[:1]]}
    write(tmp_path / "rows.jsonl", [row])
    assert run_command(["campaign", "create", "rows.jsonl", "--name", "lamps"]) == 0
    for model in ("one", "other"):
        (tmp_path / model).mkdir()
    assert run_command(["campaign", "prioritise", "lamps", "--by", "one", "--by", "other"]) == 0
    assert sorted(scored) == sorted(2 * [f"{RENDERED}<|im_end|>", "Which one?<|im_end|>"])


def test_rows_to_score_are_read_as_turns_and_as_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [{"role": "user", "content": "Give me a lamp"}]
    rows = [
        {"prompt": asked, "completion": TURNS},
        {"prompt": asked, "completion": TURNS, "finish_reason": "length"},
        {"prompt": asked, "completion": "Here.", "finish_reason": "length"},
        {"prompt": asked, "completion": "Here.", "finish_reason": "stop"},
    ]
    write(tmp_path / "rows.jsonl", rows)
    (tmp_path / "reward_folder").mkdir()
    (tmp_path / "reward_folder" / "reward_model.json").touch()
    assert run_command(["score", "rows.jsonl", "--by", "reward_folder"]) == 0
    assert scored == [f"{RENDERED}<|im_end|>", RENDERED, "Here.", "Here.<|im_end|>"]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_rows_with_two_completions_are_refused_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [{"role": "user", "content": "Give me a lamp"}]
    sides = {side: [*asked, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    write(tmp_path / "pairs.jsonl", [{"prompt": "Give me a lamp", **sides, "messages": sides["chosen"]}])
    with pytest.raises(SystemExit):
        run_command(["score", "pairs.jsonl", "--by", "reward_folder"])
    assert "pairs.jsonl, line 1: two completions, chosen and rejected" in capsys.readouterr().err
    assert not (tmp_path / "pairs.scored.jsonl").exists()
