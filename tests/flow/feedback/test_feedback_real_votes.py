"""Coefficients on votes of real people, against what their authors published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from preflab.feedback.alpha import krippendorff_alpha
from preflab.feedback.kappa import fleiss_kappa

CRITERIA = ("coherence", "consistency", "fluency", "relevance")


def rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        pytest.skip(f"{path.name} is missing from the folder with real data")
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def test_pandalm_has_the_kappas_it_published(shared: Path) -> None:
    # Wang et al. 2024: Cohen's kappa 0.85, 0.88 and 0.86 between its three people; Fleiss' of two differs little.
    votes = [dict(row["votes"]) for row in rows(shared / "data" / "votes" / "pandalm_votes.jsonl")]
    names = [f"annotator{i}" for i in (1, 2, 3)]
    of_pairs = [
        fleiss_kappa([[(vote[a], vote[b]).count(answer) for answer in ("a", "tie", "b")] for vote in votes])
        for a, b in combinations(names, 2)
    ]
    assert [round(kappa.value or 0.0, 2) for kappa in of_pairs] == [0.85, 0.88, 0.86]
    for kappa in of_pairs:
        assert 0.02 < (kappa.high or 0.0) - (kappa.low or 0.0) < 0.08
    # All three together lie between the three pairs, by Fleiss' kappa and by alpha, which differ by 1/(2n) or so.
    counts = [[list(vote.values()).count(answer) for answer in ("a", "tie", "b")] for vote in votes]
    ratings = [[{"a": 1, "tie": 2, "b": 3}[vote[name]] for name in names] for vote in votes]
    fleiss, alpha = fleiss_kappa(counts), krippendorff_alpha(ratings, "nominal")
    assert 0.85 < (fleiss.value or 0.0) < 0.88
    assert alpha.value == pytest.approx(fleiss.value, abs=1e-3)


def test_summeval_experts_agree_more_than_the_crowd_slots(shared: Path) -> None:
    texts = list(rows(shared / "data" / "votes" / "summeval_ratings.jsonl"))
    for criterion in CRITERIA:
        experts, crowd = (
            krippendorff_alpha(
                [[float(r[criterion]) for r in text["ratings"] if r["annotator"].startswith(kind)] for text in texts],
                "interval",
                tasks=[text["item"] for text in texts],
            )
            for kind in ("expert", "turker")
        )
        difference = (experts.value or 0.0) - (crowd.value or 0.0)
        assert difference > (0.25 if criterion in ("consistency", "fluency") else 0.0), criterion
        assert experts.num_tasks == crowd.num_tasks == 100  # articles, of which each has several summaries
