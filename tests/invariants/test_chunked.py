"""Statistics of the next-token distribution in chunks: their values, and three ways to their gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from preflab.models.chunk import Head
from preflab.models.chunked import TokenStatistics, token_loss, token_statistics


def test_chunked_statistics_by_hand() -> None:
    """p = (¾, ¼), q = (½, ½): entropy 2 ln 2 − ¾ ln 3, KL = ¾ ln 1.5 + ¼ ln ½, whatever the chunk size."""
    hidden, reference = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [0.0]])
    ln2, ln3 = 0.6931471805599453, 1.0986122886681098
    head = Head(torch.tensor([[ln3], [0.0]]))
    for logits_per_chunk in (2, 100):
        found = token_statistics(
            hidden, head, torch.tensor([0, 1]), entropy=True, ref_hidden=reference, logits_per_chunk=logits_per_chunk
        )
        assert found.logps.tolist() == pytest.approx([ln3 - 2 * ln2, -2 * ln2], abs=1e-6)
        assert found.entropy.tolist() == pytest.approx([2 * ln2 - 0.75 * ln3] * 2, abs=1e-6)
        assert found.kl.tolist() == pytest.approx([0.75 * (ln3 - ln2) - 0.25 * ln2] * 2, abs=1e-6)
        assert found.ref_logps.tolist() == pytest.approx([-ln2] * 2, abs=1e-6)


@pytest.mark.parametrize("learns", ["hidden", "head", "both"])
@pytest.mark.parametrize("logits_per_chunk", [7, 30, 10_000])
def test_chunked_gradients_are_those_of_autograd(learns: str, logits_per_chunk: int) -> None:
    """Against log_softmax differentiated by torch; 11 tokens of a vocabulary of 7: chunks do not divide evenly."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias, reference = (
        torch.randn(shape, generator=generator, dtype=torch.float64).float()
        for shape in ((11, 5), (7, 5), (7,), (11, 5))
    )
    targets = torch.randint(0, 7, (11,), generator=generator)
    upstream = torch.randn((3, 11), generator=generator)
    hidden.requires_grad_(learns != "head")
    weight.requires_grad_(learns != "hidden")
    bias.requires_grad_(learns != "hidden")
    wanted = [t for t in (hidden, weight, bias) if t.requires_grad]

    log_p = ((hidden @ weight.T + bias) / 0.7).log_softmax(-1)
    log_q = ((reference @ weight.T + bias) / 0.7).log_softmax(-1).detach()
    plain = (
        log_p[torch.arange(11), targets],
        -(log_p.exp() * log_p).sum(-1),
        (log_p.exp() * (log_p - log_q)).sum(-1),
    )
    expected = torch.autograd.grad(sum((u * x).sum() for u, x in zip(upstream, plain, strict=True)), wanted)
    found = token_statistics(
        hidden,
        Head(weight, bias),
        targets,
        temperature=0.7,
        entropy=True,
        ref_hidden=reference,
        logits_per_chunk=logits_per_chunk,
    )
    ours = torch.autograd.grad(sum((u * x).sum() for u, x in zip(upstream, found[:3], strict=True)), wanted)
    for a, b in zip(ours, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("learns", ["hidden", "head", "both"])
@pytest.mark.parametrize("logits_per_chunk", [7, 30, None])
@pytest.mark.parametrize("packs", [True, False])
def test_a_loss_taken_at_once_is_that_of_autograd(
    learns: str, logits_per_chunk: int | None, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is no linear function of its statistics, against log_softmax differentiated by torch."""
    monkeypatch.setattr("preflab.models.packed._works", lambda: packs)
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias, reference, weights = (
        torch.randn(shape, generator=generator) for shape in ((11, 5), (7, 5), (7,), (11, 5), (3, 11))
    )
    targets = torch.randint(0, 7, (11,), generator=generator)
    hidden.requires_grad_(learns != "head")
    weight.requires_grad_(learns != "hidden")
    bias.requires_grad_(learns != "hidden")
    wanted = [t for t in (hidden, weight, bias) if t.requires_grad]

    def loss(said: TokenStatistics, part: slice) -> Tensor:
        return sum(((w[part] * x) ** 2 + w[part] * x).sum() for w, x in zip(weights, said[:3], strict=True))

    log_p = ((hidden @ weight.T + bias) / 0.7).log_softmax(-1)
    log_q = ((reference @ weight.T + bias) / 0.7).log_softmax(-1).detach()
    plain = TokenStatistics(
        log_p[torch.arange(11), targets],
        -(log_p.exp() * log_p).sum(-1),
        (log_p.exp() * (log_p - log_q)).sum(-1),
        log_q[torch.arange(11), targets],
    )
    expected = 3 * loss(plain, slice(0, 11))
    found, said = token_loss(
        hidden, Head(weight, bias), targets, loss=loss, temperature=0.7, entropy=True, ref_hidden=reference,
        logits_per_chunk=logits_per_chunk,
    )  # fmt: skip
    assert found.item() * 3 == pytest.approx(expected.item(), rel=1e-5)
    for ours, theirs in zip(said, plain, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert not ours.requires_grad
    for ours, theirs in zip(torch.autograd.grad(3 * found, wanted), torch.autograd.grad(expected, wanted), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("learns_head", [False, True])
def test_entropy_that_is_only_looked_at_has_no_gradient(learns_head: bool) -> None:
    hidden, weight = torch.randn(4, 3, requires_grad=True), torch.randn(5, 3, requires_grad=learns_head)
    found = [
        token_statistics(hidden, Head(weight), torch.tensor([0, 1, 4, 2]), entropy=True, entropy_gradient=wanted)
        for wanted in (True, False)
    ]
    assert torch.equal(found[0].entropy, found[1].entropy)
    assert found[0].entropy.requires_grad
    assert not found[1].entropy.requires_grad
    first, second = (torch.autograd.grad(one.logps.sum(), hidden)[0] for one in found)
    assert torch.allclose(first, second)


@pytest.mark.parametrize("packs", [True, False])
def test_no_tokens_at_all_are_no_trouble(packs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preflab.models.packed._works", lambda: packs)
    hidden, weight = torch.zeros(0, 5, requires_grad=True), torch.ones(7, 5, requires_grad=True)
    targets = torch.zeros(0, dtype=torch.long)
    found = token_statistics(hidden, Head(weight), targets, entropy=True, ref_hidden=torch.zeros(0, 5))
    assert [len(column) for column in found] == [0] * 4
    loss, said = token_loss(hidden, Head(weight), targets, loss=lambda said, part: said.logps.sum())
    loss.backward()
    assert loss.item() == 0.0
    assert len(said.logps) == 0
    assert hidden.grad is not None
    assert hidden.grad.shape == (0, 5)
    assert weight.grad is not None
    assert (weight.grad == 0).all()


def test_a_head_in_half_precision_is_as_right_as_its_type() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(shape, generator=generator).bfloat16() for shape in ((11, 5), (7, 5)))
    targets = torch.randint(0, 7, (11,), generator=generator)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        states, matrix = (x.clone().to(dtype).requires_grad_() for x in (hidden, weight))
        head = Head(matrix)
        loss, said = token_loss(states, head, targets, loss=lambda said, part: said.logps.sum(), entropy=True)
        loss.backward()
        assert states.grad is not None
        assert head.weight.grad is not None
        assert states.grad.dtype == head.weight.grad.dtype == dtype
        results.append((said.logps, said.entropy, states.grad.float(), head.weight.grad.float()))
    for exact, rough in zip(*results, strict=True):
        assert torch.allclose(exact, rough, atol=0.05)
