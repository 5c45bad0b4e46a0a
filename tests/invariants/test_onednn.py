"""Products by oneDNN: the numbers of plain ones, forward and backward, and only where they are faster."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from preflab.models import cpu_linear, onednn
from preflab.models.chunk import Head
from preflab.models.chunked import token_loss
from preflab.models.cpu_linear import CpuConv1D, CpuLinear, use_onednn
from preflab.models.products import product

needs_onednn = pytest.mark.skipif(not onednn.works(), reason="torch has no products by oneDNN on this processor")


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """oneDNN multiplies from the smallest size; the fixture lists its products."""
    calls: list[str] = []
    multiply = onednn.multiply

    def counted(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        calls.append(f"{tuple(x.shape)} {tuple(weight.shape)}")
        return multiply(x, weight, bias)

    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    monkeypatch.setattr(cpu_linear, "is_faster", lambda: True)
    monkeypatch.setattr(onednn, "SMALLEST", 1)
    monkeypatch.setattr(onednn, "FEWEST_ROWS", 1)
    monkeypatch.setattr(onednn, "multiply", counted)
    monkeypatch.setattr(cpu_linear, "multiply", counted)
    return calls


@needs_onednn
@pytest.mark.parametrize("layer", [nn.Linear(2, 3), nn.Linear(2, 3, bias=False), Conv1D(3, 2)])
def test_a_layer_by_hand(layer: nn.Module, everywhere: list[str]) -> None:
    weight = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]])
    layer.weight.data = weight.t().contiguous() if isinstance(layer, Conv1D) else weight.clone()
    bias = torch.zeros(3)
    if layer.bias is not None:
        layer.bias.data = bias = torch.tensor([10.0, 20.0, 30.0])
    use_onednn(layer)
    assert type(layer) in (CpuLinear, CpuConv1D)
    x = torch.tensor([[[1.0, 1.0], [2.0, -1.0]]], requires_grad=True)
    y = layer(x)
    assert torch.equal(y, torch.tensor([[[3.0, 2.0, 4.0], [0.0, 7.0, -4.0]]]) + bias)
    (y * torch.tensor([[[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]]])).sum().backward()
    # g = [[1, 0, 2], [0, 1, 1]]; ∂x = g W; ∂W = gᵀ x; ∂bias = Σ g
    assert torch.equal(x.grad, torch.tensor([[[1.0, 10.0], [3.0, 3.0]]]))
    gradient = torch.tensor([[1.0, 1.0], [2.0, -1.0], [4.0, 1.0]])
    assert torch.equal(layer.weight.grad, gradient.t() if isinstance(layer, Conv1D) else gradient)
    if layer.bias is not None:
        assert torch.equal(layer.bias.grad, torch.tensor([1.0, 1.0, 3.0]))
    assert everywhere == ["(2, 2) (3, 2)", "(2, 3) (2, 3)", "(3, 2) (2, 2)"]


@needs_onednn
def test_only_the_gradients_that_are_wanted_are_computed(everywhere: list[str]) -> None:
    layer = nn.Linear(4, 5)
    layer.requires_grad_(False)
    use_onednn(layer)
    x = torch.ones(3, 4, requires_grad=True)
    layer(x).sum().backward()  # its gradient is one number with strides of 0
    assert torch.allclose(x.grad, layer.weight.sum(0).expand(3, 4))
    assert everywhere == ["(3, 4) (5, 4)", "(3, 5) (4, 5)"]
    everywhere.clear()
    layer.requires_grad_(True)
    layer(torch.arange(12.0).view(3, 4)).sum().backward()
    assert torch.equal(layer.weight.grad, torch.tensor([12.0, 15.0, 18.0, 21.0]).expand(5, 4))
    assert torch.equal(layer.bias.grad, torch.full((5,), 3.0))
    assert everywhere == ["(3, 4) (5, 4)", "(5, 3) (4, 3)"]

    class Coded(torch.Tensor):
        """A weight whose numbers are stored in another form."""

    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Coded))
    layer(torch.ones(3, 4))
    assert len(everywhere) == 2


@needs_onednn
def test_large_products_are_those_of_float64_within_rounding() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(96, 160), torch.randn(5, 77, 96, requires_grad=True)
    exact, x64 = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
    y = cpu_linear.linear(x, layer.weight, layer.bias)
    y.square().sum().backward()
    expected = exact(x64)
    expected.square().sum().backward()
    assert torch.allclose(y.double(), expected, rtol=0, atol=2e-6)
    assert torch.allclose(x.grad.double(), x64.grad, rtol=0, atol=1e-5)
    assert torch.allclose(layer.weight.grad.double(), exact.weight.grad, rtol=0, atol=5e-4)
    assert torch.allclose(layer.bias.grad.double(), exact.bias.grad, rtol=0, atol=5e-4)


@needs_onednn
def test_what_is_left_to_torch(everywhere: list[str]) -> None:
    layer = nn.Linear(4, 5)
    x = torch.randn(3, 4)
    expected = layer(x)
    use_onednn(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64
    layer.float()
    assert layer.to("meta")(x.to("meta")).device.type == "meta"
    assert everywhere == []
    layer = nn.Linear(4, 5)
    layer.weight.data, layer.bias.data = torch.ones(5, 4), torch.zeros(5)
    use_onednn(layer)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert torch.equal(compiled(torch.ones(3, 4)), torch.full((3, 5), 4.0))
    assert everywhere == []
    assert expected.shape == (3, 5)


@needs_onednn
@pytest.mark.parametrize("transposed", [False, True])
def test_a_bias_with_strides_and_one_for_all_outputs(transposed: bool, everywhere: list[str]) -> None:
    """oneDNN reads numbers of a bias one after another; with other strides it would read other numbers."""
    layer: nn.Module = Conv1D(3, 2) if transposed else nn.Linear(2, 3)
    layer.weight.data.fill_(1.0)
    use_onednn(layer)
    x = torch.tensor([[1.0, 1.0], [2.0, 0.0]])
    layer.bias = nn.Parameter(torch.tensor([10.0, -1.0, 20.0, -1.0, 30.0])[::2])
    assert layer(x).tolist() == [[12.0, 22.0, 32.0], [12.0, 22.0, 32.0]]
    layer.bias = nn.Parameter(torch.tensor([10.0]).expand(3))
    assert layer(x).tolist() == [[12.0, 12.0, 12.0], [12.0, 12.0, 12.0]]
    layer.bias = nn.Parameter(torch.tensor([10.0]))
    assert layer(x).tolist() == [[12.0, 12.0, 12.0], [12.0, 12.0, 12.0]]
    assert everywhere == []


@needs_onednn
@pytest.mark.parametrize("layer", [nn.Linear(2, 3), Conv1D(3, 2)])
def test_shapes_that_do_not_match_get_the_message_of_torch(layer: nn.Module, everywhere: list[str]) -> None:
    use_onednn(layer)
    with pytest.raises(RuntimeError, match=r"\(5x4 and 2x3\)"):
        layer(torch.ones(5, 4))


@needs_onednn
def test_numbers_of_rows_are_rounded_so_that_few_shapes_occur(everywhere: list[str]) -> None:
    """512 to 1,023 rows in steps of 32; every number of rows would be a shape for which oneDNN generates code."""
    layer = nn.Linear(2, 3, bias=False)
    layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]])
    use_onednn(layer)
    for num in (600, 601, 608):
        layer.weight.grad = None
        x = torch.ones(num, 2, requires_grad=True)
        y = layer(x)
        y.add_(1.0)  # not a view that may not be changed
        assert torch.equal(y, torch.tensor([4.0, 3.0, 5.0]).expand(num, 3))
        y.sum().backward()
        assert torch.equal(x.grad, torch.tensor([4.0, 5.0]).expand(num, 2))
        assert torch.equal(layer.weight.grad, torch.full((3, 2), float(num)))
    of_x = {"(576, 3) (2, 3)", "(32, 3) (2, 3)", "(608, 3) (2, 3)"}
    assert set(everywhere) == {"(608, 2) (3, 2)", *of_x, "(3, 576) (2, 576)", "(3, 608) (2, 608)"}


@pytest.mark.parametrize(
    ("num_rows", "step"), [(1, 1), (15, 1), (16, 8), (255, 8), (256, 16), (600, 32), (1023, 32), (4096, 256)]
)
def test_the_step_of_rows(num_rows: int, step: int) -> None:
    assert onednn.row_step(num_rows) == step


def test_small_products_and_few_rows_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "is_faster", lambda: True)
    assert onednn.pays(torch.empty(8, 512), torch.empty(512, 512))  # 8 · 512 · 512 = 2^21
    assert not onednn.pays(torch.empty(8, 512), torch.empty(511, 512))
    assert not onednn.pays(torch.empty(7, 512), torch.empty(2048, 512))
    assert onednn.pays(torch.empty(2, 4, 512), torch.empty(512, 512))
    assert not onednn.pays(torch.empty(8, 512, dtype=torch.bfloat16), torch.empty(512, 512, dtype=torch.bfloat16))
    assert not onednn.pays(torch.empty(8, 512, device="meta"), torch.empty(512, 512, device="meta"))


@pytest.mark.parametrize(
    ("capability", "maker", "mkl", "faster"),
    [
        ("AVX512", "vendor_id : AuthenticAMD", True, True),
        ("AVX512", "vendor_id : GenuineIntel", True, False),
        ("AVX2", "vendor_id : AuthenticAMD", True, False),
        ("AVX512", "vendor_id : AuthenticAMD", False, False),
    ],
)
def test_the_processors_where_it_is_faster(
    capability: str, maker: str, mkl: bool, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(onednn, "_maker", lambda: maker)
    monkeypatch.setattr(onednn, "works", lambda: True)
    assert onednn.is_faster.__wrapped__() is faster


@needs_onednn
def test_copies_keep_the_class_and_other_subclasses_keep_theirs(everywhere: list[str]) -> None:
    class Own(nn.Linear):
        """A layer with a `forward` of its own."""

    model = nn.Sequential(nn.Linear(2, 2), Own(2, 2), Conv1D(2, 2))
    use_onednn(model)
    use_onednn(model)
    assert [type(layer) for layer in copy.deepcopy(model)] == [CpuLinear, Own, CpuConv1D]
    state = model.state_dict()
    assert set(state) == {f"{n}.{part}" for n in range(3) for part in ("weight", "bias")}


def test_nothing_changes_where_torch_is_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_linear, "is_faster", lambda: False)
    layer = nn.Linear(2, 2)
    use_onednn(layer)
    assert type(layer) is nn.Linear


@needs_onednn
def test_products_of_matrices(everywhere: list[str]) -> None:
    torch.manual_seed(0)
    left, right = torch.randn(9, 6), torch.randn(6, 5)
    assert torch.allclose(product(left, right), left @ right, atol=1e-6)
    assert torch.allclose(product(right.T, left.T), right.T @ left.T, atol=1e-6)


@needs_onednn
@pytest.mark.parametrize("trained", [True, False])
def test_a_loss_through_the_head(trained: bool, everywhere: list[str]) -> None:
    """The gradient of −Σ log p(target), of states and head, is that of autograd in float64."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(12, 8, requires_grad=True), torch.randn(40, 8, requires_grad=trained)
    targets = torch.arange(12)
    loss, _ = token_loss(
        hidden, Head(weight), targets, loss=lambda tokens, part: -tokens.logps.sum(), logits_per_chunk=200
    )
    loss.backward()
    hidden64, weight64 = hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    nn.functional.cross_entropy(hidden64 @ weight64.T, targets, reduction="sum").backward()
    assert torch.allclose(hidden.grad.double(), hidden64.grad, atol=1e-5)
    if trained:
        assert torch.allclose(weight.grad.double(), weight64.grad, atol=1e-5)
