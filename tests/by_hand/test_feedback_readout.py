"""Gold accuracy, position bias, time and the labeler's whole read-out, counted on paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from preflab.feedback.coefficients import coefficients
from preflab.feedback.gold_tasks import gold_counts, gold_score, known_outcomes
from preflab.feedback.reading import Reading
from preflab.feedback.readout import first_shown_counts, median_seconds, readouts, standings
from preflab.records import Answer, Judgment, LikertAnswer, RankingAnswer, SideBySideAnswer, ThumbsAnswer
from preflab.settings.feedback import ReadingSettings


def judged(answer: Answer, num: int, task: str = "t", labeler: str = "ann", **other: Any) -> Judgment:
    given = {"shown_order": tuple(range(num)), "polarity": 1} | other
    return Judgment(
        id=f"{task}/{labeler}", campaign_id="c", task_id=task, prompt_id="p", completion_ids=tuple("abcd"[:num]),
        question="?", answer=answer, labeler_id=labeler, labeler_kind="person", **given,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "points"),
    [
        ((1, 2, 3), 3.0),
        ((3, 2, 1), 0.0),
        ((2, 1, 3), 2.0),
        ((1, 1, 2), 2.5),  # a tie where a side was expected is half a point
        ((1, 1, 1), 1.5),
        ((None, 1, 2), 2.0),  # so is no vote
    ],
)
def test_gold_score_of_a_ranking(given: tuple[int | None, ...], points: float) -> None:
    assert gold_score(judged(RankingAnswer(given), 3), RankingAnswer((1, 2, 3))) == (points, 3.0)


def test_gold_score_counts_expected_f_but_no_expected_tie() -> None:
    expected = RankingAnswer((1, 1, None))
    assert gold_score(judged(RankingAnswer((1, 2, None)), 3), expected) == (1.0, 1.0)
    assert gold_score(judged(RankingAnswer((1, 1, 1)), 3), expected) == (0.0, 1.0)


def test_gold_score_compares_answers_to_the_same_question() -> None:
    # Asked for the worse one, "first" is right if the gold answer says "first".
    judgment = judged(SideBySideAnswer("first"), 2, polarity=-1)
    assert gold_score(judgment, SideBySideAnswer("first")) == (1.0, 1.0)
    assert known_outcomes([judgment], {"t": SideBySideAnswer("first")}) == {("t", 0, 1): -1}


def test_gold_counts_only_gold_tasks() -> None:
    judgments = [judged(SideBySideAnswer("first"), 2, task) for task in "xyz"]
    found = gold_counts(judgments, {"x": SideBySideAnswer("first"), "y": SideBySideAnswer("second")})
    assert found == {"x": (1.0, 1.0), "y": (0.0, 1.0)}
    assert gold_counts(judgments, {}) == {}


def test_first_shown_counts_by_hand() -> None:
    # Shown b, a, c; ranked b, a, c: all three pairs go to the one shown earlier.
    as_shown = judged(RankingAnswer((2, 1, 3)), 3, shown_order=(1, 0, 2))
    assert first_shown_counts([as_shown]) == {"t": (3.0, 3.0)}
    # Ranked a, b, c: of (b, a), (b, c), (a, c) the last two.
    assert first_shown_counts([replace(as_shown, answer=RankingAnswer((1, 2, 3)))]) == {"t": (2.0, 3.0)}
    # A tie is no vote for anybody; and what counts is what was clicked, whatever the question.
    assert first_shown_counts([replace(as_shown, answer=RankingAnswer((1, 1, 2)))]) == {"t": (2.0, 2.0)}
    assert first_shown_counts([replace(as_shown, polarity=-1)]) == {"t": (3.0, 3.0)}
    assert first_shown_counts([as_shown], Reading(confirmed_reversed=frozenset({"ann"}))) == {"t": (3.0, 3.0)}


def test_median_seconds_ignores_unmeasured_times() -> None:
    times = [0, 4000, 10_000, 5000]
    judgments = [judged(RankingAnswer((1, 2)), 2, str(i), active_ms=ms) for i, ms in enumerate(times)]
    assert median_seconds(judgments) == 5.0
    assert median_seconds(judgments[:1]) is None
    assert median_seconds([judged(RankingAnswer((1, 2)), 2, active_ms=1)]) == 0.001


def test_readouts_of_a_small_campaign() -> None:
    judgments = [
        judged(RankingAnswer((2, 1) if name == "rev" else (1, 2)), 2, f"{task}", name, active_ms=1000 * (task + 1))
        for task in range(5)
        for name in ("ann", "bob", "rev")
    ]
    judgments.append(judged(RankingAnswer((1, None)), 2, "9", "ann"))
    found = {row.labeler_id: row for row in readouts(judgments, Reading(gold={"0": RankingAnswer((1, 2))}))}
    assert next(iter(found)) == "rev"  # least reliable first
    assert (found["ann"].with_others.value, found["rev"].with_others.value) == (None, 0.0)  # bob and rev cancel out
    assert (found["ann"].gold.value, found["rev"].gold.value) == (1.0, 0.0)
    assert found["rev"].weight == 0.0
    assert found["ann"].num_tasks == 6
    assert found["ann"].num_votes == 5
    assert found["ann"].fails.value == pytest.approx(1 / 12)
    assert found["ann"].ties.value == 0.0
    assert found["bob"].first_shown.value == 1.0
    assert found["bob"].median_seconds == 3.0
    assert {row.standing for row in found.values()} == {"too few tasks to say"}
    turned = {row.labeler_id: row for row in readouts(judgments, Reading(confirmed_reversed=frozenset({"rev"})))}
    assert turned["rev"].with_others.value == 1.0
    assert turned["rev"].weight == pytest.approx(1.0)


def standings_of(num_up: int, num_down: int, num_tasks: int, num_gold: int = 0) -> set[str]:
    """Of labelers who all rank a, b, c and others who all rank c, b, a; three votes for each task."""
    ranks = {f"up{i}": (1, 2, 3) for i in range(num_up)} | {f"down{i}": (3, 2, 1) for i in range(num_down)}
    judgments = [judged(RankingAnswer(row), 3, f"{t}", name) for t in range(num_tasks) for name, row in ranks.items()]
    gold = {f"{task}": RankingAnswer((1, 2, 3)) for task in range(num_gold)}
    return {f"{name.rstrip('0123456789')}: {said}" for name, said in standings(judgments, Reading(gold=gold)).items()}


def test_standings_of_whole_campaigns() -> None:
    assert standings_of(3, 0, 40) == {"up: too few tasks to say"}
    assert standings_of(3, 0, 40, num_gold=4) == {"up: in line"}
    assert standings_of(1, 1, 60) == {"up: too few labelers to say", "down: too few labelers to say"}
    assert standings_of(4, 3, 60) == {"up: in line", "down: group"}


def test_reading_is_what_the_settings_say() -> None:
    settings = ReadingSettings(
        consensus="majority", fail_share=0.75, level_scores=False, pairs_by="completion", order_rule="copeland"
    )
    gold = {"t": RankingAnswer((1, 2))}
    assert Reading.of(settings, criterion="help", confirmed_reversed=["bob"], gold=gold) == Reading(
        "majority", 0.75, "help", False, "completion", "copeland", frozenset({"bob"}), gold
    )
    assert Reading.of(ReadingSettings()) == Reading()


def test_known_answer_tells_two_labelers_apart() -> None:
    """With it ann was right once, bob never: (0.7 · 2 + 1) / 3 and 0.7 · 2 / 3. Without it each was right by half."""
    judgments = [judged(RankingAnswer((1, 2)), 2), judged(RankingAnswer((2, 1)), 2, labeler="bob")]
    found, untold = Reading(gold={"t": RankingAnswer((1, 2))}).estimates(judgments)
    assert (found["ann"].accuracy, found["bob"].accuracy) == pytest.approx((0.8, 1.4 / 3), abs=1e-6)
    assert untold == frozenset()
    found, untold = Reading().estimates(judgments)
    assert (found["ann"].accuracy, found["bob"].accuracy) == pytest.approx((1.9 / 3, 1.9 / 3), abs=1e-6)
    assert untold == {"ann", "bob"}


def test_labelers_of_whom_nothing_is_told_are_listed_by_name() -> None:
    """bob also judged alone, which raises his estimate; two who differ cannot be told apart all the same."""
    judgments = [judged(RankingAnswer((1, 2)), 2, labeler="zoe"), judged(RankingAnswer((2, 1)), 2, labeler="bob")]
    alone = judged(RankingAnswer((2, 1)), 2, task="u", labeler="bob")
    assert Reading().least_reliable_first([*judgments, alone]) == ["bob", "zoe"]


def test_coefficients_depend_on_the_way_of_judging() -> None:
    def names(*answers: Answer) -> set[str]:
        return set(coefficients([judged(answer, 2, labeler=str(i)) for i, answer in enumerate(answers)]))

    pairs = {"fail_alpha", "pair_alpha", "pair_fleiss"}
    assert names(RankingAnswer((1, 2)), RankingAnswer((1, 2))) == {"tau_b", "w"} | pairs
    assert names(SideBySideAnswer("first")) == pairs
    assert names(ThumbsAnswer((True, False))) == {"alpha"} | pairs
    likert = LikertAnswer({"kind": (1, 2), "true": (3, 4)})
    measured = {f"alpha_{level}:{name}" for level in ("ordinal", "interval") for name in ("kind", "true")}
    assert names(likert) == {"fail_alpha"} | measured


def test_coefficients_by_hand() -> None:
    judgments = [
        judged(RankingAnswer(ranks), 2, task, name)
        for task, rows in {"t": ((1, 2), (1, 2)), "u": ((1, 2), (2, 1)), "v": ((2, 1), (None, 1))}.items()
        for name, ranks in zip(("ann", "bob"), rows, strict=True)
    ]
    found = coefficients(judgments)
    assert found["tau_b"].value == pytest.approx(0.0)  # 1 and −1; v has one completion that both ranked
    # Pairs t: + +, u: + −. o(+, +) = 2, o(+, −) = o(−, +) = 1, n₊ = 3, n₋ = 1, n = 4: 1 − 3 · 2 / (2 · 3) = 0.
    assert found["pair_alpha"].value == pytest.approx(0.0)
    # P = 1 and 0: ½. p = ¾, ¼: P_e = 10/16. (8/16 − 10/16) / (6/16) = −1/3.
    assert found["pair_fleiss"].value == pytest.approx(-1 / 3)
    # Six completions, one marked F by one of two: o(F, ·) = 1 each way, n_F = 1, n = 12: 1 − 11 · 2 / (2 · 11) = 0.
    assert found["fail_alpha"].value == pytest.approx(0.0)
    likert = [judged(LikertAnswer({"kind": scores}), 2, labeler=name) for name, scores in
              {"ann": (1, 5), "bob": (1, None), "cid": (1, 4)}.items()]  # fmt: skip
    # Units 1 1 1 and 5 4. o(1,1) = 3, o(4,5) = o(5,4) = 1, n = 5: observed 2 · 1, expected 2 (3·9 + 3·16 + 1) = 152.
    assert coefficients(likert)["alpha_interval:kind"].value == pytest.approx(1 - 4 * 2 / 152)
