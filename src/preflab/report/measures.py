"""The quantities of evaluations and of training: name, number format, axis and colour of each.

One table describes them all, so that a quantity looks the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from preflab.settings.preference_losses import CURVES
from preflab.words import Form, intervals, number, percent, points


@dataclass(frozen=True)
class Quantity:
    """One quantity, or, if the name ends in `/`, all quantities whose names begin with it."""

    name: str
    called: str
    """Name on an axis and in a table; `{}` stands for the part after a name that ends in `/`."""
    role: str = "policy"
    """The colour: green for judges and people, orange for learned rewards, blue for the policy."""
    from_zero: bool = True
    """Whether 0 means none, as for shares, counts and KL: bars begin at 0 and axes include it. A score has no such
    zero, since any constant can be added to it: it is drawn as a dot with its interval."""
    form: Form = number
    difference: Form = number
    """Format of a difference: percentage points for shares."""
    said: str = ""
    """Name at the start of a sentence about its course; "" means `called`."""
    budget: str = ""
    """Setting that limits it. It is drawn as a line, and the axis is logarithmic if it is exceeded tenfold."""


def _score(name: str, called: str, role: str, said: str = "") -> Quantity:
    return Quantity(name, called, role, from_zero=False, said=said)


def _share(name: str, called: str, role: str = "policy", said: str = "") -> Quantity:
    return Quantity(name, called, role, form=percent, difference=points, said=said)


def _loss(kind: str, role: str = "policy", called: str = "") -> Quantity:
    """A loss: its axis need not include 0."""
    return Quantity(f"loss/{kind}", called or f"{kind} loss", role, from_zero=False, said=called)


QUANTITIES = (
    _score("judge/", "{} (judge)", "gold"),
    Quantity("probability/", "mean {}", "gold"),
    Quantity("spread/", "spread of {} (standard deviation)", "gold"),
    _share("above/", "{} above the threshold", "gold"),
    _share("fail/", "F by {}", "gold"),
    _share("label/", "{}", "gold"),
    Quantity("rouge/1", "ROUGE-1, F1", "gold"),
    Quantity("rouge/2", "ROUGE-2, F1", "gold"),
    Quantity("rouge/l", "ROUGE-L, F1", "gold"),
    *(
        Quantity(f"rouge/{kind}/{part}", f"ROUGE-{kind.upper()}, {part}", "gold")
        for kind in ("1", "2", "l")
        for part in ("precision", "recall")
    ),
    _score("reward/mean", "reward", "reward", "Reward"),
    _score("reward/environment", "reward of the environment", "reward", "The reward of the environment"),
    Quantity("reward/environment/num_turns", "turns of the policy", said="The number of turns"),
    _score("reward/environment/", "{} (environment)", "reward"),
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
    _share("refused", "share refused"),
    _score("logp", "log-probability of the word, nats", "policy"),
    Quantity("loss/policy", "policy loss", said="Policy loss"),
    Quantity("loss/value", "value loss", said="Value loss"),
    Quantity("loss/q", "loss of Q", said="The loss of Q"),
    Quantity("loss/expectile", "expectile loss of V", said="The expectile loss of V"),
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
"""In display order: judges, F and classes, rewards, KL, length, variety, then metrics that only training logs."""
LEADING = ("judge/", "reward/", "probability/")
"""Prefixes of the measures that can decide the verdict, in order of preference."""
OF_CLASSIFIERS = ("probability", "spread", "above")
"""The parts of a measure's name before the classifier's name."""
LOWER_IS_BETTER = ("fail", "repeat")
WITHOUT_SIDE = ("label", "length", "kl", "entropy")
_EXACT = {each.name: each for each in QUANTITIES}
_BEGINNINGS = [each for each in QUANTITIES if each.name.endswith("/")]


def quantity(name: str) -> Quantity:
    """The table's entry for a measure; for an unknown one a plain number under its own name, without a known zero."""
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
    """The measure's name for the start of a sentence; a name chosen by a user keeps its case."""
    name = measure_name(measure)
    return name if quantity(measure).called.startswith("{}") else name[0].upper() + name[1:]


def measure_order(measure: str) -> tuple[int, str]:
    """Sort key: place in the table (unknown measures last), then name."""
    known = quantity(measure)
    return QUANTITIES.index(known) if known in QUANTITIES else len(QUANTITIES), measure


def measured(evaluation: Mapping[str, Any]) -> list[str]:
    """All measures of the evaluation's models, in display order."""
    return sorted({name for model in evaluation["models"] for name in model["figures"]}, key=measure_order)


def figure_texts(evaluation: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Measure → model → figure with its interval; all models of a measure are written with the same precision."""
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


def has_side(name: str) -> bool:
    """Whether one direction of the measure is better than the other; a class, a length or a KL has none by itself."""
    return name.partition("/")[0] not in WITHOUT_SIDE


def is_better(evaluation: Mapping[str, Any], name: str, difference: float) -> bool:
    """Whether a difference of the measure is an improvement: higher, except for F, repeats, and classes of harm."""
    kind, _, short = name.partition("/")
    lower = kind in LOWER_IS_BETTER
    lower |= kind in OF_CLASSIFIERS and evaluation.get("classifiers", {}).get(short, {}).get("better") == "lower"
    return difference < 0 if lower else difference > 0


def primary_of(evaluation: Mapping[str, Any], differences: Iterable[str]) -> str | None:
    """The measure that decides the verdict; None if there is none, or if these differences lack it.

    An evaluation by an earlier version names none: the first judge, reward model or classifier decided.
    """
    known = list(differences)
    if "primary" in evaluation:
        return evaluation["primary"] if evaluation["primary"] in known else None
    candidates = [name for prefix in LEADING for name in known if name.startswith(prefix)]
    return candidates[0] if candidates else None
