"""Losses taken in the head's chunks against the same losses of plain logits, differentiated by torch.

The plain losses are written out here from `log_softmax` of the model's own logits; those under test never see them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from preflab.maths.kl import sequence_kl_loss
from preflab.maths.losses import clipped_policy_loss
from preflab.maths.reductions import StepCounts
from preflab.maths.sequence_ratio import clipped_ratio_loss
from preflab.models import chunked
from preflab.models.chunked import TokenStatistics
from preflab.models.trunk import Trunk
from preflab.policy import dpo, grpo, online_dpo, ppo, sft
from preflab.policy.dpo_groups import Group, LabelledPair, Verdict, learned
from preflab.policy.dpo_groups import Weights as StepWeights
from preflab.policy.dpo_logps import ReferenceCache
from preflab.policy.dpo_losses import Learned, summed
from preflab.policy.step_statistics import LearningBatch
from preflab.policy.variants import KL_LOSSES, VARIANTS
from preflab.records import Prompt
from preflab.settings.dpo import DpoSettings
from preflab.settings.learning import LoraSettings
from preflab.settings.preference_losses import LOSSES
from preflab.training.batches import TokenBatch, TokenSequence
from preflab.training.processes import make_accelerator
from preflab.training.protocols import Episode
from preflab.training.rollouts import Rollouts
from tiny_groups import tiny_grpo, tiny_online_dpo
from tiny_models import tiny_model
from tiny_worlds import tiny_ppo, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)
LEARNS = pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
TEMPERATURE = 0.8
DECODING = {"max_new_tokens": 3, "temperature": TEMPERATURE}
SEQUENCES = [
    TokenSequence((3,), (5, 1, 60)),
    TokenSequence((3,), (7, 2)),
    TokenSequence((8, 4), (5, 90, 11), (True, False, True)),
    TokenSequence((8, 4), (33,)),
]


def trunk(*roles: Any, lora: LoraSettings | None) -> Trunk:
    """Adapters and copies differ from the reference."""
    torch.manual_seed(0)
    made = tiny_trunk(roles, lora=lora, model=tiny_model("llama"), sharpen=1.0)
    with torch.no_grad():
        for _, p in made.parameters_of("policy"):
            p.add_(0.02 * torch.randn_like(p))
    return made


@pytest.fixture(params=["one chunk", "many chunks"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either all tokens fit into one chunk, or a chunk holds four."""
    if request.param == "many chunks":
        for name in ("LOGITS_PER_CHUNK", "LOGITS_PER_PACKED_CHUNK"):
            monkeypatch.setattr(f"preflab.models.chunked.{name}", 4 * 97)
    return str(request.param)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of tokens of which a full row of the vocabulary was computed, one per chunk."""
    computed: list[int] = []
    make_chunk = chunked.make_chunk

    def counting(hidden: Tensor, *args: Any) -> Any:
        computed.append(len(hidden))
        return make_chunk(hidden, *args)

    monkeypatch.setattr(chunked, "make_chunk", counting)
    return computed


def plain(made: Trunk, batch: TokenBatch, temperature: float = TEMPERATURE) -> TokenStatistics:
    """(B, T) statistics of the policy and the reference, with gradient, 0 outside the mask."""
    mask, found = batch.completion_mask, []
    rows = torch.arange(len(mask))[:, None]
    for role in ("policy", "reference"):
        with made.role(role):  # type: ignore[arg-type]
            logits = made.language_model(role)(**batch.model_inputs(torch.float32)).logits  # type: ignore[arg-type]
        found.append((logits[rows, batch.state_index] / temperature).log_softmax(-1))
    log_p, log_q = found[0], found[1].detach()
    ids = batch.completion_ids[..., None]
    columns = (
        log_p.gather(-1, ids)[..., 0],
        -(log_p.exp() * log_p).sum(-1).detach(),
        (log_p.exp() * (log_p - log_q)).sum(-1),
        log_q.gather(-1, ids)[..., 0],
    )
    return TokenStatistics(*(torch.where(mask, column, 0.0) for column in columns))


def check(made: Trunk, ours: Callable[[], float], theirs: Callable[[], Tensor]) -> None:
    """`ours` leaves a gradient and returns the loss; both must be those of the plain loss."""
    parameters = [p for _, p in made.parameters_of("policy")]
    made.zero_grad()
    loss = ours()
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    expected_loss = theirs()
    expected = torch.autograd.grad(expected_loss, parameters, allow_unused=True)
    assert loss == pytest.approx(expected_loss.item(), rel=1e-5, abs=1e-6)
    whole = torch.cat(
        [torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(parameters, expected, strict=True)]
    )
    difference = torch.cat([g.flatten() for g in found]) - whole
    assert whole.abs().max() > 1e-4, "something is learned"
    assert difference.abs().max() < 1e-6 * max(1.0, float(whole.abs().max()))


def rollouts_of(made: Trunk) -> Rollouts:
    """The sequences as rollouts of a policy that was a little different."""
    with torch.no_grad():
        said = plain(made, made.collate(SEQUENCES))
    shift = 0.3 * torch.randn(said.logps.shape, generator=torch.Generator().manual_seed(1))
    episodes = []
    for row, sequence in enumerate(SEQUENCES):
        n = len(sequence.completion_ids)
        logps = tuple((said.logps + shift)[row, :n].tolist())
        episodes.append(
            Episode(
                Prompt.make(text="a"),
                sequence.prompt_ids,
                sequence.completion_ids,
                logps,
                "a",
                True,
                written=sequence.policy_tokens,
            )
        )
    found = Rollouts.of_episodes(episodes)
    found.ref_logps = torch.where(found.completion_mask, said.ref_logps, 0.0)
    return found


def num_chunks_twice(lora: LoraSettings | None, chunks: str) -> bool:
    """Whether a loss of whole completions has to compute the logits twice."""
    return lora is None and chunks == "many chunks"


NUM_TOKENS = 8


@LEARNS
def test_sft_loss(lora: LoraSettings | None, chunks: str, rows: list[int]) -> None:
    made = trunk("policy", lora=lora)
    batch, accelerator = made.collate(SEQUENCES), make_accelerator(cpu=True)

    def ours() -> float:
        return sft.accumulate(made, SEQUENCES, 4096, collate=made.collate, accelerator=accelerator)

    check(made, ours, lambda: -plain(trunk_as_its_reference(made), batch, 1.0).logps.sum() / NUM_TOKENS)
    assert sum(rows) == NUM_TOKENS


def trunk_as_its_reference(made: Trunk) -> Trunk:
    """The same trunk; without adapters its one model answers as the reference too."""
    if made.lora is None and "reference" not in made.models:
        made.models["reference"] = made.models["policy"]
    return made


@LEARNS
@pytest.mark.parametrize("kl_treatment", ["reward_k1", "exact", "sequence_loss", "token_k3"])
@pytest.mark.parametrize("algorithm", VARIANTS)
def test_grpo_losses(
    algorithm: str, kl_treatment: str, lora: LoraSettings | None, chunks: str, rows: list[int], tmp_path: Path
) -> None:
    made = trunk("policy", "reference", lora=lora)
    run = tiny_grpo(tmp_path, made, len, algorithm=algorithm, kl_treatment=kl_treatment, decoding=DECODING)
    rollouts, batch, counts = rollouts_of(made), made.collate(SEQUENCES), StepCounts(4, NUM_TOKENS, 3)
    gained = torch.tensor([[1.0], [-0.5], [0.25], [-2.0]]).expand(4, 3)
    variant = VARIANTS[algorithm]

    def ours() -> float:
        loss, _ = grpo.policy_loss(run, made, rollouts, gained, [0, 1, 2, 3], counts, 0.3)
        loss.backward()
        return loss.item()

    def theirs() -> Tensor:
        said, mask = plain(made, batch), batch.completion_mask
        weights = variant.reduction(mask, counts)
        loss = clipped_ratio_loss(
            said.logps, rollouts.old_logps, gained, mask, weights, log_ratio=variant.log_ratio,
            clip_low=variant.clip_low, clip_high=variant.clip_high, num_tokens=counts.num_tokens,
        ).loss  # fmt: skip
        kl = KL_LOSSES.get(kl_treatment)
        return loss if kl is None else loss + 0.3 * kl(said, rollouts.ref_logps, mask, weights)

    check(made, ours, theirs)
    whole = algorithm in ("gspo", "rloo") or kl_treatment == "sequence_loss"
    assert sum(rows) == NUM_TOKENS * (2 if whole and num_chunks_twice(lora, chunks) else 1)


@LEARNS
@pytest.mark.parametrize("kl_treatment", ["reward_k1", "exact", "sequence_loss"])
def test_ppo_losses(kl_treatment: str, lora: LoraSettings | None, chunks: str, rows: list[int], tmp_path: Path) -> None:
    made = trunk("policy", "reference", "value", lora=lora)
    run = tiny_ppo(tmp_path, made, len, kl_treatment=kl_treatment, decoding=DECODING, num_epochs=1, num_minibatches=1)
    rollouts, batch = rollouts_of(made), made.collate(SEQUENCES)
    gained = torch.tensor([[1.0], [-0.5], [0.25], [-2.0]]).expand(4, 3)
    learning = LearningBatch(gained, gained, gained, 0.5)

    def ours() -> float:
        loss, _ = ppo.policy_loss(run, made, rollouts, learning, [0, 1, 2, 3], NUM_TOKENS, 0.3)
        loss.backward()
        return loss.item()

    def theirs() -> Tensor:
        said, mask, settings = plain(made, batch), batch.completion_mask, run.settings
        loss = clipped_policy_loss(
            said.logps, rollouts.old_logps, gained, mask,
            clip_low=settings.clip_low, clip_high=settings.clip_high, denominator=NUM_TOKENS,
        ).loss  # fmt: skip
        if kl_treatment == "sequence_loss":
            return loss + 0.15 * sequence_kl_loss(said.logps, rollouts.ref_logps, mask, NUM_TOKENS)
        return loss + 0.15 * said.kl.sum() / NUM_TOKENS if kl_treatment == "exact" else loss

    check(made, ours, theirs)
    assert sum(rows) == NUM_TOKENS * (2 if kl_treatment == "sequence_loss" and num_chunks_twice(lora, chunks) else 1)


@LEARNS
def test_online_dpo_loss(lora: LoraSettings | None, chunks: str, rows: list[int], tmp_path: Path) -> None:
    made = trunk("policy", "reference", lora=lora)
    run = tiny_online_dpo(tmp_path, made, len, num_completions_per_prompt=2, decoding=DECODING)
    rollouts, batch, labels = rollouts_of(made), made.collate(SEQUENCES), torch.tensor([[0.75], [0.2]])

    def ours() -> float:
        loss, _ = online_dpo.pair_loss(run, made, rollouts, labels, [0, 1], 2, NUM_TOKENS)
        loss.backward()
        return loss.item()

    def theirs() -> Tensor:
        ratios = (plain(made, batch).logps - rollouts.ref_logps).sum(1)
        d, q = run.settings.beta * (ratios[[0, 2]] - ratios[[1, 3]]), labels[:, 0]
        return -(q * d.sigmoid().log() + (1 - q) * (-d).sigmoid().log()).sum() / 2

    check(made, ours, theirs)
    assert sum(rows) == NUM_TOKENS * (2 if num_chunks_twice(lora, chunks) else 1)


@LEARNS
@pytest.mark.parametrize("budget", [4096, 6])
@pytest.mark.parametrize("kind", LOSSES)
def test_dpo_losses(
    kind: str, budget: int, lora: LoraSettings | None, chunks: str, rows: list[int], tmp_path: Path
) -> None:
    """One group of all four; with a budget of 6 tokens it is processed in slices, in two passes."""
    made = trunk("policy", "reference", lora=lora)
    sequences = tuple(replace(s, prompt_ids=(3,)) for s in SEQUENCES)
    pairs = (LabelledPair(0, 1, 1.0, 0.5), LabelledPair(2, 3, 0.75, 0.25), LabelledPair(3, 0, 1.0, 0.25))
    verdicts = (Verdict(0, 1.0, 1.0), Verdict(3, 0.25, 1.0))
    group = Group("p", sequences, pairs, verdicts, ref_logps=(-9.0, -8.0, -7.0, -5.0))
    settings = DpoSettings(
        model="m", preferences="p", losses=[{"kind": kind}], lora=lora, optimiser={"tokens_per_micro_batch": budget}
    )  # fmt: skip
    cache, accelerator = ReferenceCache(tmp_path, "weights", "float32"), make_accelerator(cpu=True)
    run = dpo.DpoRun(made, settings, [group], [], 1, cache, tmp_path, seed=0, accelerator=accelerator)
    batch = made.collate(sequences)

    def ours() -> float:
        return dpo.accumulate(run, made, [group], 0.1)["loss/total"]

    def theirs() -> Tensor:
        logps = plain(made, batch, 1.0).logps.sum(1)
        return summed(settings.losses, Learned(*learned(logps, [group]), StepWeights.of([group]), 0.1))[0]

    check(made, ours, theirs)
    sliced = budget == 6
    assert sum(rows) == NUM_TOKENS * (2 if sliced or num_chunks_twice(lora, chunks) else 1)
