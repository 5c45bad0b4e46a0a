"""Where DPO and its relatives end, in worlds small enough to list: each at the fixed point its page states.

Pairs are all ordered pairs of completions. A pair (y, y') is drawn with μ(y) μ(y') and its winner is y with
P(y ≻ y') = σ(u(y) − u(y')), so its weight as a pair with the hard label 1 is μ(y) μ(y') P(y ≻ y').
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from enumerated.world import World
from preflab.maths import dpo
from preflab.settings.preference_losses import LOSSES, LossSettings

BETA, TAU, FLIPS = 0.5, 0.25, 0.2
Loss = Callable[[dpo.Pairs], Tensor]

WORLDS = {
    "two letters, two tokens": World(2, 2, seed=3),
    "three letters, two tokens, of two lengths": World(3, 2, end_token=0, seed=2),
    "two letters, three tokens, of three lengths": World(2, 3, end_token=0, seed=7),
}


def preferred(world: World, flips: float = 0.0) -> Tensor:
    """(N, N) P(row ≻ column), of which a share is flipped."""
    true = torch.sigmoid(world.scores[:, None] - world.scores[None, :])
    return (1 - flips) * true + flips * (1 - true)


def sampled_from(world: World, kind: str = "uniform") -> Tensor:
    """(N,) μ: where the completions of pairs come from."""
    if kind == "reference":
        return world.seq_logps(world.ref_logits).exp()
    return torch.full_like(world.scores, 1 / len(world.scores))


def sides(world: World, logits: Tensor) -> dpo.Side:
    """(N,) every completion once."""
    return dpo.Side(world.seq_logps(logits), world.seq_logps(world.ref_logits), world.mask.sum(-1).double())


def all_pairs(world: World, logits: Tensor, wins: Tensor, mu: Tensor) -> dpo.Pairs:
    """(N²,) every ordered pair, label 1, weighing what it is drawn with and how often it comes out so."""
    rows, columns = (index.flatten() for index in torch.meshgrid(*2 * [torch.arange(len(mu))], indexing="ij"))
    every = sides(world, logits)
    chosen, rejected = (dpo.Side(*(part[index] for part in every)) for index in (rows, columns))
    weights = mu[rows] * mu[columns] * wins[rows, columns]
    return dpo.Pairs(chosen, rejected, torch.ones_like(weights), weights)


def trained(world: World, loss: Loss, *, flips: float = 0.0, mu: str = "uniform", num_steps: int = 400) -> Tensor:
    """The table of logits that descent on the expected loss ends at."""

    def gradient(logits: Tensor) -> Tensor:
        logits.requires_grad_()
        (found,) = torch.autograd.grad(
            loss(all_pairs(world, logits, preferred(world, flips), sampled_from(world, mu))), logits
        )
        return found

    return world.descend(gradient, num_steps=num_steps)


def least(world: World, loss_of_difference: Callable[[Tensor, Tensor], Tensor], flips: float = 0.0) -> Tensor:
    """(N,) log π of the policy whose scores minimise Σ P(y ≻ y') ℓ(score(y) − score(y')), by Newton on the scores."""
    wins = preferred(world, flips)

    def total(scores: Tensor) -> Tensor:
        return loss_of_difference(scores[:, None] - scores[None, :], wins).mean()

    scores = torch.zeros_like(world.scores)
    for _ in range(50):
        gradient = torch.autograd.functional.jacobian(total, scores)
        hessian = torch.autograd.functional.hessian(total, scores)
        scores = scores - torch.linalg.pinv(hessian) @ gradient
    assert gradient.abs().max() < 1e-9
    return (world.seq_logps(world.ref_logits) + scores / BETA).log_softmax(0)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("mu", ["uniform", "reference"])
def test_dpo_reaches_the_tilted_reference(world: World, mu: str) -> None:
    """π* ∝ π_ref exp(u / β), whatever the pairs are drawn from."""
    found = trained(world, lambda p: dpo.dpo_loss(p, beta=BETA), mu=mu, num_steps=700)
    assert world.distance(world.ref_logits, world.optimum(BETA)) > 0.3, "there is something to learn"
    assert world.distance(found, world.optimum(BETA)) < 0.02


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_soft_labels_are_the_same_as_many_hard_ones(world: World) -> None:
    wins, mu = preferred(world), sampled_from(world)
    hard = all_pairs(world, world.ref_logits, wins, mu)
    soft = all_pairs(world, world.ref_logits, torch.ones_like(wins), mu)._replace(labels=wins.flatten())
    torch.testing.assert_close(dpo.dpo_loss(soft, beta=BETA), dpo.dpo_loss(hard, beta=BETA))


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_robust_dpo_reaches_it_through_flipped_labels(world: World) -> None:
    found = trained(world, lambda p: dpo.robust_loss(p, beta=BETA, flip_rate=FLIPS), flips=FLIPS)
    assert world.distance(found, world.optimum(BETA)) < 0.02
    # Plain DPO on the same labels does not.
    plain = trained(world, lambda p: dpo.dpo_loss(p, beta=BETA), flips=FLIPS)
    assert world.distance(plain, world.optimum(BETA)) > 0.05


@pytest.mark.parametrize("flips", [0.0, FLIPS])
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_cdpo_ends_at_its_own_projection(world: World, flips: float) -> None:
    """The scores nearest to labels smoothed once more, which no π* gives."""

    def smoothed(d: Tensor, wins: Tensor) -> Tensor:
        labels = (1 - FLIPS) * wins + FLIPS * wins.T
        return labels * torch.log1p(torch.exp(-d))

    found = trained(world, lambda p: dpo.cdpo_loss(p, beta=BETA, flip_rate=FLIPS), flips=flips)
    assert world.distance(found, least(world, smoothed, flips)) < 0.02
    assert world.distance(found, world.optimum(BETA)) > 0.05


@pytest.mark.parametrize("mu", ["uniform", "reference"])
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_ipo_tilts_by_the_probability_of_winning(world: World, mu: str) -> None:
    """π ∝ π_ref exp(P(y ≻ μ) / τ), P(y ≻ μ) the chance to beat a completion drawn as the pairs were."""
    wins_against_mu = preferred(world) @ sampled_from(world, mu)
    expected = (world.seq_logps(world.ref_logits) + wins_against_mu / TAU).log_softmax(0)
    found = trained(world, lambda p: dpo.ipo_loss(p, tau=TAU), mu=mu)
    assert world.distance(found, expected) < 0.02
    assert world.distance(world.ref_logits, expected) > 0.05


def per_token(world: World, start: Tensor, beta: float) -> Tensor:
    """(N,) log π with log(π / start) / length = u / β + c, the c that makes it add up to 1, found by halving."""
    lengths = world.mask.sum(-1)
    low, high = torch.tensor(-50.0).double(), torch.tensor(50.0).double()
    for _ in range(200):
        c = (low + high) / 2
        found = start + lengths * (world.scores / beta + c)
        low, high = (c, high) if found.exp().sum() < 1 else (low, c)
    assert found.exp().sum() == pytest.approx(1)
    return found


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_length_normalised_dpo_tilts_by_utility_times_length(world: World) -> None:
    """π = π_ref exp(|y| (u / β + c)): long completions are tilted further, whatever they are worth."""
    expected = per_token(world, world.seq_logps(world.ref_logits), BETA)
    found = trained(world, lambda p: dpo.dpo_loss(p, beta=BETA, length_normalised=True), num_steps=700)
    assert world.distance(found, expected) < 0.02


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_simpo_forgets_the_reference(world: World) -> None:
    """With margin 0: π = exp(|y| (u / β + c)), in which π_ref does not appear."""
    expected = per_token(world, torch.zeros_like(world.scores), 2.0)
    found = trained(world, lambda p: dpo.simpo_loss(p, beta=2.0, margin=0.0), num_steps=700)
    assert world.distance(found, expected) < 0.02


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_likelihood_alone_imitates_the_chosen(world: World) -> None:
    """π(y) ∝ (share of pairs in which y was chosen) / |y|, since means per token count a short completion more."""
    mu = sampled_from(world)
    chosen = mu * (preferred(world) @ mu)
    expected = (chosen / world.mask.sum(-1)).log()
    found = trained(world, dpo.chosen_nll_loss)
    assert world.distance(found, expected.log_softmax(0)) < 0.02


def expected_utility(world: World, logits: Tensor) -> float:
    return float((world.seq_logps(logits).exp() * world.scores).sum())


IMPROVING: dict[str, Loss] = {
    "hinge": lambda p: dpo.hinge_loss(p, beta=BETA),
    "dpo, length-normalised": lambda p: dpo.dpo_loss(p, beta=BETA, length_normalised=True),
    "dpo with nll": lambda p: dpo.dpo_loss(p, beta=BETA) + 0.2 * dpo.chosen_nll_loss(p),
}
WITHOUT_REFERENCE: dict[str, Loss] = {
    "simpo": lambda p: dpo.simpo_loss(p, beta=2.0, margin=0.5),
    "orpo": lambda p: dpo.orpo_loss(p, odds_weight=1.0),
}


def improvement(world: World, loss: Loss) -> float:
    """Expected utility gained over the reference, from pairs of the reference's own completions."""
    found = trained(world, loss, mu="reference", num_steps=200)
    return expected_utility(world, found) - expected_utility(world, world.ref_logits)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("name", IMPROVING)
def test_these_improve_the_expected_utility(name: str, world: World) -> None:
    assert improvement(world, IMPROVING[name]) > 0.1


@pytest.mark.parametrize("world", list(WORLDS.values())[:2], ids=list(WORLDS)[:2])
@pytest.mark.parametrize("name", WITHOUT_REFERENCE)
def test_so_do_those_without_a_reference(name: str, world: World) -> None:
    assert improvement(world, WITHOUT_REFERENCE[name]) > 0.1


@pytest.mark.parametrize("name", WITHOUT_REFERENCE)
def test_which_can_end_below_where_they_began(name: str) -> None:
    """Lengths of one to three tokens and a good reference: means per token lose it, where DPO goes on from it."""
    world = WORLDS["two letters, three tokens, of three lengths"]
    assert improvement(world, WITHOUT_REFERENCE[name]) < 0
    assert improvement(world, lambda p: dpo.dpo_loss(p, beta=BETA)) > 0.1


def kto_trained(world: World, num_steps: int) -> tuple[Tensor, Tensor]:
    """Thumbs up with σ(u − mean u), on completions of the reference; z₀ is the exact KL. The table and the thumbs."""
    mu = sampled_from(world, "reference")
    up = torch.sigmoid(world.scores - (mu * world.scores).sum())

    def gradient(logits: Tensor) -> Tensor:
        logits.requires_grad_()
        verdicts = dpo.Verdicts(sides(world, logits), up, mu)
        (found,) = torch.autograd.grad(dpo.kto_loss(verdicts, beta=BETA, kl=world.kl(logits).detach()), logits)
        return found

    return world.descend(gradient, num_steps=num_steps), up


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_kto_improves_the_expected_utility(world: World) -> None:
    found, _ = kto_trained(world, 200)
    assert expected_utility(world, found) > expected_utility(world, world.ref_logits) + 0.1


@pytest.mark.parametrize("world", list(WORLDS.values())[:2], ids=list(WORLDS)[:2])
def test_kto_ends_where_its_page_says(world: World) -> None:
    """Mostly bad completions vanish; for the good ones (2p − 1) σ'(β (r − z)) / exp(r) is one number.

    p is the share of thumbs up, r the log-ratio. In the third world one completion alone is good, and nothing is left
    to compare.
    """
    logits, up = kto_trained(world, 800)
    log_ratios = world.seq_logps(logits) - world.seq_logps(world.ref_logits)
    gain = torch.sigmoid(BETA * (log_ratios - world.kl(logits)))
    good = up > 0.5
    balance = ((2 * up - 1) * gain * (1 - gain) / log_ratios.exp())[good]
    assert good.sum() >= 2
    assert (balance / balance.mean() - 1).abs().max() < 0.05
    assert log_ratios[~good].max() < -1.5


def of_row(loss: LossSettings) -> Loss:
    """A loss with its default settings."""
    function = getattr(dpo, loss.row.function)
    if loss.row.learns_from == "pairs":
        return lambda p: function(p, **loss.hyperparameters)
    return lambda p: function(dpo.Verdicts(p.chosen, p.labels, p.weights), **loss.hyperparameters, kl=0.1)


EVERY: dict[str, Loss] = {
    **{kind: of_row(loss()) for kind, loss in LOSSES.items()},
    "dpo": lambda p: dpo.dpo_loss(p, beta=BETA),
    "dpo with margin": lambda p: dpo.dpo_loss(p, beta=BETA, margin=0.3),
    "dpo, length-normalised": lambda p: dpo.dpo_loss(p, beta=BETA, length_normalised=True),
    "cdpo": lambda p: dpo.cdpo_loss(p, beta=BETA, flip_rate=FLIPS),
    "robust": lambda p: dpo.robust_loss(p, beta=BETA, flip_rate=FLIPS),
    "ipo": lambda p: dpo.ipo_loss(p, tau=TAU),
    "ipo, length-normalised": lambda p: dpo.ipo_loss(p, tau=TAU, length_normalised=True),
    "hinge": lambda p: dpo.hinge_loss(p, beta=BETA),
    "simpo": lambda p: dpo.simpo_loss(p, beta=2.0, margin=0.5),
    "orpo": lambda p: dpo.orpo_loss(p, odds_weight=1.0),
    "kto": lambda p: dpo.kto_loss(dpo.Verdicts(p.chosen, p.labels, p.weights), beta=BETA, kl=0.1),
}
"""Every row of the table, most with settings that bend them more, and the variants of some."""


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("name", EVERY)
def test_gradient_is_that_of_finite_differences(name: str, world: World) -> None:
    """Central differences of the expected loss in every logit, away from the reference and from any kink."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(world.ref_logits.shape, generator=generator, dtype=torch.float64)
    wins, mu = preferred(world), sampled_from(world)

    def value(table: Tensor) -> Tensor:
        return EVERY[name](all_pairs(world, table, wins, mu))

    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(value(logits), logits)
    step = 1e-5
    for place in range(logits.numel()):
        shift = torch.zeros(logits.numel(), dtype=torch.float64)
        shift[place] = step
        shift = shift.view_as(logits)
        with torch.no_grad():
            difference = (value(logits + shift) - value(logits - shift)) / (2 * step)
        assert gradient.flatten()[place].item() == pytest.approx(difference.item(), abs=1e-6)
    assert gradient.abs().max() > 1e-3
