"""What an export cannot hold is counted by name: every format, every part of a record, against what an import reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imported_files import import_into
from preflab.records import Completion, PairOutcome, Preference, Prompt
from preflab.store.exports import EXPORTS
from preflab.store.exports.base import Settings
from preflab.store.formats import FORMATS, read_file
from preflab.store.transfer import ExportSummary, export_from
from preflab.store.workspace import Workspace

Row = dict[str, Any]
ASKED = Prompt.make("Where is it?")


def said(words: str, **other: Any) -> Completion:
    return Completion.make(ASKED.id, f" {words}", "trl", **{"finish_reason": "imported", **other})


def group(*completions: Completion, **other: Any) -> Preference:
    """The first is better, and rated so."""
    ids = tuple(each.id for each in completions)
    pairs = (PairOutcome(0, 1, 1.0, 0.0, 0.0),)
    usual: Row = {"ranks": (1, 2), "pairs": pairs, "scores": {"kind": (5.0, 1.0)}}
    return Preference.make(ASKED.id, ids, **{**usual, **other})


PARTS: dict[str, tuple[list[Completion], Row]] = {
    "marks F": ([said("a"), said("b"), said("c")], {"ranks": (1, 2, None), "scores": {"kind": (5.0, 1.0, 2.0)}}),
    "finish reasons of completions": ([said("a", finish_reason="length"), said("b")], {}),
    "models of completions": ([Completion.make(
        ASKED.id, " a", "another", finish_reason="imported"), said("b")], {}),
    "columns of completions": ([said("a", columns={"topic": "x"}), said("b")], {}),
    "scores by score, rating, reward": ([said("a"), said("b")], {"scores": {"kind": (5.0, 1.0), "score": (4.0, 2.0)}}),
    "scores by other criteria": ([said("a"), said("b")], {"scores": {"score": (5.0, 1.0), "kind": (4.0, 2.0)}}),
    "thumbs": ([said("a"), said("b")], {"thumbs": (1.0, 0.0)}),
    "decided pairs": ([said("a"), said("b")], {}),
}  # fmt: skip


def has(part: str, preferences: list[Preference], completions: list[Completion]) -> set[Any]:
    """What of a part there is, by the texts of completions."""
    texts = {each.id: each.text.strip() for each in completions}
    own = "scores by score, rating, reward"
    in_scores = {
        (texts[i], name, score)
        for p in preferences
        for name, row in p.scores.items()
        for i, score in zip(p.completion_ids, row, strict=True)
        if (name in ("score", "rating", "reward")) == (part == own) and score is not None
    }
    reads: dict[str, Callable[[], set[Any]]] = {
        "marks F": lambda: {
            texts[i] for p in preferences for i, r in zip(p.completion_ids, p.ranks, strict=True) if r is None
        },
        "finish reasons of completions": lambda: {c.text.strip() for c in completions if c.finish_reason == "length"},
        "models of completions": lambda: {c.text.strip() for c in completions if c.model == "another"},
        "columns of completions": lambda: {c.text.strip() for c in completions if c.columns.get("topic") == "x"},
        "thumbs": lambda: {
            (texts[i], up) for p in preferences for i, up in zip(p.completion_ids, p.thumbs, strict=False)
        },
        "decided pairs": lambda: {
            (texts[p.completion_ids[i]], texts[p.completion_ids[j]])
            for p in preferences
            for i, j, _ in p.chosen_rejected()
        },
    }
    return reads[part]() if part in reads else in_scores


def exported(folder: Path, records: list[Any], format: str, **settings: Any) -> ExportSummary:
    with Workspace.open(folder / "w", create=True) as workspace:
        workspace.put(records)
        return export_from(workspace, folder / "x.jsonl", format, settings=Settings(**settings))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("format", sorted(name for name, each in EXPORTS.items() if each.of == "preference"))
def test_export_counts_the_parts_it_leaves_out_by_name(tmp_path: Path, format: str, part: str, strict: bool) -> None:
    completions, other = PARTS[part]
    preference = group(*completions, **other)
    if format == "preferences" and strict:
        return  # ids alone, for a workspace that holds what they name
    done = exported(tmp_path, [ASKED, *completions, preference], format, strict=strict)
    read_as = EXPORTS[format].read_as or format
    found = read_file(tmp_path / "x.jsonl", "hh-rlhf" if format == "hh-rlhf" else read_as)
    comes_back = has(part, found.preferences, found.completions) == has(part, [preference], completions)
    named = {**done.left_out, **done.dropped, **done.changed}
    assert read_as in FORMATS
    assert comes_back or any(part.split(" by ")[0] in name for name in named), (format, part, named)


def judged(folder: Path, rows: list[Row], format: str, **settings: Any) -> ExportSummary:
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with Workspace.open(folder / "w", create=True) as workspace:
        import_into(workspace, folder / "in.jsonl")
        return export_from(workspace, folder / "x.jsonl", format, settings=Settings(**settings))


RANKED = {"prompt": "Q", "completions": ["A", "B", "C"], "ranks": [1, 1, "F"], "labeler": "ann"}


@pytest.mark.parametrize("format", ["argilla", "rankings", "judgments"])
def test_marks_f_of_judgments_are_written_or_counted(tmp_path: Path, format: str) -> None:
    done = judged(tmp_path, [RANKED], format)
    found = read_file(tmp_path / "x.jsonl", format)
    kept = [rank for judgment in found.judgments for rank in judgment.answer.ranks].count(None)  # type: ignore[union-attr]
    assert kept + done.left_out.get("marks F", 0) == 1


def test_a_judgment_of_which_one_completion_is_ranked_has_no_place_in_argilla(tmp_path: Path) -> None:
    rows = [RANKED, {**RANKED, "prompt": "R", "ranks": [1, "F", "F"]}]
    done = judged(tmp_path, rows, "argilla")
    assert done.dropped == {"judgments that rank fewer than two completions": 1}
    assert done.left_out == {"marks F": 3}


RATED = {"prompt": "Q", "completion": "A", "score": 1, "finish_reason": "length"}


@pytest.mark.parametrize(("row", "format"), [(RATED, "ratings"), ({**RATED, "label": True}, "trl-unpaired")])
def test_finish_reasons_and_scores_beside_a_verdict_come_back(tmp_path: Path, row: Row, format: str) -> None:
    done = judged(tmp_path, [row], format)
    assert (done.left_out, done.changed, done.dropped) == ({}, {}, {})
    before, after = (read_file(tmp_path / name, None) for name in ("in.jsonl", "x.jsonl"))
    assert before.format == after.format == format
    assert before.completions == after.completions
    assert before.preferences == after.preferences
    strict = judged(tmp_path, [row], format, strict=True)
    assert strict.left_out["finish reasons of completions"] == 1


def of_ultrafeedback(*overall: float | None) -> Row:
    kinds = [4, 2]
    return {
        "instruction": "Q",
        "completions": [
            {"response": f"r{n}", "annotations": {"kind": {"Rating": str(kind)}}, **({"overall_score": o} if o else {})}
            for n, (kind, o) in enumerate(zip(kinds, overall, strict=True))
        ],
    }


def test_overall_scores_of_ultrafeedback_come_back_or_are_counted(tmp_path: Path) -> None:
    done = judged(tmp_path, [of_ultrafeedback(8.0, 3.5)], "ultrafeedback")
    assert (done.left_out, done.changed) == ({}, {})
    (before,), (after,) = (read_file(tmp_path / name).preferences for name in ("in.jsonl", "x.jsonl"))
    assert (before.scores, before.ranks, before.pairs) == (after.scores, after.ranks, after.pairs)
    (tmp_path / "other").mkdir()
    done = judged(tmp_path / "other", [of_ultrafeedback(None, None)], "ultrafeedback")
    assert done.changed == {"overall scores written as the mean of the ratings": 2}


def test_scores_that_are_no_ratings_are_not_written_as_such(tmp_path: Path) -> None:
    """UltraFeedback's ratings are 1 to 5: a file with others would be refused."""
    completions = [said("a"), said("b")]
    preference = group(*completions, scores={"kind": (5.0, 1.0), "toxicity": (0.1, 0.9)})
    done = exported(tmp_path, [ASKED, *completions, preference], "ultrafeedback")
    assert done.left_out == {"scores that are no ratings from 1 to 5": 2}
    assert set(read_file(tmp_path / "x.jsonl").preferences[0].scores) == {"kind", "overall"}


def test_texts_whose_border_an_import_sees_elsewhere_are_counted(tmp_path: Path) -> None:
    """`Where is it? a b` and `Where is it? a c` share more than the prompt."""
    completions = [said("a b"), said("a c")]
    done = exported(tmp_path, [ASKED, *completions, group(*completions)], "trl-implicit")
    assert done.changed == {"pairs whose prompt an import ends elsewhere": 1}
