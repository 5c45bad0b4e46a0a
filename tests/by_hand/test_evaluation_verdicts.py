"""Which measure decides, and which differences are found after the correction of their family."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflab.errors import PreflabError
from preflab.evaluation.corrected_verdicts import as_family, with_verdicts
from preflab.report.measures import has_side, is_better, primary_of
from preflab.settings.evaluation import EvaluateSettings
from preflab.stages.common.primary_measure import primary_measure
from preflab.statistics.interval import Interval
from preflab.words import AMONG_SEVERAL, difference_sentence, difference_text, is_found, p_text


def interval(p: float) -> Interval:
    return Interval(1.0, 0.1, 1.9, 50, p=p)


def settings(**changes: Any) -> EvaluateSettings:
    return EvaluateSettings(**{"models": ("sft", "ppo"), "prompts": "prompts", **changes})


def test_the_primary_measure_is_tested_alone_and_the_others_as_a_family() -> None:
    measures = {"judge/gold": interval(0.04), "a": interval(0.02), "b": interval(0.03), "none": interval(math.nan)}
    verdicts = with_verdicts({"ppo": measures}, "judge/gold")["ppo"]
    assert (verdicts["judge/gold"]["family"], verdicts["judge/gold"]["p_holm"]) == ("primary", 0.04)
    # 2 · 0.02, and 1 · 0.03, which may not be below it.
    assert [verdicts[name]["p_holm"] for name in ("a", "b", "none")] == pytest.approx([0.04, 0.04, None])
    assert verdicts["a"]["family"] == verdicts["none"]["family"] == "others"
    assert (verdicts["a"]["low"], verdicts["a"]["p"]) == (0.1, 0.02)


def test_the_primary_differences_of_several_models_are_one_family() -> None:
    compared = {name: {"judge/gold": interval(p)} for name, p in (("ppo", 0.03), ("dpo", 0.02))}
    verdicts = with_verdicts(compared, "judge/gold")
    assert [verdicts[name]["judge/gold"]["p_holm"] for name in compared] == pytest.approx([0.04, 0.04])
    # Without a primary measure each model's measures are a family.
    assert with_verdicts(compared, None)["ppo"]["judge/gold"]["p_holm"] == pytest.approx(0.03)


def test_texts_of_people_are_no_member_of_the_models_family() -> None:
    compared = {name: {"judge/gold": interval(p)} for name, p in (("ppo", 0.03), ("human", 0.02))}
    verdicts = with_verdicts(compared, "judge/gold", apart=("human",))
    assert [verdicts[name]["judge/gold"]["p_holm"] for name in compared] == [0.03, 0.02]


def test_differences_of_one_family_are_corrected_together() -> None:
    verdicts = as_family({("gender", "length"): interval(0.02), ("age", "length"): interval(0.03)})
    assert [one["p_holm"] for one in verdicts.values()] == pytest.approx([0.04, 0.04])
    assert verdicts["age", "length"]["p"] == 0.03


def test_the_recipe_names_the_primary_measure() -> None:
    judges = {"tone": "judges:tone", "gold": "judges:gold"}
    assert primary_measure(settings(judges=judges, primary="judge/gold")).measure == "judge/gold"
    assert primary_measure(settings(judges=judges, primary="judge/gold")).note == ""
    assert primary_measure(settings(primary="length/words")).measure == "length/words"
    assert primary_measure(settings(labels="judges:class", primary="label/rude")).measure == "label/rude"
    with pytest.raises(PreflabError, match="near it: judge/gold"):
        primary_measure(settings(judges=judges, primary="judge/gould"))
    with pytest.raises(PreflabError, match="not a measure of this evaluation"):
        primary_measure(settings(primary="label/rude"))


def test_every_recipe_names_its_primary_measure_before_the_run(repository: Path) -> None:
    for path in sorted((repository / "recipes").glob("*.yaml")):
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
        unnamed = [name for name, one in stages.items() if one["kind"] == "evaluate" and "primary" not in one]
        assert not unnamed, path.name


def test_an_unknown_primary_measure_is_answered_with_one_that_there_is() -> None:
    classifiers = {"toxic": {"model": "m", "class_label": "toxic"}}
    with pytest.raises(PreflabError, match="such as `primary: probability/toxic`"):
        primary_measure(settings(classifiers=classifiers, primary="judge/gold"))
    recall = settings(reference_texts=("summary",), primary="rouge/1/recall")
    assert primary_measure(recall).measure == "rouge/1/recall"


def test_a_default_primary_measure_is_said() -> None:
    first = primary_measure(settings(judges={"tone": "judges:tone", "gold": "judges:gold"}, rewards=("rm",)))
    assert first.measure == "judge/tone"
    assert first.note == (
        "Primary measure by default: tone (judge), the first judge; name one by `primary: judge/tone`"
    )
    reward = primary_measure(settings(rewards=("rm", "other")))
    assert reward.measure == "reward/rm"
    assert "rm (reward model), the first reward model" in reward.note
    assert primary_measure(settings()) == primary_measure(settings(models=("sft",)))
    assert primary_measure(settings()).measure is None
    classifiers = {"toxic": {"model": "m", "class_label": "toxic"}}
    assert primary_measure(settings(classifiers=classifiers)).measure == "probability/toxic"
    assert primary_measure(settings(classifiers=classifiers, primary="above/toxic")).measure == "above/toxic"
    assert primary_measure(settings(reference_texts=("summary",), primary="rouge/l")).measure == "rouge/l"
    assert primary_measure(settings(models=("sft",), rewards=("rm",))).note == ""


def test_reports_read_the_primary_measure_of_the_evaluation() -> None:
    names = ["reward/rm", "judge/gold", "length/words"]
    assert primary_of({"primary": "length/words"}, names) == "length/words"
    assert primary_of({"primary": "label/rude"}, names) is None
    assert primary_of({"primary": None}, names) is None
    assert primary_of({}, names) == "judge/gold", "an evaluation of an earlier version"


def test_a_difference_that_its_family_does_not_bear_is_said_to_be_that() -> None:
    figure = {"value": 0.5, "low": 0.25, "high": 0.75, "num": 50, "note": "", "p": 0.03, "p_holm": 0.06}
    assert not is_found(figure)
    assert difference_text(figure) == f"0.50 higher, but {AMONG_SEVERAL}"
    assert difference_sentence(figure, "ppo", "sft", "gold (judge)") == (
        f"ppo scores 0.50 higher than sft on gold (judge), 95\u00a0% interval 0.25 to 0.75, but {AMONG_SEVERAL}"
    )
    assert is_found({**figure, "p_holm": 0.05})
    assert is_found({**figure, "p_holm": None})
    assert not is_found({**figure, "low": -0.1, "p_holm": 0.01})


def test_p_values_as_text() -> None:
    assert [p_text(p) for p in (0.032, 0.41, 1.0, 0.001, 0.0004, None)] == [
        "0.032", "0.41", "1", "0.001", "below 0.001", "–",
    ]  # fmt: skip


def test_the_better_side_of_a_measure() -> None:
    names = ["judge/gold", "reward/rm", "rouge/1", "distinct/1", "finished/share", "fail/gold", "repeat/share"]
    assert [is_better({}, name, 0.1) for name in names] == [True] * 5 + [False] * 2
    assert [is_better({}, name, -0.1) for name in names] == [False] * 5 + [True] * 2
    assert all(map(has_side, [*names, "probability/toxic"]))
    assert not any(map(has_side, ("label/rude", "length/words", "kl/exact", "entropy/token")))
