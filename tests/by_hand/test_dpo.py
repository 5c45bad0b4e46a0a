"""DPO and its relatives by hand, at differences whose exponentials are whole numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.maths import dpo
from preflab.settings.preference_losses import LOSSES as ROWS

LN2, LN3, LN4, LN9 = math.log(2), math.log(3), math.log(4), math.log(9)


def doubles(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def side(log_ratios: Tensor, ref_logps: Tensor | None = None, lengths: Tensor | None = None) -> dpo.Side:
    """A side with these log-ratios over a reference that says −5 everywhere, two tokens each, unless told."""
    reference = torch.full_like(log_ratios, -5.0) if ref_logps is None else ref_logps
    return dpo.Side(log_ratios + reference, reference, torch.full_like(log_ratios, 2.0) if lengths is None else lengths)


def pairs(
    chosen: Tensor, rejected: Tensor, labels: Tensor | None = None, weights: Tensor | None = None, **lengths: Tensor
) -> dpo.Pairs:
    """Pairs of these log-ratios."""
    return dpo.Pairs(
        side(chosen, lengths=lengths.get("chosen_lengths")),
        side(rejected, lengths=lengths.get("rejected_lengths")),
        torch.ones_like(chosen) if labels is None else labels,
        torch.ones_like(chosen) if weights is None else weights,
    )


def test_dpo() -> None:
    # Log-ratios +ln 3 and −ln 3: h = 2 ln 3. With β = ½, β h = ln 3 and σ = 3/4.
    assert dpo.dpo_loss(pairs(doubles(LN3), doubles(-LN3)), beta=0.5).item() == pytest.approx(LN4 - LN3, abs=1e-12)
    # The pair the wrong way round: σ(−ln 3) = 1/4.
    assert dpo.dpo_loss(pairs(doubles(-LN3), doubles(LN3)), beta=0.5).item() == pytest.approx(LN4, abs=1e-12)
    # At the reference: ln 2, whatever β.
    assert dpo.dpo_loss(pairs(doubles(0), doubles(0)), beta=7.0).item() == pytest.approx(LN2, abs=1e-12)


def test_only_the_ratio_to_the_reference_counts() -> None:
    # log π = −2 against −2 + ln 3 in the reference: log-ratio −ln 3, though both sides are equally likely under π.
    chosen = dpo.Side(doubles(-2), doubles(-2 - LN3), doubles(1))
    rejected = dpo.Side(doubles(-2), doubles(-2), doubles(1))
    given = dpo.Pairs(chosen, rejected, doubles(1), doubles(1))
    assert dpo.dpo_loss(given, beta=1.0).item() == pytest.approx(LN4 - LN3)


def test_soft_labels_and_margin() -> None:
    given = pairs(doubles(LN3), doubles(0), labels=doubles(0.9))
    # 0.9 · −ln(3/4) + 0.1 · −ln(1/4) = ln 4 − 0.9 ln 3
    assert dpo.dpo_loss(given, beta=1.0).item() == pytest.approx(LN4 - 0.9 * LN3)
    # Margin ln 3: the chosen side has d − ln 3 = 0, σ = 1/2; turned round −ln 3 − ln 3 = −ln 9, σ = 1/10.
    found = dpo.dpo_loss(given, beta=1.0, margin=LN3).item()
    assert found == pytest.approx(0.9 * LN2 + 0.1 * math.log(10))


def test_length_normalised() -> None:
    # Log-ratio 4 ln 3 over 4 tokens is ln 3 per token; 0 over 2 is 0: d = ln 3 with β = 1.
    given = pairs(doubles(4 * LN3), doubles(0), chosen_lengths=doubles(4), rejected_lengths=doubles(2))
    assert dpo.dpo_loss(given, beta=1.0, length_normalised=True).item() == pytest.approx(LN4 - LN3)
    # IPO with τ = ½: (ln 3 − 1)².
    assert dpo.ipo_loss(given, tau=0.5, length_normalised=True).item() == pytest.approx((LN3 - 1) ** 2)


def test_conservative() -> None:
    # ε = ¼ at d = ln 3: ¾ · −ln(3/4) + ¼ · −ln(1/4) = ln 4 − ¾ ln 3, and that is its least value: d there is ln(¾/¼).
    chosen = doubles(LN3).requires_grad_()
    loss = dpo.cdpo_loss(pairs(chosen, doubles(0)), beta=1.0, flip_rate=0.25)
    assert loss.item() == pytest.approx(LN4 - 0.75 * LN3)
    (gradient,) = torch.autograd.grad(loss, chosen)
    assert gradient.item() == pytest.approx(0, abs=1e-12)


def test_robust() -> None:
    # ε = ¼ at d = ln 3: [¾ · −ln(3/4) − ¼ · −ln(1/4)] / ½ = 1.5 (ln 4 − ln 3) − 0.5 ln 4 = ln 4 − 1.5 ln 3.
    loss = dpo.robust_loss(pairs(doubles(LN3), doubles(0)), beta=1.0, flip_rate=0.25)
    assert loss.item() == pytest.approx(LN4 - 1.5 * LN3)


def test_robust_without_flips_is_dpo() -> None:
    assert dpo.robust_loss(pairs(doubles(LN3), doubles(0)), beta=1.0, flip_rate=0.0).item() == pytest.approx(LN4 - LN3)


def test_robust_is_unbiased() -> None:
    # A true winner is labelled rightly with ¾ and wrongly with ¼. The mean of the robust loss is DPO's: −ln(3/4).
    right = dpo.robust_loss(pairs(doubles(LN3), doubles(0)), beta=1.0, flip_rate=0.25)
    wrong = dpo.robust_loss(pairs(doubles(0), doubles(LN3)), beta=1.0, flip_rate=0.25)
    assert (0.75 * right + 0.25 * wrong).item() == pytest.approx(LN4 - LN3)


@pytest.mark.parametrize("flip_rate", [0.5, 0.7, -0.1])
def test_robust_refuses_labels_that_say_nothing(flip_rate: float) -> None:
    with pytest.raises(ValueError, match="below 0.5"):
        dpo.robust_loss(pairs(doubles(0), doubles(0)), beta=1.0, flip_rate=flip_rate)


def test_ipo() -> None:
    # τ = ¼ wishes h = 2. h = 3 − 0: 1. The other way round h = −3: 25. Label ¾: ¾ · 1 + ¼ · (3 + 2)² = 7.
    assert dpo.ipo_loss(pairs(doubles(3), doubles(0)), tau=0.25).item() == pytest.approx(1)
    assert dpo.ipo_loss(pairs(doubles(0), doubles(3)), tau=0.25).item() == pytest.approx(25)
    assert dpo.ipo_loss(pairs(doubles(3), doubles(0), doubles(0.75)), tau=0.25).item() == pytest.approx(7)


def test_hinge() -> None:
    # β = ½: h = 1 lacks ½; h = 2 and more lack nothing; h = −2 lacks 2. Label ¾ at h = 2: ¾ · 0 + ¼ · 2.
    found = [dpo.hinge_loss(pairs(doubles(h), doubles(0)), beta=0.5).item() for h in (1, 2, 5, -2)]
    assert found == pytest.approx([0.5, 0, 0, 2])
    assert dpo.hinge_loss(pairs(doubles(2), doubles(0), doubles(0.75)), beta=0.5).item() == pytest.approx(0.5)


def test_simpo_reads_no_reference() -> None:
    # Mean logps −1 (−4 over 4 tokens) and −1 − ln 3 (over 2): with β = 2, d = 2 ln 3; γ = ln 3 leaves ln 3.
    chosen = dpo.Side(doubles(-4), doubles(math.nan), doubles(4))
    rejected = dpo.Side(doubles(-2 - 2 * LN3), doubles(math.nan), doubles(2))
    given = dpo.Pairs(chosen, rejected, doubles(1), doubles(1))
    assert dpo.simpo_loss(given, beta=2.0, margin=LN3).item() == pytest.approx(LN4 - LN3)
    # Label 0: the pair turned round misses the margin by 3 ln 3: −ln σ(−ln 27) = ln 28.
    turned = given._replace(labels=doubles(0))
    assert dpo.simpo_loss(turned, beta=2.0, margin=LN3).item() == pytest.approx(math.log(28))


def test_orpo() -> None:
    # Mean probabilities ¾ and ½: odds 3 and 1, log odds ln 3 apart. −ln ¾ + λ · −ln σ(ln 3), λ = 2: 3 · (ln 4 − ln 3).
    chosen = dpo.Side(2 * doubles(math.log(0.75)), doubles(math.nan), doubles(2))
    rejected = dpo.Side(3 * doubles(math.log(0.5)), doubles(math.nan), doubles(3))
    given = dpo.Pairs(chosen, rejected, doubles(1), doubles(1))
    assert dpo.orpo_loss(given, odds_weight=2.0).item() == pytest.approx(3 * (LN4 - LN3))
    # Label 0 learns the other one: −ln ½ + 2 · −ln σ(−ln 3).
    turned = given._replace(labels=doubles(0))
    assert dpo.orpo_loss(turned, odds_weight=2.0).item() == pytest.approx(LN2 + 2 * LN4)


@pytest.mark.parametrize("probability", [1e-12, 1e-6, 0.25, 0.5, 0.75, 1 - 1e-6])
def test_log_odds_are_exact_at_both_ends(probability: float) -> None:
    found = dpo.log_odds(dpo.Side(doubles(math.log(probability)), doubles(0), doubles(1)))
    assert found.item() == pytest.approx(math.log(probability) - math.log1p(-probability), rel=1e-9)


def test_log_odds_are_exact_in_single_precision() -> None:
    """p = exp(−10⁻⁶): odds of 10⁶ to one, which 1 − exp(−10⁻⁶) misses by 5 % in single precision."""
    given = dpo.Side(torch.tensor([-2e-6]), torch.tensor([0.0]), torch.tensor([2.0]))
    assert dpo.log_odds(given).item() == pytest.approx(6 * math.log(10), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "reads_reference"),
    [("log_ratio", 2, True), ("mean_log_ratio", 0.5, True), ("mean_logp", -LN2, False), ("log_odds", 0, False)],
)
def test_implicit_quantities_and_whether_they_read_the_reference(
    name: str, value: float, reads_reference: bool
) -> None:
    """Four tokens of probability ½ each, two nats above the reference."""
    quantity = dpo.IMPLICIT[name]
    given = dpo.Side(doubles(-4 * LN2), doubles(-4 * LN2 - 2), doubles(4))
    assert quantity.value(given).tolist() == pytest.approx([value], abs=1e-12)
    assert quantity.reads_reference is reads_reference


def test_log_odds_of_a_certain_completion_have_a_gradient() -> None:
    logps = doubles(0.0, -1e-12, -1.0).requires_grad_()
    dpo.log_odds(dpo.Side(logps, doubles(0, 0, 0), doubles(1, 1, 1))).sum().backward()
    assert logps.grad is not None
    assert logps.grad.isfinite().all()


def test_chosen_nll() -> None:
    # −4 over 4 tokens and −2 over 1: means 1 and 2. Label ¾: ¾ · 1 + ¼ · 2.
    chosen, rejected = dpo.Side(doubles(-4), doubles(0), doubles(4)), dpo.Side(doubles(-2), doubles(0), doubles(1))
    assert dpo.chosen_nll_loss(dpo.Pairs(chosen, rejected, doubles(1), doubles(1))).item() == pytest.approx(1)
    assert dpo.chosen_nll_loss(dpo.Pairs(chosen, rejected, doubles(0.75), doubles(1))).item() == pytest.approx(1.25)


def test_kto() -> None:
    # β = 1, z = ln 2: log-ratio ln 6 is ln 3 above, σ = ¾. Good loses ¼, bad loses ¾.
    for up, weights, expected in ((1, (1.0, 1.0), 0.25), (0, (1.0, 1.0), 0.75), (0, (1.0, 2.0), 1.5), (1, (4, 1), 1)):
        given = dpo.Verdicts(side(doubles(math.log(6))), doubles(up), doubles(1))
        loss = dpo.kto_loss(given, beta=1.0, kl=LN2, desirable_weight=weights[0], undesirable_weight=weights[1])
        assert loss.item() == pytest.approx(expected)
    # Three of four say good: ¾ · ¼ + ¼ · ¾.
    given = dpo.Verdicts(side(doubles(math.log(6))), doubles(0.75), doubles(1))
    assert dpo.kto_loss(given, beta=1.0, kl=LN2).item() == pytest.approx(0.375)


def test_kto_raises_the_good_and_lowers_the_bad() -> None:
    log_ratios = doubles(0, 0).requires_grad_()
    given = dpo.Verdicts(side(log_ratios), doubles(1, 0), doubles(1, 1))
    dpo.kto_loss(given, beta=2.0, kl=0.0).backward()
    # d σ(−x)/dx at 0 = −¼, times β, over two completions.
    assert log_ratios.grad is not None
    assert log_ratios.grad.tolist() == pytest.approx([-0.25, 0.25])


def test_kto_counts_gains_from_the_kl_without_a_gradient() -> None:
    mismatched = doubles(1, 4).requires_grad_()
    assert dpo.kto_kl(mismatched).item() == pytest.approx(2.5)
    assert not dpo.kto_kl(mismatched).requires_grad
    assert dpo.kto_kl(doubles(-3, 1)).item() == 0
    log_ratios = doubles(0).requires_grad_()
    dpo.kto_loss(dpo.Verdicts(side(log_ratios), doubles(1), doubles(1)), beta=1.0, kl=mismatched.mean()).backward()
    assert mismatched.grad is None


LOSSES: dict[str, tuple[Any, dict[str, Any]]] = {
    kind: (getattr(dpo, loss.row.function), loss().hyperparameters)
    for kind, loss in ROWS.items()
    if loss.row.learns_from == "pairs"
}
"""Every loss of pairs with its default settings."""


@pytest.mark.parametrize("name", LOSSES)
def test_weights_and_denominator(name: str) -> None:
    """Weights ½ and 1½ weigh the single losses; the denominator is 2, or 10 where that is handed in."""
    loss, options = LOSSES[name]
    chosen, rejected = doubles(LN3, -0.4), doubles(-0.2, 0.5)
    one, other = (loss(pairs(chosen[[i]], rejected[[i]]), **options) for i in (0, 1))
    both = pairs(chosen, rejected, weights=doubles(0.5, 1.5))
    torch.testing.assert_close(loss(both, **options), (0.5 * one + 1.5 * other) / 2)
    torch.testing.assert_close(loss(both, **options, denominator=10.0), (0.5 * one + 1.5 * other) / 10)


@pytest.mark.parametrize("name", LOSSES)
def test_label_zero_is_the_pair_turned_round(name: str) -> None:
    loss, options = LOSSES[name]
    chosen, rejected = doubles(LN3, -0.4), doubles(-0.2, 0.5)
    turned = loss(pairs(rejected, chosen), **options)
    torch.testing.assert_close(loss(pairs(chosen, rejected, labels=doubles(0, 0)), **options), turned)


@pytest.mark.parametrize("name", LOSSES)
def test_a_pair_of_weight_zero_may_be_nan(name: str) -> None:
    loss, options = LOSSES[name]
    chosen = doubles(0.1, math.nan).requires_grad_()
    value = loss(pairs(chosen, doubles(0, 0), weights=doubles(1, 0)), **options)
    assert value.item() == pytest.approx(loss(pairs(doubles(0.1), doubles(0)), **options).item())


@pytest.mark.parametrize("name", LOSSES)
def test_the_chosen_is_pulled_up(name: str) -> None:
    """Away from any minimum, descent raises the chosen completion; all but the likelihood lower the rejected one."""
    loss, options = LOSSES[name]
    chosen, rejected = doubles(0.1).requires_grad_(), doubles(0.0).requires_grad_()
    loss(pairs(chosen, rejected), **options).backward()
    assert chosen.grad is not None
    assert chosen.grad.item() < 0
    assert rejected.grad is not None
    assert rejected.grad.item() > 0 if name != "nll" else rejected.grad.item() == 0


def test_the_reference_has_no_gradient() -> None:
    reference = doubles(-1).requires_grad_()
    chosen = dpo.Side(doubles(-1).requires_grad_(), reference, doubles(1))
    dpo.dpo_loss(dpo.Pairs(chosen, side(doubles(0)), doubles(1), doubles(1)), beta=1.0).backward()
    assert reference.grad is None


def test_far_apart_pairs_stay_finite() -> None:
    # −log σ(−β · 2000) = 2000 β.
    assert dpo.dpo_loss(pairs(doubles(-1000), doubles(1000)), beta=0.5).item() == pytest.approx(1000)
    assert dpo.dpo_loss(pairs(doubles(1000), doubles(-1000)), beta=0.5).item() == 0
