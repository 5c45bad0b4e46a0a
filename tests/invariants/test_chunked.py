"""Statistics of the next-token distribution in chunks: their values, and three ways to their gradient."""

from __future__ import annotations

from typing import Any

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
    monkeypatch.setattr("preflab.models.packed.works", lambda: packs)
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
    monkeypatch.setattr("preflab.models.packed.works", lambda: packs)
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


@pytest.mark.parametrize("learns", ["hidden", "head", "both"])
@pytest.mark.parametrize("with_entropy", [True, False])
@pytest.mark.parametrize("own", ["nothing", "weight", "bias", "both", "no reference"])
@pytest.mark.parametrize("at_once", [True, False])
def test_every_choice_of_statistics_is_that_of_autograd(
    learns: str, with_entropy: bool, own: str, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without entropy, a reference, and a head of its own; blocks of 2 rows in chunks of 3 of 8 rows."""
    monkeypatch.setattr("preflab.models.chunk.LOGITS_PER_BLOCK", 14)
    generator = torch.Generator().manual_seed(1)
    hidden, weight, bias, reference, ref_weight, ref_bias = (
        torch.randn(shape, generator=generator) for shape in ((8, 5), (7, 5), (7,), (8, 5), (7, 5), (7,))
    )
    targets, upstream = torch.arange(8) % 7, torch.randn((3, 8), generator=generator)
    hidden.requires_grad_(learns != "head")
    weight.requires_grad_(learns != "hidden")
    bias.requires_grad_(learns != "hidden")
    ref_weight = ref_weight if own in ("weight", "both") else weight
    ref_bias = ref_bias if own in ("bias", "both") else bias
    with_reference = own != "no reference"

    log_p = ((hidden @ weight.T + bias) / 0.7).log_softmax(-1)
    log_q = ((reference @ ref_weight.T + ref_bias) / 0.7).log_softmax(-1).detach()
    zeros, places = torch.zeros(8), torch.arange(8)
    plain = TokenStatistics(
        log_p[places, targets],
        -(log_p.exp() * log_p).sum(-1) if with_entropy else zeros,
        (log_p.exp() * (log_p - log_q)).sum(-1) if with_reference else zeros,
        log_q[places, targets] if with_reference else zeros,
    )

    def loss(said: TokenStatistics, part: slice) -> Tensor:
        return sum((u[part] * x).sum() for u, x in zip(upstream, said[:3], strict=True))

    options: dict[str, Any] = {"temperature": 0.7, "entropy": with_entropy, "logits_per_chunk": 21}
    if with_reference:
        options |= {"ref_hidden": reference, "ref_head": Head(ref_weight, ref_bias)}
    if at_once:
        total, found = token_loss(hidden, Head(weight, bias), targets, loss=loss, **options)
    else:
        found = token_statistics(hidden, Head(weight, bias), targets, **options)
        total = loss(found, slice(0, 8))
        assert found.kl.requires_grad
        assert found.entropy.requires_grad == with_entropy
        assert not found.ref_logps.requires_grad
    for ours, theirs in zip(found, plain, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    wanted = [t for t in (hidden, weight, bias) if t.requires_grad]
    expected = torch.autograd.grad(loss(plain, slice(0, 8)), wanted)
    for ours, theirs in zip(torch.autograd.grad(total, wanted), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("packs", [True, False])
def test_reference_with_a_head_of_its_own_is_read_without_a_gradient(
    gradients: bool, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """p = (¾, ¼); the reference's own head makes (½, ½) or (¼, ¾) of its states, by its weight or by its bias."""
    monkeypatch.setattr("preflab.models.packed.works", lambda: packs)
    monkeypatch.setattr("preflab.models.chunk.LOGITS_PER_BLOCK", 4)
    ln2, ln3 = 0.6931471805599453, 1.0986122886681098
    hidden, zeros = torch.ones(5, 1, requires_grad=gradients), torch.zeros(2)
    head = Head(torch.tensor([[ln3], [0.0]]), zeros)
    for weight, bias, log_q in (
        (torch.zeros(2, 1), zeros, (-ln2, -ln2)),
        (torch.tensor([[0.0], [ln3]]), zeros, (-2 * ln2, ln3 - 2 * ln2)),
        (head.weight, torch.tensor([-ln3, 0.0]), (-ln2, -ln2)),
        (head.weight, None, (ln3 - 2 * ln2, -2 * ln2)),
    ):
        found = token_statistics(
            hidden, head, torch.tensor([0, 1, 0, 1, 1]), ref_hidden=torch.ones(5, 1), ref_head=Head(weight, bias)
        )
        assert found.ref_logps.tolist() == pytest.approx([log_q[i] for i in (0, 1, 0, 1, 1)], abs=1e-6)
        kl = 0.75 * (ln3 - 2 * ln2 - log_q[0]) + 0.25 * (-2 * ln2 - log_q[1])
        assert found.kl.tolist() == pytest.approx([kl] * 5, abs=1e-6)
        assert found.entropy.tolist() == [0.0] * 5
        if gradients:
            hidden.grad = None
            found.logps.sum().backward()
            slopes = [ln3 * (float(i == 0) - 0.75) for i in (0, 1, 0, 1, 1)]
            assert hidden.grad is not None
            assert hidden.grad.flatten().tolist() == pytest.approx(slopes, abs=1e-6)


def test_a_chunk_holds_at_least_one_row_whatever_the_vocabulary() -> None:
    seen: list[slice] = []

    def loss(said: TokenStatistics, part: slice) -> Tensor:
        seen.append(part)
        return said.logps.sum()

    hidden, head, targets = torch.zeros(5, 3), Head(torch.zeros(7, 3)), torch.zeros(5, dtype=torch.long)
    for logits_per_chunk in (3, 14, 20, 34, 70):
        _, said = token_loss(hidden, head, targets, loss=loss, logits_per_chunk=logits_per_chunk)
        assert said.entropy.tolist() == said.kl.tolist() == said.ref_logps.tolist() == [0.0] * 5, "not asked for"
    ends = [(part.start, part.stop) for part in seen]
    by_two = [(0, 2), (2, 4), (4, 5)]
    assert ends == [(i, i + 1) for i in range(5)] + by_two + by_two + [(0, 4), (4, 5)] + [(0, 5)]


@pytest.mark.parametrize("at_once", [True, False])
def test_half_precision_learns_all_that_float32_does(at_once: bool) -> None:
    """Entropy and KL with their gradients, a bias and a temperature: within the rounding of bfloat16."""
    generator = torch.Generator().manual_seed(2)
    shapes = ((11, 5), (7, 5), (7,), (11, 5))
    drawn = [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]
    targets, upstream = torch.arange(11) % 7, torch.randn((3, 11), generator=generator)
    results: list[list[Tensor]] = []
    for dtype in (torch.float32, torch.bfloat16):
        hidden, weight, bias = (x.clone().to(dtype).requires_grad_() for x in drawn[:3])
        options: dict[str, Any] = {"temperature": 2.0, "entropy": True, "ref_hidden": drawn[3].to(dtype)}

        def loss(said: TokenStatistics, part: slice) -> Tensor:
            return sum((u[part] * x).sum() for u, x in zip(upstream, said[:3], strict=True))

        if at_once:
            total, said = token_loss(hidden, Head(weight, bias), targets, loss=loss, logits_per_chunk=28, **options)
            assert total.item() == pytest.approx(loss(said, slice(0, 11)).item(), abs=1e-5), "summed in float32"
        else:
            said = token_statistics(hidden, Head(weight, bias), targets, logits_per_chunk=28, **options)
            total = loss(said, slice(0, 11))
        results.append([*said, *torch.autograd.grad(total, [hidden, weight, bias])])
    for exact, rough in zip(results[0][:4], results[1][:4], strict=True):
        assert torch.allclose(exact, rough, atol=1e-5), "statistics are summed in float32"
    for exact, rough in zip(results[0][4:], results[1][4:], strict=True):
        assert torch.allclose(exact, rough.float(), atol=0.06, rtol=0.02)
