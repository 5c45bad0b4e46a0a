"""What a DPO step says about itself, counted by hand: pairs, turned pairs, even ones, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from paper_trunk import PaperAccelerator
from preflab.maths.dpo import Pairs, Side, Verdicts
from preflab.models.trunk import RoleOutput
from preflab.policy.dpo_groups import Weights
from preflab.policy.dpo_losses import ImplicitReward, Learned
from preflab.policy.dpo_statistics import added, figures, reduced, sample_statistics, statistics
from preflab.policy.step_statistics import read_statistics
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import JoinedRows, join_rows
from preflab.training.processes import make_accelerator
from preflab.training.protocols import SampledCompletion

HALF = ImplicitReward("log_ratio", 0.5)


def side(*log_ratios: float) -> Side:
    """Completions of these log-ratios, over a reference that gives each −1 nat, with two tokens each."""
    ratios = torch.tensor(log_ratios)
    return Side(ratios - 1, -torch.ones_like(ratios), torch.full_like(ratios, 2.0))


def learned(labels: list[float], first: Side, second: Side, up: list[float], alone: Side, kl: float = 0.0) -> Learned:
    pairs = Pairs(first, second, torch.tensor(labels), torch.ones(len(labels)))
    verdicts = Verdicts(alone, torch.tensor(up), torch.ones(len(up)))
    return Learned(pairs, verdicts, Weights(1.0, 1.0), kl)


def test_pairs_count_in_the_order_of_their_labels() -> None:
    # In order with margin (3 − 1)/2; turned round with (2 − 6)/2, so right with 2; wrong: (0 − 1)/2; even: left out.
    step = learned([1.0, 0.2, 0.9, 0.5], side(3, 2, 0, 7), side(1, 6, 1, 9), [], side())
    sums = statistics(step, HALF)
    assert sums == pytest.approx({
        "right": 2, "num": 3, "margin": 1 + 2 - 0.5, "num_pairs": 3, "chosen": 3 + 6 + 0, "num_chosen": 3,
        "rejected": 1 + 2 + 1, "num_rejected": 3,
    })  # fmt: skip
    assert figures(sums) == pytest.approx({
        "accuracy/implicit": 2 / 3, "implicit/margin": 2.5 / 3, "logratio/chosen": 3, "logratio/rejected": 4 / 3,
    })  # fmt: skip


def test_verdicts_count_on_their_side_of_the_kl() -> None:
    # z0 = 1. Good 3: right; good 0: wrong; bad −2: right; bad 1: neither, half right; one that leans nowhere.
    step = learned([], side(), side(), [1.0, 0.9, 0.0, 0.1, 0.5], side(3, 0, -2, 1, 8), kl=1.0)
    sums = statistics(step, HALF)
    assert sums == pytest.approx({
        "right": 2.5, "num": 4, "margin": 0, "num_pairs": 0, "chosen": 3, "num_chosen": 2, "rejected": -1,
        "num_rejected": 2,
    })  # fmt: skip
    assert figures(sums) == pytest.approx({
        "accuracy/implicit": 2.5 / 4, "logratio/chosen": 1.5, "logratio/rejected": -0.5,
    })  # fmt: skip


def test_pairs_and_verdicts_of_one_step_add_up() -> None:
    # A pair of 3 over 1 and a tie of rewards (half right); one good verdict at 2, two bad ones at −1 and −3.
    step = learned([1.0, 1.0], side(3, 2), side(1, 2), [1.0, 0.0, 0.0], side(2, -1, -3))
    (sums,) = read_statistics([statistics(step, HALF)])
    assert sums == pytest.approx({
        "right": 1.5 + 3, "num": 5, "margin": 1, "num_pairs": 2, "chosen": 5 + 2, "num_chosen": 3,
        "rejected": 3 - 4, "num_rejected": 4,
    })  # fmt: skip
    assert added(added({}, sums), sums) == pytest.approx({name: 2 * value for name, value in sums.items()})


class TwoRoles:
    """Numbers per token of three completions, over the temperature; what is not asked for is not there."""

    device = torch.device("cpu")
    tables = torch.tensor([
        [[-1.0, -2.0, 9.0], [-3.0, 9.0, 9.0], [-1.0, -1.0, -1.0]],  # the policy's logps
        [[-1.5, -2.0, 9.0], [-2.0, 9.0, 9.0], [-1.0, -2.0, -2.0]],  # the reference's
        [[0.5, 0.5, 9.0], [0.5, 9.0, 9.0], [1.0, 1.0, 1.0]],  # exact KL
        [[0.5, 1.5, 9.0], [3.0, 9.0, 9.0], [0.5, 1.0, 1.5]],  # entropy
    ])  # fmt: skip

    @staticmethod
    def collate(sequences: Sequence[TokenSequence]) -> JoinedRows:
        return join_rows(sequences, 0)

    def __call__(
        self, batch: JoinedRows, roles: Any, *, temperature: float, entropy: bool = False, exact_kl: bool = False
    ) -> dict[str, RoleOutput]:
        mask = batch.completion_mask
        rows = self.tables[:, batch.input_ids[:, 0], : mask.shape[1]] / temperature
        policy, reference, kl, entropies = torch.where(mask, rows, 0.0)
        policy_output = RoleOutput(logps=policy, entropy=entropies if entropy else None, kl=kl if exact_kl else None)
        return {"policy": policy_output, "reference": RoleOutput(logps=reference)}


@pytest.mark.parametrize("tokens_per_batch", [100, 6, 1])
@pytest.mark.parametrize("accelerator", [make_accelerator(cpu=True), PaperAccelerator()])
def test_samples_are_measured_per_completion(tokens_per_batch: int, accelerator: Any) -> None:
    """At temperature 2, halves of: KL 1, ½, 3; log-ratios ½, −1, 2; entropies per token 1, 3, 1; lengths 2, 1, 3."""
    sequences = [TokenSequence((row,), tuple(range(1, num + 1))) for row, num in enumerate((2, 1, 3))]
    sampled = [SampledCompletion((1,), (0.0,), reason) for reason in ("stop", "length", "stop")]  # type: ignore[arg-type]
    trunk: Any = TwoRoles()
    statistics = sample_statistics(trunk, sequences, sampled, tokens_per_batch, 2.0, accelerator)
    assert statistics == pytest.approx({
        "kl/exact": 4.5 / 3 / 2, "kl/k1": 1.5 / 3 / 2, "entropy/mean": 5 / 3 / 2, "length/mean": 2,
        "length/eos_rate": 2 / 3,
    })  # fmt: skip


def test_sums_of_two_processes_come_together_in_float64() -> None:
    accelerator: Any = PaperAccelerator()
    assert reduced(accelerator, {"right": 0.1, "num": 3.0}) == {"right": 0.2, "num": 6.0}
    assert added({"right": 1.0, "num": 2.0}, {"right": 0.5, "margin": -1.0}) == {"right": 1.5, "margin": -1.0}
    sums = {
        "right": 0.0, "num": 4.0, "margin": 0.0, "num_pairs": 0.0, "chosen": 1.0, "num_chosen": 0.0,
        "rejected": -1.0, "num_rejected": 2.0,
    }  # fmt: skip
    assert figures(sums) == {"accuracy/implicit": 0, "logratio/rejected": -0.5}
