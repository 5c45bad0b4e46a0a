"""The quantities of evaluations and of training: what each is called, how it is written, drawn and coloured.

One table describes them all, so that a quantity looks the same wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from preflab.settings.preference_losses import CURVES
from preflab.words import Form, intervals, number, percent, points


@dataclass(frozen=True)
class Quantity:
    """One quantity, or with a name that ends in `/` all whose names begin so."""

    name: str
    called: str
    """On an axis and in a table; `{}` stands for the rest of a name that only begins so."""
    role: str = "policy"
    """The colour: green for judges and people, orange for learned rewards, blue for the policy."""
    from_zero: bool = True
    """Whether 0 means none of it, as of shares, counts and KL: bars begin there, axes include it. A score has no such
    zero, since any constant could be added to it: it is a dot with its interval."""
    form: Form = number
    difference: Form = number
    """How a difference of two is written: of shares in points."""
    said: str = ""
    """At the start of a sentence about its course; the name when it is empty."""
    budget: str = ""
    """The setting that is a limit to it: drawn as a line, and the axis is logarithmic where it is passed tenfold."""


def _score(name: str, called: str, role: str, said: str = "") -> Quantity:
    return Quantity(name, called, role, from_zero=False, said=said)


def _share(name: str, called: str, role: str = "policy", said: str = "") -> Quantity:
    return Quantity(name, called, role, form=percent, difference=points, said=said)


def _loss(kind: str, role: str = "policy", called: str = "") -> Quantity:
    """A loss: what it falls to matters, not how far that is from 0."""
    return Quantity(f"loss/{kind}", called or f"{kind} loss", role, from_zero=False, said=called)


QUANTITIES = (
    _score("judge/", "{} (judge)", "gold"),
    _share("fail/", "F by {}", "gold"),
    _share("label/", "{}", "gold"),
    _score("reward/mean", "reward", "reward", "Reward"),
    _score("reward/", "{} (reward model)", "reward"),
    _score("score/held_out", "held-out criterion", "gold", "The held-out criterion"),
    Quantity("kl/exact", "KL to the reference, nats per completion", said="KL to the reference", budget="kl_budget"),
    Quantity("kl/k1", "KL to the reference (sampled)", said="KL to the reference (sampled)", budget="kl_budget"),
    Quantity("kl/coef", "KL coefficient", said="The KL coefficient"),
    Quantity("length/tokens", "length, tokens"),
    Quantity("length/words", "length, words"),
    Quantity("length/mean", "length", said="Length"),
    _share("repeat/share", "repeated 3-grams within a completion", said="The share of repeated 3-grams"),
    Quantity("distinct/1", "distinct-1, different words / words"),
    Quantity("distinct/2", "distinct-2, different word pairs / word pairs"),
    Quantity("entropy/token", "entropy, nats per token"),
    Quantity("entropy/mean", "entropy", said="Entropy"),
    _share("finished/", "ended by itself"),
    Quantity("loss/policy", "policy loss", said="Policy loss"),
    Quantity("loss/value", "value loss", said="Value loss"),
    _loss("nll", called="loss"),
    _loss("bradley_terry", "reward", "loss"),
    _loss("rating", "reward", "loss"),
    *(_loss(kind) for kind in CURVES),
    _score("accuracy/implicit", "accuracy on the pairs of the step", "policy"),
    _score("accuracy/train", "accuracy on the pairs of the step", "reward"),
    _score("held_out/accuracy", "accuracy on held-out pairs", "policy"),
    Quantity("logratio/chosen", "log-ratio of the chosen completions"),
    Quantity("logratio/rejected", "log-ratio of the rejected completions"),
    Quantity("score/margin", "margin between chosen and rejected", "reward"),
    Quantity("group/no_spread", "prompts with equal rewards, share", said="The share of prompts with equal rewards"),
    Quantity("value/explained_variance", "explained variance of the value", said="Explained variance of the value"),
    Quantity("clip/policy", "clipped tokens, share", said="The share of clipped tokens"),
)
"""In the order of reading: judges, F and classes, rewards, KL, length, variety, then what only training logs."""
_EXACT = {each.name: each for each in QUANTITIES}
_BEGINNINGS = [each for each in QUANTITIES if each.name.endswith("/")]


def quantity(name: str) -> Quantity:
    """What the table says of a measure; one that it lacks is a number under its own name, without a known zero."""
    return _EXACT.get(name) or next(
        (each for each in _BEGINNINGS if name.startswith(each.name)), Quantity(name, name, from_zero=False)
    )


def measure_name(measure: str) -> str:
    """`judge/gold` → gold (judge); `kl/exact` → KL to the reference, nats per completion."""
    known = quantity(measure)
    return known.called.replace("{}", measure.removeprefix(known.name)) if known.name.endswith("/") else known.called


def is_share(measure: str) -> bool:
    """Whether it is written in percent."""
    return quantity(measure).form is percent


def measure_title(measure: str) -> str:
    """The name at the start of a sentence: names that people gave keep their case."""
    name = measure_name(measure)
    return name if "{}" in quantity(measure).called else name[0].upper() + name[1:]


def measure_order(measure: str) -> tuple[int, str]:
    """The place in the table, what is not there last; those that begin alike by their names."""
    known = quantity(measure)
    return QUANTITIES.index(known) if known in QUANTITIES else len(QUANTITIES), measure


def measured(evaluation: Mapping[str, Any]) -> list[str]:
    """The measures any model of an evaluation has, in the order of reading."""
    return sorted({name for model in evaluation["models"] for name in model["figures"]}, key=measure_order)


def figure_texts(evaluation: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Measure → model → figure with its interval: one precision for a measure, wherever it is quoted."""
    models = evaluation["models"]
    return {
        name: dict(
            zip(
                (model["name"] for model in models),
                intervals([model["figures"].get(name) for model in models], quantity(name).form),
                strict=True,
            )
        )
        for name in measured(evaluation)
    }


def leading(names: Iterable[str]) -> str | None:
    """The measure a verdict rests on: the first judge, or else the first reward model."""
    known = list(names)
    candidates = [name for prefix in ("judge/", "reward/") for name in known if name.startswith(prefix)]
    return candidates[0] if candidates else None
