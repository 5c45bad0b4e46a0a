"""Simulated labelers: without noise they do exactly what their vices say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from preflab.labelers.simulated import make_panel, measure_completions, perceived, rank, ranks_with_ties
from preflab.labelers.simulated_ways import judge
from preflab.records import Campaign, Completion, Labeler, RankingAnswer, Task
from preflab.settings.feedback import PanelSettings

TEXTS = ("one two", "one two three four", "one two three four kind brilliant")  # lengths 2, 4, 6: −√1.5, 0, √1.5


def settings(**other: Any) -> PanelSettings:
    return PanelSettings(
        **({"utility": "m:f", "noise": 0.0, "tie_width": 0.1, "flattering_words": ("kind", "brilliant")} | other)
    )


def completions() -> list[Completion]:
    return [Completion.make("p", text, "m", index=i) for i, text in enumerate(TEXTS)]


def one(habit: str) -> Labeler:
    return Labeler("l", "l", "simulated", {"habit": habit})


def ranking(habit: str, utilities: tuple[float | None, ...], **other: Any) -> tuple[int | None, ...]:
    known = measure_completions(completions(), utilities, settings().flattering_words)
    answer = rank(one(habit), list(known.values()), settings(**other), np.random.default_rng(0))
    return answer.ranks


def test_what_a_labeler_perceives() -> None:
    known = list(measure_completions(completions(), (1.0, 0.5, -1.0), ("kind", "brilliant")).values())
    assert [k.length for k in known] == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    assert [k.num_flattering for k in known] == [0, 0, 2]
    biased = settings(length_bias=2.0, flattery_bias=0.25)
    assert [perceived(k, biased) for k in known] == pytest.approx([1 - 6**0.5, 0.5, -1 + 6**0.5 + 0.5])


def test_an_attentive_labeler_without_noise_ranks_by_utility() -> None:
    assert ranking("attentive", (1.0, 3.0, 2.0)) == (3, 1, 2)
    assert ranking("attentive", (1.0, None, 2.0)) == (2, None, 1)


def test_a_reversed_labeler_turns_it_round_and_still_sees_the_f() -> None:
    assert ranking("reversed", (1.0, 3.0, 2.0)) == (1, 3, 2)
    assert ranking("reversed", (1.0, None, 2.0)) == (1, None, 2)


def test_flattery_wins_where_the_panel_is_fond_of_it() -> None:
    assert ranking("attentive", (1.0, 0.5, 0.3)) == (1, 2, 3)
    assert ranking("attentive", (1.0, 0.5, 0.3), flattery_bias=0.5) == (2, 3, 1)


def test_ties_within_the_width() -> None:
    assert ranks_with_ties((1.0, 0.95, 0.0), 0.1) == (1, 1, 3)
    assert ranks_with_ties((0.0, 1.0, 0.5), 0.1) == (3, 1, 2)
    # Measured from the best of the tie: 1.0 and 0.92 tie, 0.88 is 0.12 below the best.
    assert ranks_with_ties((1.0, 0.92, 0.88), 0.1) == (1, 1, 3)
    assert ranks_with_ties((None, None), 0.1) == (None, None)
    assert ranks_with_ties((1.0, 1.0), 0.0) == (1, 2)


def test_equal_texts_tie_whatever_the_noise() -> None:
    same = [Completion.make("p", "one two", "m", index=i) for i in range(3)]
    known = list(measure_completions(same, (1.0, 1.0, 1.0), ()).values())
    answer = rank(one("attentive"), known, settings(noise=2.0), np.random.default_rng(0))
    assert answer == RankingAnswer((1, 1, 1))


def test_a_careless_labeler_does_not_read() -> None:
    utilities = (0.0, 5.0, None)
    known = list(measure_completions(completions(), utilities, ()).values())
    drawn = [rank(one("careless"), known, settings(), np.random.default_rng(seed)).ranks for seed in range(300)]
    best = [ranks.index(1) for ranks in drawn]
    assert all(abs(best.count(i) - 100) < 35 for i in range(3))  # a standard deviation is 8
    assert all(rank_ is not None for ranks in drawn for rank_ in ranks)


def test_the_panel_is_what_the_settings_say_and_repeatable() -> None:
    wanted = settings(num=5, careless=1, reversed=1, noise=0.5)
    labelers = make_panel(wanted, seed=1)
    assert labelers == make_panel(wanted, seed=1)
    assert sorted(labeler.settings["habit"] for labeler in labelers) == ["attentive"] * 3 + ["careless", "reversed"]
    assert all(labeler.kind == "simulated" and labeler.name.startswith("simulated") for labeler in labelers)
    places = {
        [labeler.settings["habit"] for labeler in make_panel(wanted, seed)].index("careless") for seed in range(30)
    }
    assert len(places) == 5  # the name does not give it away
    with pytest.raises(ValidationError, match="more than num"):
        settings(num=2, careless=2, reversed=1)


def test_a_judgment_follows_from_seed_labeler_and_task() -> None:
    found = completions()
    known = measure_completions(found, (1.0, 3.0, 2.0), ())
    campaign = Campaign("c", "labels", "ranking", question="Which?", polarity=1)
    task = Task("t", "c", "p", tuple(completion.id for completion in found))
    first = judge(campaign, task, one("attentive"), known, settings(), seed=5)
    assert first == judge(campaign, task, one("attentive"), known, settings(), seed=5)
    assert first.answer == RankingAnswer((3, 1, 2))
    assert (first.question, first.polarity, first.labeler_kind, first.active_ms) == ("Which?", 1, "simulated", 0)
    assert sorted(first.shown_order) == [0, 1, 2]
    orders = {judge(campaign, task, one("attentive"), known, settings(), seed).shown_order for seed in range(40)}
    assert len(orders) == 6
