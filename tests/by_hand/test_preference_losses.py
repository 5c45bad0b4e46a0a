"""Every row of the table of preference losses on one pair, worked out on paper; a row that lacks something is named.

The pair, in the order that its label wants:

    chosen     log π = ln(3/4), log π_ref = ln(1/4), 1 token     log-ratio  ln 3,  odds 3
    rejected   log π = ln(1/4), log π_ref = ln(3/4), 2 tokens    log-ratio −ln 3,  1/2 per token, odds 1

so h = 2 ln 3. A loss of single completions is told that the chosen one is good; turned round, that it is bad.
"""

from __future__ import annotations

import inspect
from math import log
from typing import Any, NamedTuple

import pytest
import torch

from preflab.maths import dpo
from preflab.policy.dpo_groups import Weights
from preflab.policy.dpo_losses import Learned, implicit_reward, loss_of
from preflab.settings.preference_losses import LOSSES, LossSettings, Row
from preflab.training.metrics import GLOSSARY

LN2, LN3, LN4 = log(2), log(3), log(4)
CHOSEN = dpo.Side(torch.tensor([log(3 / 4)]), torch.tensor([log(1 / 4)]), torch.tensor([1.0]))
REJECTED = dpo.Side(torch.tensor([log(1 / 4)]), torch.tensor([log(3 / 4)]), torch.tensor([2.0]))


class Worked(NamedTuple):
    """What a loss comes to on paper."""

    settings: dict[str, float]
    right: float
    """The loss of the pair."""
    turned: float
    """The loss of the pair turned round."""
    reward: float
    """The implicit reward of the chosen completion."""
    kl: float = 0.0
    """KTO's z₀."""


WORKED = {
    # β h = ln 3, σ of it 3/4.
    "dpo": Worked({"beta": 0.5}, LN4 - LN3, LN4, 0.5 * LN3),
    # 3/4 · ln(4/3) + 1/4 · ln 4, and turned round 1/4 · ln(4/3) + 3/4 · ln 4.
    "cdpo": Worked({"beta": 0.5, "flip_rate": 0.25}, LN4 - 0.75 * LN3, LN4 - 0.25 * LN3, 0.5 * LN3),
    # (3/4 · ln(4/3) − 1/4 · ln 4) / (1/2), and turned round (3/4 · ln 4 − 1/4 · ln(4/3)) / (1/2).
    "robust": Worked({"beta": 0.5, "flip_rate": 0.25}, LN4 - 1.5 * LN3, LN4 + 0.5 * LN3, 0.5 * LN3),
    # h is to be 2.
    "ipo": Worked({"tau": 0.25}, (2 * LN3 - 2) ** 2, (2 * LN3 + 2) ** 2, 0.25 * LN3),
    # β h = ln 3 is beyond 1.
    "hinge": Worked({"beta": 0.5}, 0.0, 1 + LN3, 0.5 * LN3),
    # Per token ln(3/4) − ln(1/2) = ln(3/2), less ln 3: −ln σ(−ln 2) = ln 3; turned round −ln σ(−ln(9/2)) = ln(11/2).
    "simpo": Worked({"beta": 1.0, "margin": LN3}, LN3, log(11 / 2), LN3 - LN4),
    # Log odds ln 3 apart: ln(4/3) + 2 ln(4/3); turned round ln 2 + 2 ln 4. The reward is ln of the odds.
    "orpo": Worked({"odds_weight": 2.0}, 3 * (LN4 - LN3), LN2 + 2 * LN4, LN3),
    "nll": Worked({}, LN4 - LN3, LN2, LN3 - LN4),
    # log-ratio − z₀ = −ln 3, σ of it 1/4: good loses 2 · 3/4, bad 3 · 1/4.
    "kto": Worked(
        {"beta": 1.0, "desirable_weight": 2.0, "undesirable_weight": 3.0}, 1.5, 0.75, LN3, kl=2 * LN3
    ),
}  # fmt: skip
"""Kind of a loss → what it comes to."""


def given(*, turned: bool = False, kl: float = 0.0, ref_logps: float | None = None) -> Learned:
    """The pair, and the chosen completion called good, or both turned round; weights 1."""
    sides = [
        side if ref_logps is None else side._replace(ref_logps=torch.full((1,), ref_logps))
        for side in (CHOSEN, REJECTED)
    ]
    one, up = torch.ones(1), torch.tensor([0.0 if turned else 1.0])
    first, second = reversed(sides) if turned else sides
    return Learned(dpo.Pairs(first, second, one, one), dpo.Verdicts(sides[0], up, one), Weights(1.0, 1.0), kl)


def lacking(kind: str, loss: type[LossSettings]) -> list[str]:
    """What a row of the table still needs, each as a sentence."""
    row = loss.row
    function = getattr(dpo, row.function, None)
    sentences = []
    if kind not in WORKED:
        sentences.append(f"{kind}: add a line to WORKED in {__name__}, with numbers worked out on paper")
    if f"loss/{kind}" not in GLOSSARY:
        sentences.append(f"{kind}: give its row a `curve`, which says what loss/{kind} means")
    if row.reward not in dpo.IMPLICIT:
        sentences.append(f"{kind}: the `reward` of its row is {row.reward}, none of {', '.join(dpo.IMPLICIT)}")
    if row.scale is not None and row.scale not in loss.model_fields:
        sentences.append(f"{kind}: the `scale` of its row is {row.scale}, which is no setting of it")
    if function is None:
        return [*sentences, f"{kind}: write {row.function} in preflab.maths.dpo"]
    taken = {name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
    handed = loss.model_fields.keys() - {"kind", "weight"} | {"denominator"}
    handed |= {"kl"} if row.learns_from == "verdicts" else set()
    if taken != handed:
        sentences.append(f"{kind}: {row.function} takes {sorted(taken)}, and is handed {sorted(handed)}")
    return sentences


@pytest.mark.parametrize("kind", LOSSES)
def test_row_is_complete(kind: str) -> None:
    assert not lacking(kind, LOSSES[kind])


def test_row_that_lacks_something_is_told_what() -> None:
    class Unfinished(LossSettings):
        row = Row("luck_loss", "luck", "tau", "", "")
        kind: str = "luck"

    class Other(LossSettings):
        row = Row("hinge_loss", "log_ratio", "beta", "", "")
        kind: str = "other"
        beta: float = 1.0
        margin: float = 0.0

    assert lacking("luck", Unfinished) == [
        f"luck: add a line to WORKED in {__name__}, with numbers worked out on paper",
        "luck: give its row a `curve`, which says what loss/luck means",
        "luck: the `reward` of its row is luck, none of log_ratio, mean_log_ratio, mean_logp, log_odds",
        "luck: the `scale` of its row is tau, which is no setting of it",
        "luck: write luck_loss in preflab.maths.dpo",
    ]
    assert lacking("other", Other)[2:] == [
        "other: hinge_loss takes ['beta', 'denominator'], and is handed ['beta', 'denominator', 'margin']"
    ]
    assert {"luck", "other"}.isdisjoint(LOSSES)


@pytest.mark.parametrize("kind", WORKED)
def test_loss_and_reward_are_those_on_paper(kind: str) -> None:
    worked = WORKED[kind]
    loss = LOSSES[kind](**worked.settings)
    assert loss_of(loss, given(kl=worked.kl)).item() == pytest.approx(worked.right, abs=1e-5)
    assert loss_of(loss, given(kl=worked.kl, turned=True)).item() == pytest.approx(worked.turned, abs=1e-5)
    assert implicit_reward([loss])(CHOSEN).item() == pytest.approx(worked.reward, abs=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_reference_counts_where_the_row_says_so(kind: str) -> None:
    """A reference that says NaN of every completion is noticed, or not read at all."""
    value = loss_of(LOSSES[kind](), given(ref_logps=float("nan")))
    assert value.isnan().item() == LOSSES[kind].row.reads_reference


@pytest.mark.parametrize("kind", LOSSES)
def test_loss_is_divided_by_the_weights_of_the_step(kind: str) -> None:
    alone = given()
    shared = loss_of(LOSSES[kind](), alone._replace(step=Weights(4.0, 4.0)))
    assert shared.item() == pytest.approx(loss_of(LOSSES[kind](), alone).item() / 4)


@pytest.mark.parametrize(("kind", "scale"), [("dpo", 0.1), ("ipo", 0.1)])
def test_implicit_reward_is_per_token_where_the_loss_is(kind: str, scale: float) -> None:
    """The rejected completion: −ln 3 over 2 tokens."""
    settings: dict[str, Any] = {"length_normalised": True}
    assert implicit_reward([LOSSES[kind](**settings)])(REJECTED).item() == pytest.approx(scale * -LN3 / 2)
    assert implicit_reward([LOSSES[kind]()])(REJECTED).item() == pytest.approx(scale * -LN3)
