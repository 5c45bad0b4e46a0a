"""Real files imported, every count made a second time here, without the importer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from imported_files import import_into
from preflab.errors import PreflabError
from preflab.store.exports.base import Settings
from preflab.store.formats import read_file
from preflab.store.transfer import export_from
from preflab.store.workspace import Workspace


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def equal_and_odd(file: Path) -> tuple[list[int], list[int]]:
    """Lines whose two transcripts are equal, and lines that differ before the assistant's last turn."""
    equal, odd = [], []
    for number, row in enumerate(lines(file), 1):
        first, second = (row[side].rpartition("\n\nAssistant:") for side in ("chosen", "rejected"))
        if row["chosen"] == row["rejected"]:
            equal.append(number)
        elif first[0] != second[0]:
            odd.append(number)
    return equal, odd


@pytest.mark.parametrize(
    ("name", "num_rows", "num_equal", "num_odd"), [("helpful-base", 2354, 2, 9), ("harmless-base", 2312, 0, 5)]
)
def test_hh_rlhf_with_its_equal_and_odd_rows(
    shared: Path, tmp_path: Path, name: str, num_rows: int, num_equal: int, num_odd: int
) -> None:
    file = shared / "data" / "hh-rlhf" / f"{name}.jsonl"
    equal, odd = equal_and_odd(file)
    assert (len(equal), len(odd)) == (num_equal, num_odd)
    with Workspace.open(tmp_path / "w", create=True) as workspace:
        with pytest.raises(PreflabError, match=f"line {min(equal + odd)}: .* {len(equal + odd) - 1} more bad lines"):
            import_into(workspace, file)
        assert sum(workspace.counts().values()) == 0
        summary = import_into(workspace, file, skip_bad=True)
        assert summary.guess is not None
        assert (summary.format, summary.guess.share, summary.num_rows) == ("hh-rlhf", 1.0, num_rows)
        assert [p.line for p in summary.problems if "equal" in p.found] == equal
        assert [p.line for p in summary.problems if "differ before" in p.found] == odd
        assert len(summary.problems) == len(equal) + len(odd)
        good = [row for number, row in enumerate(lines(file), 1) if number not in equal + odd]
        assert workspace.counts()["preference"] == len(good)
        export_from(workspace, tmp_path / "out.jsonl", "hh-rlhf", settings=Settings(strict=True))
    assert sorted(map(json.dumps, lines(tmp_path / "out.jsonl"))) == sorted(map(json.dumps, good)), "letter by letter"


def assistant_replies(message: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The assistants' replies to every message of a tree."""
    yield [reply for reply in message["replies"] if reply["role"] == "assistant"]
    for reply in message["replies"]:
        yield from assistant_replies(reply)


def test_oasst_rankings_become_groups_and_pairs(shared: Path, tmp_path: Path) -> None:
    file = shared / "data" / "oasst" / "en_100_tree.jsonl"
    answered = [replies for tree in lines(file) for replies in assistant_replies(tree["prompt"]) if replies]
    ranked = [[reply["rank"] for reply in replies if reply.get("rank") is not None] for replies in answered]
    groups = [ranks for ranks in ranked if len(ranks) >= 2]
    num_pairs = sum(a != b for ranks in groups for a, b in combinations(ranks, 2))
    assert sum(map(len, groups)) == 641, "the number the file's README gives"
    with Workspace.open(tmp_path / "w", create=True) as workspace:
        summary = import_into(workspace, file)
        assert summary.problems == ()
        assert sum(summary.left_out.values()) == len(answered) - len(groups) + sum(map(len, answered)) - 641
        found = workspace.preferences()
        assert len(found) == len(groups) == 212
        assert sum(len(group.completion_ids) for group in found) == 641
        assert sum(len(group.chosen_rejected()) for group in found) == num_pairs
        assert sum(weight for group in found for _, _, weight in group.chosen_rejected()) == pytest.approx(len(found))
        exported = export_from(workspace, tmp_path / "pairs.jsonl", "trl-explicit")
        assert exported.num_rows == num_pairs


def test_the_best_reply_of_the_first_tree_is_first(shared: Path) -> None:
    file = shared / "data" / "oasst" / "en_100_tree.jsonl"
    found = read_file(file, limit_rows=1)
    replies = {r["text"]: r["rank"] for r in lines(file)[0]["prompt"]["replies"]}
    texts = {c.id: c.text for c in found.completions}
    group = found.preferences[0]
    assert {texts[c]: rank for c, rank in zip(group.completion_ids, group.ranks, strict=True)} == {
        words: rank + 1 for words, rank in replies.items()
    }


def test_prompts_and_demonstrations(shared: Path) -> None:
    red = shared / "data" / "redteam"
    toxic = read_file(red / "realtoxicity_prompts.jsonl")
    texts = [row["prompt"] for row in lines(red / "realtoxicity_prompts.jsonl")]
    again = [number for number, text in enumerate(texts, 1) if text in texts[: number - 1]]
    assert again == [993, 1477]
    rows = lines(red / "realtoxicity_prompts.jsonl")
    equal = [number for number in again if rows[number - 1] in rows[: number - 1]]
    assert list(toxic.repeats) == equal
    assert len(toxic.prompts) == 1500 - len(equal), "prompts with another toxicity are prompts of their own"
    xstest = read_file(red / "xstest_prompts.csv")
    assert len(xstest.prompts) == 450
    assert {p.columns["label"] for p in xstest.prompts} == {"safe", "unsafe"}
    rename = {"dialogue": "prompt", "summary": "completion"}
    dialogues = read_file(shared / "data" / "dialogsum" / "dialogsum.dev.jsonl", rename=rename)
    assert (dialogues.format, len(dialogues.demonstrations)) == ("demonstrations", 500)
