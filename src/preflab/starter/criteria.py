"""Which criteria of ratings a first reward may maximise: the words of their names say of which more is not better."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from preflab.errors import PreflabError
from preflab.starter.data_look import DataLook
from preflab.starter.kinds import Kind
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
"""Words of what nobody wants more of."""
NEITHER = re.compile(
    r"verbos(e|ity)|complex(ity)?|lengths?|len|long|words?|chars?|characters?|tokens?|sentences?|num|count|latency|"
    r"durations?|seconds|time|difficulty|temperature"
)
"""Words of what may be more or less of and be as good."""
NEGATING = {"no", "not", "non", "free", "without", "less", "low", "lack", "absence", "avoidance", "avoids", "anti"}
"""Words that turn one of the others round: `error_free`, `harm_avoidance`."""
SCORED = re.compile(r"(?<=\w{3})(scores?|ratings?|rates?|level|degree)$")
"""What may be written together with a word: `toxicityscore`."""

WEIGHTS = "stages.rm.criteria"
"""Where a first recipe says what the criteria weigh."""


def more_is(criterion: str) -> str:
    """`worse`, `neither` or `better`: what more of a criterion is, as far as its name tells."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", criterion).lower()
    words = [SCORED.sub("", word) for word in re.findall(r"[a-z]+", spaced)]
    if NEGATING.intersection(words):
        return "better"
    meant = {"worse": WORSE, "neither": NEITHER}
    return next((name for name, pattern in meant.items() if any(map(pattern.fullmatch, words))), "better")


def worth_more(criteria: Iterable[str]) -> list[str]:
    """The criteria that a first reward may maximise."""
    return [name for name in criteria if more_is(name) == "better"]


def chosen_weights(data: DataLook, kind: Kind, changes: Sequence[str], recipe: Path) -> dict[str, float]:
    """Criterion → weight in the reward, of ratings; {}: all, weighing alike.

    Args:
        data: what was read.
        kind: of learning; a rating model alone maximises nothing.
        changes: `key=value` as of --set; those that weigh the criteria decide.
        recipe: for messages.

    Raises:
        PreflabError: nothing but criteria of which more is not better, and nobody decided.
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
        f"{data.path}: rated is {_meant(names)}, and kind {kind} would make more of it",
        "a criterion of which more is better",
        _instead(names, kind),
    )


def _meant(names: Sequence[str]) -> str:
    """`toxicity (more is worse) and length (more is not better)`."""
    meanings = {"worse": "more of it is worse", "neither": "more of it is not better", "better": "more of it is better"}
    return listed([f"{name} ({meanings[more_is(name)]})" for name in names])


def _instead(names: Sequence[str], kind: Kind) -> str:
    name = next((each for each in names if more_is(each) == "worse"), names[0])
    least = f"--set {WEIGHTS}.{name}=-1 rewards less of it (a negative weight in `criteria` of stage rm)"
    if kind == "dpo":
        return f"name data with another criterion; with --kind ppo {least}"
    return f"name data with another criterion, or decide yourself: {least}"


def said_of_criteria(data: DataLook, kind: Kind) -> str:
    """What becomes of criteria of which more is not better; "" without any."""
    names = [name for name in data.scales if more_is(name) != "better"]
    if data.sort != "ratings" or not names:
        return ""
    if worth_more(data.scales):
        return f"Not rewarded: {_meant(names)}; `criteria` of stage rm chooses." if kind != "dpo" else ""
    return (
        f"What is rated is {_meant(names)}: the model says how much of it there is. As a reward give it a negative "
        f"weight (`criteria: {{{names[0]}: -1.0}}`)."
    )
