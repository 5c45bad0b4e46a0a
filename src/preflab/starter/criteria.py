"""Choose the criteria that a first reward may maximise: words in their names tell where more is not better."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from preflab.errors import PreflabError
from preflab.starter.data_look import DataLook
from preflab.starter.kind_of_learning import Kind
from preflab.words import listed

WORSE = re.compile(
    r"toxic(ity)?|harm(s|ful|fulness)?|errors?|bias(es|ed)?|hallucinat(e|es|ed|ion|ions)|offen[cs](e|ive|iveness)|"
    r"rude(ness)?|hate(ful|fulness)?|hatred|insult(s|ing)?|threat(s|ening)?|profan(e|ity)|obscen(e|ity)|violen(t|ce)|"
    r"sexual|nsfw|unsafe|danger(ous|ousness)?|risk(s|y|iness)?|(mis|dis)information|falsehoods?|"
    r"false(ness)?|wrong(ness)?|incorrect(ness)?|inaccura(te|cy|cies)|mistakes?|fail(ed|ure|ures|s)?|defects?|bugs?|"
    r"violations?|bad(ness)?|sycophan(t|tic|cy)|flattery|deception|deceptive(ness)?|dishonest(y)?|manipulati(ve|on)|"
    r"stereotyp(e|es|ing)|spam|redundan(t|cy)|repetit(ion|ions|ive|iveness)|incoheren(t|ce)|irrelevan(t|ce)|"
    r"confus(ion|ing)|ambigu(ous|ity)|vague(ness)?|penalt(y|ies)|loss(es)?|costs?|perplexity|ppl|refusals?|"
    r"contradict(s|ion|ions)|plagiari(sm|sed|zed)|leak(s|age)?|severity|distance"
)
"""Words for properties of which more is worse."""
NEITHER = re.compile(
    r"verbos(e|ity)|complex(ity)?|lengths?|len|long|words?|chars?|characters?|tokens?|sentences?|num|count|latency|"
    r"durations?|seconds|time|difficulty|temperature"
)
"""Words for properties of which more is neither better nor worse."""
NEGATING = {"no", "not", "non", "free", "without", "less", "low", "lack", "absence", "avoidance", "avoids", "anti"}
"""Words that negate another one: `error_free`, `harm_avoidance`."""
SCORED = re.compile(r"(?<=\w{3})(scores?|ratings?|rates?|level|degree)$")
"""Endings that may be joined to a word: `toxicityscore`."""

WEIGHTS = "stages.rm.criteria"
"""The setting of a first recipe with the weights of the criteria."""


def more_is(criterion: str) -> str:
    """Whether more of a criterion is `worse`, `neither` or `better`, judged by the words of its name."""
    snake_case = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", criterion).lower()
    words = [SCORED.sub("", word) for word in re.findall(r"[a-z]+", snake_case)]
    if NEGATING.intersection(words):
        return "better"
    patterns = {"worse": WORSE, "neither": NEITHER}
    return next((name for name, pattern in patterns.items() if any(map(pattern.fullmatch, words))), "better")


def worth_more(criteria: Iterable[str]) -> list[str]:
    """The criteria of which more is better; a first reward may maximise them."""
    return [name for name in criteria if more_is(name) == "better"]


def choose_weights(data: DataLook, kind: Kind, changes: Sequence[str], recipe: Path) -> dict[str, float]:
    """Criterion → weight in the reward, for ratings; {}: all criteria with equal weights.

    Args:
        data: the data that were read.
        kind: the kind of learning; a rating model alone maximises nothing.
        changes: `key=value` from --set; weights of criteria given there are taken as they are.
        recipe: path of the recipe, for messages.

    Raises:
        PreflabError: more is not better for any of the criteria, and `changes` has no weights.
    """
    from preflab.recipe.overrides import apply_overrides

    if data.sort != "ratings":
        return {}
    decided = [change for change in changes if change.startswith((f"{WEIGHTS}.", f"{WEIGHTS}="))]
    if decided and kind != "dpo":
        weights: dict[str, float] = apply_overrides({"stages": {"rm": {}}}, decided, recipe)["stages"]["rm"]["criteria"]
        return weights
    rewarded = worth_more(data.scales)
    if not rewarded and kind != "reward":
        _refuse(data, kind)
    return dict.fromkeys(rewarded, 1.0) if rewarded != list(data.scales) else {}


def _refuse(data: DataLook, kind: Kind) -> NoReturn:
    names = list(data.scales)
    raise PreflabError(
        f"{data.path}: the ratings are of {_describe(names)}, and kind {kind} would increase it",
        "a criterion of which more is better",
        _advise(names, kind),
    )


def _describe(names: Sequence[str]) -> str:
    """`toxicity (more of it is worse) and length (more of it is not better)`."""
    meanings = {"worse": "more of it is worse", "neither": "more of it is not better", "better": "more of it is better"}
    return listed([f"{name} ({meanings[more_is(name)]})" for name in names])


def _advise(names: Sequence[str], kind: Kind) -> str:
    name = next((each for each in names if more_is(each) == "worse"), names[0])
    least = f"--set {WEIGHTS}.{name}=-1 rewards less of it (a negative weight in `criteria` of stage rm)"
    if kind == "dpo":
        return f"name data with another criterion; with --kind ppo {least}"
    return f"name data with another criterion, or decide yourself: {least}"


def explain_criteria(data: DataLook, kind: Kind) -> str:
    """A sentence on criteria of which more is not better; "" if there are none."""
    names = [name for name in data.scales if more_is(name) != "better"]
    if data.sort != "ratings" or not names:
        return ""
    if worth_more(data.scales):
        return f"Not rewarded: {_describe(names)}; change it with `criteria` of stage rm." if kind != "dpo" else ""
    return (
        f"The ratings are of {_describe(names)}: the model predicts how much of it there is. To use it as a reward, "
        f"give it a negative weight (`criteria: {{{names[0]}: -1.0}}`)."
    )
