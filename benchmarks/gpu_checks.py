"""Correctness on a device: each check compares two ways to one number, and states how far they may differ.

The GPU job runs all of them before anything is timed, and tests/gpu runs the same functions, on a GPU or on the CPU.
Bounds are those of the tiny model; with many layers rounding adds up, and single tokens may differ by 10 times as much
in float32 and by 3 times as much in bfloat16. Weights are random and large enough that an error shows (`sharpened`).

| check | compared | bound |
| --- | --- | --- |
| decoding | tokens of every engine with those of a pass over the whole sequence, float32 | equal |
| companions | tokens of a row with those of the same row in smaller batches, float32 | equal |
| log-probabilities | the sampler's with the trainer's pass, nats | float32 1e-5, bfloat16 0.15 |
| first ratio | π/π_old before the first update of a GRPO step | 1e-5 from 1 |
| packing | gradients of every layout of rows with those of padded rows | float32 1e-5, half precision 5 % |
| precision | bfloat16 with float32: log-probabilities, gradients by angle | 0.15 nats, 1 − cosine 0.02 |
| memory | what the head adds to the peak, or its largest tensor on a CPU | half of all logits |
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_models import make_model
from gpu_worlds import (
    can_pack,
    decode,
    decoding,
    engine_options,
    make_engine,
    make_trunk,
    move_adapters,
    prompts_of,
    requests,
    sequences,
    sharpened,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from preflab.models.chunk import Head
from preflab.models.chunked import token_statistics
from preflab.models.precision import weights_dtype
from preflab.models.trunk import Trunk
from preflab.policy.grpo import GrpoRun, train_grpo
from preflab.sampling.passes import PlainPass
from preflab.settings.grpo import GrpoSettings
from preflab.settings.learning import LoraSettings, OptimiserSettings, RunSettings
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.processes import make_accelerator
from preflab.training.protocols import SampledCompletion, Scores, ScoringItem
from preflab.training.shared_prompts import share_rows

LORA = LoraSettings(rank=8, alpha=16.0)
NUM_PROMPTS, PER_PROMPT, PROMPT_TOKENS, NEW = 3, 4, 12, 24


@dataclass(frozen=True)
class Check:
    """One comparison; it holds if the value is at most the bound. NaN never holds."""

    name: str
    """The group that later jobs depend on: decoding, logps, packing, precision or memory."""
    what: str
    value: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the comparison is within its bound."""
        return self.value <= self.bound

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "holds": self.holds}


def decoding_checks(name: str, device: str) -> list[Check]:
    """Every engine with a pass over the whole sequence, and with smaller batches, token by token in float32."""
    trunk = learned_policy(name, device, "float32")
    asked = requests(NUM_PROMPTS, PER_PROMPT, PROMPT_TOKENS, uneven=True)
    whole = samples(trunk, "plain", asked, anew=True)
    checks = []
    for engine in engine_options():
        ours = samples(trunk, engine, asked)
        checks.append(Check("decoding", f"{engine} with the whole sequence, tokens", num_differing(ours, whole), 0.0))
        apart = samples(trunk, engine, asked, rows=5)
        checks.append(Check("decoding", f"{engine} in other batches, tokens", num_differing(ours, apart), 0.0))
    return checks


def logps_checks(name: str, device: str, precision: str) -> list[Check]:
    """The log-probabilities that each engine sampled with, compared with the trainer's pass over the same rows."""
    trunk = learned_policy(name, device, precision)
    asked = requests(NUM_PROMPTS, PER_PROMPT, PROMPT_TOKENS)
    checks = []
    for engine in engine_options():
        sampled = samples(trunk, engine, asked)
        rows = [TokenSequence(r.prompt_ids, one.token_ids) for r, one in zip(asked, sampled, strict=True)]
        with torch.no_grad():
            batch = trunk.collate(rows)
            theirs = trunk(batch, ("policy",))["policy"].logps[batch.completion_mask].float().cpu()
        ours = torch.tensor([value for one in sampled for value in one.logps])
        far = float((ours - theirs).abs().max())
        what = f"{engine} sampler with trainer, {precision}, nats"
        checks.append(Check("logps", what, far, _most_nats(name, precision)))
    return checks


def first_ratio_checks(name: str, device: str, precision: str) -> list[Check]:
    """π/π_old at the first minibatch of a GRPO step with each engine."""
    bound = 1e-4 if precision == "float32" and name != "tiny" else 1e-5
    return [
        Check("logps", f"first ratio, {one}, {precision}, from 1", _first_ratio(name, device, precision, one), bound)
        for one in engine_options()
    ]


def packing_checks(name: str, device: str, precision: str) -> list[Check]:
    """Gradients of rows that share a prompt, and of packed rows, with those of padded rows."""
    rows = sequences(NUM_PROMPTS, PER_PROMPT, PROMPT_TOKENS, NEW)
    rows.sort(key=lambda row: row.prompt_ids)
    model = _policy_model(name, device, precision)
    padded_trunk = make_trunk(name, device, ("policy",), precision=precision, lora=LORA, model=model)
    move_adapters(padded_trunk)
    bound = 1e-5 if precision == "float32" else 5e-2
    padded = gradient(padded_trunk, padded_trunk.collate(rows))
    together = gradient(padded_trunk, share_rows(rows, 0, 4096).to(device))
    checks = [
        Check(
            "packing",
            f"shared prompts with padded rows, {precision}, gradient",
            relative_distance(together, padded),
            bound,
        )
    ]
    if can_pack():
        trunk = make_trunk(name, device, ("policy",), precision=precision, lora=LORA, packing="on",
                           model=_policy_model(name, device, precision))  # fmt: skip
        move_adapters(trunk)
        batch = trunk.collate(rows)
        layout = type(batch).__name__
        far = relative_distance(gradient(trunk, batch), padded)
        checks.append(Check("packing", f"packed rows ({layout}) with padded rows, {precision}, gradient", far, bound))
    return checks


def precision_checks(name: str, device: str) -> list[Check]:
    """Log-probabilities and gradients in bfloat16 compared with those in float32, on the same float32 weights."""
    rows = sequences(NUM_PROMPTS, PER_PROMPT, PROMPT_TOKENS, NEW)
    found = {}
    for precision in ("float32", "bfloat16"):
        model = sharpened(make_model(name, torch.float32, device))
        trunk = make_trunk(name, device, ("policy",), precision=precision, model=model)
        batch = trunk.collate(rows)
        with torch.no_grad():
            logps = trunk(batch, ("policy",))["policy"].logps[batch.completion_mask].float()
        found[precision] = logps, gradient(trunk, batch)
        del trunk, model
    (exact, exact_gradient), (half, half_gradient) = found["float32"], found["bfloat16"]
    far = float((half - exact).abs().max())
    angle = 1 - float(torch.nn.functional.cosine_similarity(half_gradient.double(), exact_gradient.double(), dim=0))
    return [
        Check("precision", "bfloat16 with float32, log-probabilities, nats", far, _most_nats(name, "bfloat16")),
        Check("precision", "bfloat16 with float32, gradient, 1 − cosine", angle, 0.02),
    ]


def memory_checks(device: str, num_tokens: int = 2048, vocabulary: int = 32768, hidden: int = 64) -> list[Check]:
    """What the head needs for N tokens, compared with half of the memory of all their logits in float32."""
    states = torch.randn(num_tokens, hidden, device=device, requires_grad=True)
    weight = torch.randn(vocabulary, hidden, device=device) * 0.1
    targets = torch.arange(num_tokens, device=device) % vocabulary
    largest = _Largest()
    on_gpu = torch.device(device).type == "cuda"
    before = 0
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    with largest:
        token_statistics(states, Head(weight), targets).logps.sum().backward()
    grown = torch.cuda.max_memory_allocated() - before if on_gpu else largest.num_bytes
    of_logits = grown / (4 * num_tokens * vocabulary)
    return [Check("memory", "the head, as a share of all its logits", of_logits, 0.5)]


def every_check(name: str, device: str) -> list[tuple[str, Callable[[], list[Check]]]]:
    """All checks of a model on a device: the group of each, and a function, so that one can fail alone."""
    on_gpu = torch.device(device).type == "cuda"
    tokens = 16384 if on_gpu else 2048
    checks: list[tuple[str, Callable[[], list[Check]]]] = [
        ("decoding", lambda: decoding_checks(name, device)),
        ("logps", lambda: logps_checks(name, device, "float32")),
        ("logps", lambda: logps_checks(name, device, "bfloat16")),
        ("logps", lambda: first_ratio_checks(name, device, "float32")),
        ("logps", lambda: first_ratio_checks(name, device, "bfloat16")),
        ("packing", lambda: packing_checks(name, device, "float32")),
        ("precision", lambda: precision_checks(name, device)),
        ("memory", lambda: memory_checks(device, tokens)),
    ]
    if on_gpu:  # the kernel of packed rows exists in half precision only
        checks.append(("packing", lambda: packing_checks(name, device, "bfloat16")))
    return checks


def gradient(trunk: Trunk, batch: TokenBatch) -> Tensor:
    """The gradient of the policy's summed log-probabilities, all parameters in one vector, float32."""
    parameters = [parameter for _, parameter in trunk.parameters_of("policy")]
    loss = trunk(batch, ("policy",))["policy"].logps.sum()
    return torch.cat([one.flatten().float() for one in torch.autograd.grad(loss, parameters)])


def _policy_model(name: str, device: str, precision: str) -> Any:
    return sharpened(make_model(name, weights_dtype(precision, learns=False), device))


def learned_policy(name: str, device: str, precision: str) -> Trunk:
    """A policy whose adapters have learned something."""
    model = _policy_model(name, device, precision)
    trunk = make_trunk(name, device, ("policy",), precision=precision, lora=LORA, model=model)
    move_adapters(trunk)
    return trunk


def samples(
    trunk: Trunk, engine: str, asked: Sequence[Any], *, rows: int = 64, anew: bool = False
) -> list[SampledCompletion]:
    """Samples of an engine; `anew`: from a pass over the whole sequence for every token, without a cache."""
    sampler = make_engine(trunk, engine)
    if anew:
        sampler._pass = PlainPass(trunk.language_model("policy"))
    return sampler.sample(asked, decoding(NEW, rows))


def num_differing(ours: Sequence[SampledCompletion], theirs: Sequence[SampledCompletion]) -> float:
    """Tokens that differ, counted place by place."""
    pairs = zip(ours, theirs, strict=True)
    return float(sum(a != b for x, y in pairs for a, b in zip(x.token_ids, y.token_ids, strict=True)))


def _most_nats(name: str, precision: str) -> float:
    """The bound of log-probabilities: rounding grows with depth and width."""
    if precision == "float32":
        return 1e-5 if name == "tiny" else 1e-4
    return 0.15 if name == "tiny" else 0.5


def relative_distance(ours: Tensor, theirs: Tensor) -> float:
    """Length of the difference, as a share of the length of `theirs`."""
    return float((ours - theirs).norm() / theirs.norm())


def _first_ratio(name: str, device: str, precision: str, engine: str) -> float:
    lora, model = LORA, _policy_model(name, device, precision)
    trunk = make_trunk(name, device, ("policy", "reference"), precision=precision, lora=lora, model=model)
    move_adapters(trunk)
    settings = GrpoSettings(
        model="m", prompts="p", rewards=({"model": "r"},), lora=lora, num_steps=1, num_prompts_per_step=NUM_PROMPTS,
        num_completions_per_prompt=PER_PROMPT, num_kept_rollouts=0, decoding=decoding(NEW, 64),
        optimiser=OptimiserSettings(tokens_per_micro_batch=8 * (PROMPT_TOKENS + NEW)), run=RunSettings(save_every=9),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        sampler = make_engine(trunk, engine, keep_states=True)
        run = GrpoRun(trunk, settings, prompts_of(NUM_PROMPTS, PROMPT_TOKENS), sampler, FirstTokens(), decode,
                      Path(folder), seed=0, accelerator=make_accelerator(cpu=device == "cpu"))  # fmt: skip
        train_grpo(run)
        (row,) = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return float(row["ratio/first_deviation"])


class FirstTokens:
    """Scores a completion with the last digit of its first token's id: costs nothing, and differs within a group."""

    def score(self, items: Sequence[ScoringItem]) -> Scores:
        """Rewards (B,)."""
        total = torch.tensor([float(item.completion_ids[0] % 10) for item in items])
        return Scores(total, {"digit": total})


class _Largest(TorchDispatchMode):
    """The bytes of the largest tensor that any operation returns."""

    num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at its result."""
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, Tensor):
                self.num_bytes = max(self.num_bytes, one.nbytes)
        return out
