"""The numerical invariants that `preflab check` tests on a model.

Results must not depend on padding, batch, chunk or split; at the start of training the ratio must be 1 and the KL 0.

B rows: four short rows, two of which have equal lengths, and two rows for each limit (a length at which the model
changes its computation). The prompt of the first is longer than the limit; the completion of the second crosses it.
Differences are measured in nats, or as a share of the largest gradient.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.models.adapters import adapter_parameters
from preflab.models.causality import UNFIT, first_line
from preflab.models.check_limits import Limits
from preflab.models.check_padding import padding_side
from preflab.models.check_rows import CheckRow, measured_row
from preflab.models.facts import ModelFacts
from preflab.models.families import token_logits
from preflab.models.logit_path import plain_statistics
from preflab.models.merge import MERGED, merge_error, merged_language_model
from preflab.models.packing import RowLayout
from preflab.models.role_files import load_role, save_role
from preflab.models.trunk import Role, Trunk
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.alarms import Rounding
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.protocols import SampledCompletion, SampleRequest
from preflab.words import count

PROMPT_LENGTHS = (3, 7, 3, 1)
NUM_TOKENS = 10
BEYOND = 3
"""Number of tokens by which a long prompt exceeds a limit."""


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that rounding explains in a floating type."""

    nats: float
    share: float
    """As a share of the largest value compared."""

    @classmethod
    def of(cls, dtype: torch.dtype) -> Tolerance:
        """The tolerance for float32, or the wider one for 16-bit types."""
        return cls(1e-4, 1e-4) if dtype == torch.float32 else cls(0.1, 0.1)


@dataclass
class Subject:
    """The model under test with a fresh adapter, its prompts and the completions that it sampled."""

    trunk: Trunk
    sampler: Any
    requests: list[SampleRequest]
    completions: list[SampledCompletion]
    allowed: Tolerance
    limits: Limits

    @property
    def sequences(self) -> list[TokenSequence]:
        """Prompts with their completions."""
        pairs = zip(self.requests, self.completions, strict=True)
        return [TokenSequence(request.prompt_ids, completion.token_ids) for request, completion in pairs]

    def batch(self, rows: slice = slice(None)) -> TokenBatch:
        """The chosen rows as a right-padded batch."""
        return self.trunk.collate(self.sequences[rows])

    def decoding(self, **other: Any) -> DecodingSettings:
        """Settings for ten tokens at temperature 1 without top-k, top-p or min-p."""
        return DecodingSettings(max_new_tokens=NUM_TOKENS, **other)


def check_numbers(model: Any, tokenizer: Any, facts: ModelFacts, sampler_of: Callable[..., Any]) -> list[CheckRow]:
    """One row per invariant. If the model raises an error during a check, the row fails and gives the error."""
    try:
        subject = _subject(model, tokenizer, facts, sampler_of)
    except UNFIT as error:
        return [_failed("writing with an adapter", error)]
    checks = (
        _limits_crossed, _decode_path, _repeatable, _padding_amount, _padding_side, _batch_composition, _first_ratio,
        _first_kl, _chunked, _split, _packed, _saved_head, _merged, _adapters,
    )  # fmt: skip
    return [_ask(check, subject) for check in checks]


def _ask(check: Callable[[Subject], CheckRow], subject: Subject) -> CheckRow:
    try:
        return check(subject)
    except UNFIT as error:
        return _failed(check.__name__.strip("_").replace("_", " "), error)


def _failed(name: str, error: BaseException) -> CheckRow:
    return CheckRow(name, False, type(error).__name__, "no error", f"the model raises: {first_line(error)}")


def _subject(model: Any, tokenizer: Any, facts: ModelFacts, sampler_of: Callable[..., Any]) -> Subject:
    lora = LoraSettings(rank=4, alpha=8.0)
    trunk = Trunk(model, tokenizer, lora=lora, roles=("policy", "value"), zero_value=False, compute=model.dtype)
    limits = Limits.of(model, room=BEYOND + NUM_TOKENS)
    lengths = [*PROMPT_LENGTHS, *(n for limit in limits.crossed for n in _around(limit.length))]
    trunk.row_lengths.fix(max(lengths) + NUM_TOKENS)
    special = {*tokenizer.all_special_ids, *facts.stop_token_ids}
    words = torch.tensor([i for i in range(min(facts.num_token_ids, facts.vocabulary_size)) if i not in special])
    random = torch.Generator().manual_seed(0)
    prompts = [words[torch.randint(len(words), (n,), generator=random)].tolist() for n in lengths]
    requests = [SampleRequest(tuple(prompt), seed) for seed, prompt in enumerate(prompts)]
    sampler = sampler_of(
        trunk.language_model("policy"),
        pad_id=trunk.pad_id,
        stop_token_ids=(),
        tokenizer=tokenizer,
        role=lambda: trunk.role("policy"),
    )
    subject = Subject(trunk, sampler, requests, [], Tolerance.of(model.dtype), limits)
    subject.completions = sampler.sample(requests, subject.decoding())
    return subject


def _around(limit: int) -> tuple[int, int]:
    """Lengths in tokens of two prompts: one beyond the limit, and one whose completion crosses it."""
    return limit + BEYOND, max(1, limit - NUM_TOKENS // 2)


def _limits_crossed(subject: Subject) -> CheckRow:
    """Not a test: reports which limits the rows of the other checks crossed."""
    limits = subject.limits
    longest = max(len(sequence) for sequence in subject.sequences)
    missed = f"{', '.join(map(str, limits.beyond))} not tested: for this model size, the rows of the check have at most"
    return CheckRow(
        "limits crossed",
        True,
        ", ".join(map(str, limits.crossed)) or "none",
        "windows, scans and rotary scalings",
        f"{missed} {limits.longest_row} tokens" if limits.beyond else f"rows of up to {longest} tokens",
    )


def _decode_path(subject: Subject) -> CheckRow:
    """Not a test: reports how the sampler feeds the model."""
    path = getattr(subject.sampler, "decode_path", "its own")
    slow = "no cache fits: every step recomputes the whole sequence, which is slow" if path == "plain" else ""
    return CheckRow("decoding", True, path, "any that gives the model's own logits", slow)


def _repeatable(subject: Subject) -> CheckRow:
    with torch.no_grad():
        first, second = (_logps(subject, subject.batch()) for _ in range(2))
    return measured_row(
        "repeatable", _largest(first - second), 0.0, "nats", "dropout or another random operation is active"
    )


def _padding_amount(subject: Subject) -> CheckRow:
    with torch.no_grad():
        together = _logps(subject, subject.batch())
        alone = [_logps(subject, subject.batch(slice(row, row + 1)))[0] for row in range(len(subject.requests))]
    measured = max(_largest(one - all_[: len(one)]) for one, all_ in zip(alone, together, strict=True))
    return measured_row(
        "padding amount", measured, subject.allowed.nats, "nats", "logits depend on later tokens: not a causal model"
    )


def _padding_side(subject: Subject) -> CheckRow:
    prompts = [request.prompt_ids for request in subject.requests]
    path = getattr(subject.sampler, "decode_path", "")
    return padding_side(subject.trunk, prompts, path, subject.allowed.nats)


def _batch_composition(subject: Subject) -> CheckRow:
    again = [subject.sampler.sample([request], subject.decoding())[0] for request in subject.requests]
    differing = sum(a.token_ids != b.token_ids for a, b in zip(again, subject.completions, strict=True))
    pairs = [(a, b) for a, b in zip(again, subject.completions, strict=True) if a.token_ids == b.token_ids]
    measured = max((abs(x - y) for a, b in pairs for x, y in zip(a.logps, b.logps, strict=True)), default=0.0)
    allowed = subject.allowed.nats
    # In half precision rounding may move a draw across a boundary between two tokens; that is no error.
    holds = measured <= allowed and (differing == 0 or subject.trunk.model.dtype != torch.float32)
    return CheckRow(
        "samples independent of the batch",
        holds,
        f"{differing} of {len(again)} differ, {measured:.1e} nats",
        f"0, {allowed:.0e} nats",
        "" if holds else "sample with max_batch_rows: 1, and please report this architecture",
    )


def _first_ratio(subject: Subject) -> CheckRow:
    with torch.no_grad():
        trained = _logps(subject, subject.batch())
    sampled = torch.tensor([completion.logps for completion in subject.completions], device=trained.device)
    if subject.trunk.in_half_precision:  # π_old is the trainer's own pass here; the sampler only has to be close to it
        mean, allowed = (trained - sampled).abs().mean().item(), Rounding.of(half=True, exact=False).mismatch
        return measured_row("first ratio is 1", mean, allowed, "nats per token, mean", "sampler and trainer disagree")
    measured = _largest((trained - sampled).exp() - 1)
    return measured_row(
        "first ratio is 1", measured, subject.allowed.nats, "away from 1", "sampler and trainer disagree"
    )


def _first_kl(subject: Subject) -> CheckRow:
    with torch.no_grad():
        kl = subject.trunk(subject.batch(), ("policy",), exact_kl=True)["policy"].kl
    return measured_row(
        "first KL is 0", _largest(kl), 1e-6, "nats", "a new adapter changes the output: do not train it with LoRA"
    )


def _chunked(subject: Subject) -> CheckRow:
    """Compare log-probabilities, entropy and gradient of the chunked path with those from the model's own logits."""
    name = "chunked log-probabilities"
    if subject.trunk.plain_because:
        return CheckRow(name, True, "not used", "–", f"slower, and needs more memory: {subject.trunk.plain_because}")
    batch = subject.batch()
    mask = batch.completion_mask
    output = subject.trunk(batch, ("policy",), entropy=True)["policy"]
    states = _own_logits(subject, subject.trunk.language_model("policy"), "policy")
    if subject.trunk.vocabulary is not None:
        states = subject.trunk.vocabulary.cut_logits(states)
    targets = batch.completion_ids[mask]
    plain = plain_statistics(states, targets, temperature=1.0, entropy=True, ref_logits=None)
    values = max(_largest(output.logps[mask] - plain.logps), _largest(output.entropy[mask] - plain.entropy))
    ours = _gradients(subject, output.logps[mask].sum() + output.entropy[mask].sum())
    theirs = _gradients(subject, plain.logps.sum() + plain.entropy.sum())
    gradients = _largest(ours - theirs) / max(_largest(theirs), 1e-30)
    # The model rounds its own logits to its type; the chunked path computes float32 logits.
    rounding = 0.0 if states.dtype == torch.float32 else torch.finfo(states.dtype).eps * _largest(states.float())
    allowed = subject.allowed.nats + rounding
    holds = values <= allowed and gradients <= subject.allowed.share
    return CheckRow(
        name,
        holds,
        f"{values:.1e} nats, gradient {gradients:.1e}",
        f"{allowed:.0e} nats, gradient {subject.allowed.share:.0e}",
        "" if holds else "the head is not a plain linear map: please report this architecture",
    )


def _split(subject: Subject) -> CheckRow:
    """Compare the gradient of one batch with the sum over micro-batches of one row, both with the same denominator."""
    num_rows = len(subject.requests)
    num = num_rows * NUM_TOKENS
    whole = _gradients(subject, _logps(subject, subject.batch()).sum() / num)
    parts = [_gradients(subject, _logps(subject, subject.batch(slice(i, i + 1))).sum() / num) for i in range(num_rows)]
    measured = _largest(torch.stack(parts).sum(0) - whole) / max(_largest(whole), 1e-30)
    return measured_row(
        "micro-batch split", measured, subject.allowed.share, "of the gradient", "rows are not independent"
    )


def _packed(subject: Subject) -> CheckRow:
    """Compare log-probabilities and gradient of a pass without padding with those of padded rows."""
    name, trunk = "packed passes", subject.trunk
    plain = trunk.plain_because is not None
    layout = RowLayout(trunk.family, [trunk.model], trunk.pad_id, "on", trunk.autocast_dtype, with_logits=plain)
    if (why := layout.why_not(trunk.device)) is not None:
        return CheckRow(name, True, "not used", "–", f"learning passes keep their padding: {why}")
    padded, packed = (_logps(subject, b) for b in (subject.batch(), layout.collate(subject.sequences, trunk.device)))
    values = _largest(packed - padded)
    expected = _gradients(subject, padded.sum())
    gradients = _largest(_gradients(subject, packed.sum()) - expected) / max(_largest(expected), 1e-30)
    holds = values <= subject.allowed.nats and gradients <= subject.allowed.share
    return CheckRow(
        name,
        holds,
        f"{values:.1e} nats, gradient {gradients:.1e}",
        f"{subject.allowed.nats:.0e} nats, gradient {subject.allowed.share:.0e}",
        "" if holds else "set device.packing: off, and please report this architecture",
    )


@torch.no_grad()
def _saved_head(subject: Subject) -> CheckRow:
    """Save the value role (adapter and head), set its parameters to zero, load it and compare the values."""
    trunk = subject.trunk
    _shake(trunk, "value")
    before = trunk(subject.batch(), ("value",))["value"].values
    with tempfile.TemporaryDirectory() as folder:
        save_role(trunk, "value", Path(folder) / "value")
        for _, parameter in trunk.parameters_of("value"):
            parameter.zero_()
        load_role(trunk, "value", Path(folder) / "value")
    after = trunk(subject.batch(), ("value",))["value"].values
    return measured_row(
        "head saved and loaded", _largest(after - before), 0.0, "", "a resumed run would differ from the saved one"
    )


@torch.no_grad()
def _merged(subject: Subject) -> CheckRow:
    """Compare a changed adapter before and after merging, as a share of the adapter's effect on the logits.

    In half precision rounding alone may reach a tenth of that effect, so the share is of the largest logit instead.
    """
    trunk = subject.trunk
    _shake(trunk, "policy")
    roles: tuple[Role, ...] = ("policy", "reference")
    logits = {role: _own_logits(subject, trunk.language_model(role), role) for role in roles}
    merged = token_logits(trunk.family, merged_language_model(trunk, "policy"), subject.sequences, trunk.pad_id)
    exact = trunk.model.dtype == torch.float32
    base = logits["reference"] if exact else torch.zeros_like(merged)
    measured, allowed = merge_error(merged, logits["policy"], base), MERGED if exact else subject.allowed.share
    unit = "of its effect" if exact else "of the largest logit"
    return measured_row("adapter merged", measured, allowed, unit, "export would change the model")


def _adapters(subject: Subject) -> CheckRow:
    """Not a test: reports which layers carry an adapter with the default settings, and which do not."""
    targets = subject.trunk.targets["policy"]
    left_out = targets.describe_left_out()
    weights = f", {count(len(targets.parameters), 'weight')}" if targets.parameters else ""
    measured = count(len(targets.modules), "layer") + weights
    return CheckRow("adapters", True, measured, "any", f"none on {left_out}" if left_out else "")


def _shake(trunk: Trunk, role: str) -> None:
    """Fill the adapter's B with noise, as if it had been trained: a fresh B is 0, so a test would prove nothing."""
    random = torch.Generator().manual_seed(1)
    for name, parameter in adapter_parameters(trunk.model, role).items():
        if ".lora_B." in name:
            noise = torch.randn(parameter.shape, generator=random)
            parameter.copy_(0.02 * noise)


def _own_logits(subject: Subject, model: Any, role: Role) -> Tensor:
    """(N, V) logits of the model's own forward pass in a role, from which each completion token is predicted."""
    with subject.trunk.role(role):
        return token_logits(subject.trunk.family, model, subject.sequences, subject.trunk.pad_id)


def _logps(subject: Subject, batch: TokenBatch) -> Tensor:
    return subject.trunk(batch, ("policy",))["policy"].logps


def _gradients(subject: Subject, loss: Tensor) -> Tensor:
    """All gradients of the policy's adapter as one vector."""
    parameters = [parameter for _, parameter in subject.trunk.parameters_of("policy")]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])


def _largest(tensor: Tensor) -> float:
    return tensor.detach().abs().max().item()
