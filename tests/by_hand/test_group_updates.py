"""Updates of the GRPO family and of Online DPO by hand: clip sides, denominators, figures of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paper_trunk import PaperAccelerator, PaperTrunk, rollouts_on_paper
from preflab.maths.reductions import StepCounts
from preflab.policy import grpo, online_dpo
from preflab.policy.step_log import StepLog
from preflab.records import Prompt
from preflab.settings.grpo import GrpoSettings
from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.settings.stopping import StopSettings
from preflab.training.processes import make_accelerator
from preflab.training.protocols import SampledCompletion, SampleRequest
from preflab.training.row_order import row_at

NOTHING: Any = None
NAMES: dict[str, object] = {"model": "m", "prompts": "p", "rewards": [{"function": "a:b"}]}


def grpo_run(trunk: PaperTrunk, **changes: object) -> grpo.GrpoRun:
    """A run on groups of two that is asked for single parts of a step."""
    sizes = {"num_prompts_per_step": len(trunk.logps) // 2, "num_completions_per_prompt": 2}
    settings = GrpoSettings.model_validate({**NAMES, **sizes, **changes})
    accelerator: Any = make_accelerator(cpu=True)
    place: Any = trunk
    return grpo.GrpoRun(place, settings, [], NOTHING, NOTHING, NOTHING, Path(), seed=0, accelerator=accelerator)


def online_dpo_run(trunk: PaperTrunk, num: int = 2, **changes: object) -> online_dpo.OnlineDpoRun:
    """A run on groups of `num` that is asked for single parts of a step."""
    sizes = {"num_prompts_per_step": len(trunk.logps) // num, "num_completions_per_prompt": num}
    settings = OnlineDpoSettings.model_validate({**NAMES, **sizes, "beta": 1.0, **changes})
    accelerator: Any = make_accelerator(cpu=True)
    place: Any = trunk
    return online_dpo.OnlineDpoRun(
        place, settings, [], NOTHING, NOTHING, NOTHING, Path(), seed=0, accelerator=accelerator
    )


@pytest.mark.parametrize(
    ("clip", "terms"),
    [
        # Ratios 1.3, 1.6 with A = 1 and 0.85, 0.75 with A = −1. DAPO's own sides: 0.8 and 1.28.
        ({}, [-1.28, -1.28, 0.85, 0.8]),
        ({"clip_low": 0.1, "clip_high": 0.5}, [-1.3, -1.5, 0.9, 0.9]),
        ({"clip_low": 0.1}, [-1.28, -1.28, 0.9, 0.9]),
        ({"clip_high": 0.5}, [-1.3, -1.5, 0.85, 0.8]),
    ],
)
def test_clip_sides_are_those_of_the_settings_or_the_algorithm(clip: dict[str, float], terms: list[float]) -> None:
    trunk = PaperTrunk([[math.log(ratio)] for ratio in (1.3, 1.6, 0.85, 0.75)])
    run = grpo_run(trunk, algorithm="dapo", **clip)
    gained = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
    loss, _ = grpo.policy_loss(
        run, trunk, rollouts_on_paper([[0.0]] * 4), gained, [0, 1, 2, 3], StepCounts(4, 4, 9), 0.0
    )
    assert loss.item() == pytest.approx(sum(terms) / 4)


@pytest.mark.parametrize(
    ("algorithm", "slope"),
    [
        ("grpo", 1 / (2 * 2)),  # the mean over 2 tokens, then over the 2 completions of a minibatch
        ("gspo", 1 / (2 * 2)),
        ("dapo", 1 / 4),  # the mean over the 4 tokens of a minibatch
        ("rloo", 1 / 2),  # the sum over tokens, the mean over completions
        ("dr_grpo", 1 / (5 * 2)),  # over max_new_tokens, whatever was written
    ],
)
@pytest.mark.parametrize("tokens_per_micro_batch", [4096, 3])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_update_divides_by_the_counts_of_its_own_minibatch(
    algorithm: str, slope: float, tokens_per_micro_batch: int, num_processes: int
) -> None:
    """Four completions of two tokens, up to five allowed, in two minibatches; advantages 1 and ratios 1.

    A second process with the same numbers changes none; gradients are shared after the last micro-batch.
    """
    trunk = PaperTrunk([[-1.0, -1.0]] * 4)
    optimiser = {"max_grad_norm": 1e6, "tokens_per_micro_batch": tokens_per_micro_batch}
    run = grpo_run(trunk, algorithm=algorithm, num_minibatches=2, decoding={"max_new_tokens": 5}, optimiser=optimiser)
    if num_processes == 2:
        run.accelerator = PaperAccelerator()
    descent = torch.optim.SGD([trunk.logps], lr=1.0)
    rollouts = rollouts_on_paper([[-1.0, -1.0]] * 4)
    statistics = grpo.update(run, trunk, descent, rollouts, torch.ones(4, 2), step=0, kl_coef=0.0)
    torch.testing.assert_close(trunk.logps, torch.full((4, 2), -1 + slope))
    assert statistics["loss/policy"] == pytest.approx(-4 * slope), "4 tokens of each minibatch, averaged over the two"
    assert statistics["entropy/mean"] == pytest.approx(1.0)
    assert statistics["loss/total"] == pytest.approx(-4 * slope)
    assert statistics["num/updates"] == 2
    if num_processes == 2:
        assert run.accelerator.shared == ([True] * 2 if tokens_per_micro_batch == 4096 else [False, True] * 2)


def softplus(x: float) -> float:
    """−log σ(−x), written out."""
    return math.log(1 + math.exp(x))


def test_online_dpo_figures_of_pairs_by_hand() -> None:
    """Four groups of two; log-ratios of first − second 1, −1, 0 and 1, labels 0.75, 0.25, 0 and 0.

    Right, right, undecided and wrong: accuracy (1 + 1 + ½ + 0)/4. Certainty |2 · label − 1|: (½ + ½ + 1 + 1)/4.
    """
    logps = [[-1.0], [-2.0], [-2.0], [-1.0], [-1.0], [-1.0], [-1.0], [-2.0]]
    trunk, rollouts = PaperTrunk(logps), rollouts_on_paper(logps)
    rollouts.ref_logps = torch.full((8, 1), -3.0)
    labels = torch.tensor([[0.75], [0.25], [0.0], [0.0]])
    run = online_dpo_run(trunk)
    loss, statistics = online_dpo.pair_loss(run, trunk, rollouts, labels, [0, 1, 2, 3], 4, 8)
    loss.backward()
    assert statistics["accuracy/implicit"] == pytest.approx(2.5 / 4)
    assert statistics["label/certainty"] == pytest.approx(3 / 4)
    # −q log σ(h) − (1 − q) log σ(−h): the first two are one another's mirror image.
    expected = (2 * (0.75 * softplus(-1) + 0.25 * softplus(1)) + softplus(0) + softplus(1)) / 4
    assert loss.item() == pytest.approx(expected)
    # Slope of the first one's log-probability: (σ(h) − q)/4; the second's is its negative.
    sigma = 1 / (1 + math.exp(-1))
    slopes = [(sigma - 0.75) / 4, (1 - sigma - 0.25) / 4, 0.5 / 4, sigma / 4]
    assert trunk.logps.grad is not None
    assert trunk.logps.grad[::2, 0].tolist() == pytest.approx(slopes)
    assert trunk.logps.grad[1::2, 0].tolist() == pytest.approx([-slope for slope in slopes])


@pytest.mark.parametrize("tokens_per_micro_batch", [4096, 6])
@pytest.mark.parametrize("num_minibatches", [1, 2])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_online_dpo_divides_by_the_pairs_of_its_own_minibatch(
    num_processes: int, num_minibatches: int, tokens_per_micro_batch: int
) -> None:
    """Two groups of three, a minibatch each: three pairs of equal completions, all labelled for the first of the pair.

    Each pair's slope is (½ − 1)/3 on its first and as much up on its second. Completion 0 is first in two pairs,
    completion 1 first in one and second in one, completion 2 second in two. In one minibatch it is half of that.
    """
    trunk = PaperTrunk([[-1.0]] * 6)
    rollouts = rollouts_on_paper([[-1.0]] * 6)
    rollouts.ref_logps = torch.full((6, 1), -1.0)
    optimiser = {"max_grad_norm": 1e6, "tokens_per_micro_batch": tokens_per_micro_batch}
    run = online_dpo_run(trunk, num=3, num_minibatches=num_minibatches, optimiser=optimiser)
    if num_processes == 2:
        run.accelerator = PaperAccelerator()
    descent = torch.optim.SGD([trunk.logps], lr=1.0)
    statistics = online_dpo.update(run, trunk, descent, rollouts, torch.ones(2, 3), step=0)
    step = num_minibatches / 6
    assert trunk.logps.flatten().tolist() == pytest.approx([-1 + step, -1, -1 - step] * 2)
    assert statistics["loss/dpo"] == pytest.approx(math.log(2)), "a mean over both updates"
    assert statistics["accuracy/implicit"] == pytest.approx(0.5), "equal log-ratios decide nothing"
    assert statistics["label/certainty"] == pytest.approx(1.0)
    assert statistics["entropy/mean"] == pytest.approx(1.0)
    assert statistics["ratio/max_deviation"] == pytest.approx(num_processes - 1), "gathered as 1 more"
    assert statistics["num/updates"] == num_minibatches
    if num_processes == 2:
        by_group = num_minibatches == 1 and tokens_per_micro_batch == 6
        assert run.accelerator.shared == ([False, True] if by_group else [True] * num_minibatches)


@pytest.mark.parametrize(("group", "num_tokens"), [(0, 1), (1, 4)])
def test_parts_of_a_step_are_as_wide_as_their_own_completions(group: int, num_tokens: int) -> None:
    """Two completions of one token, two of four: losses of either group alone, ratios e^½ for every token."""
    trunk = PaperTrunk([[-0.5] * 4] * 4)
    rollouts = rollouts_on_paper([[-1.0], [-1.0], [-1.0] * 4, [-1.0] * 4])
    rollouts.ref_logps = torch.where(rollouts.completion_mask, -1.0, 0.0)
    rows = [2 * group, 2 * group + 1]
    ratio = math.exp(0.5)
    run = online_dpo_run(trunk)
    loss, figures = online_dpo.pair_loss(run, trunk, rollouts, torch.ones(2, 1), [group], 1, 2 * num_tokens)
    assert loss.item() == pytest.approx(math.log(2)), "equal log-ratios"
    assert figures["ratio/max_deviation"] == pytest.approx(ratio - 1)
    assert figures["entropy/mean"] == pytest.approx(1.0)
    with torch.no_grad():
        trunk.kl.fill_(0.25)
    # Advantage −1 is not clipped above: the ratio. k3 of −½: e^(−½) − 1 + ½ for every token.
    for treatment, kl in (("token_k3", math.exp(-0.5) - 0.5), ("exact", 0.25)):
        clipped, counts = grpo_run(trunk, algorithm="dapo", kl_treatment=treatment), StepCounts(2, 2 * num_tokens, 9)
        loss, figures = grpo.policy_loss(clipped, trunk, rollouts, -torch.ones(4, 4), rows, counts, 2.0)
        assert figures["loss/policy"] == pytest.approx(ratio)
        assert figures["loss/kl"] == pytest.approx(kl)
        assert loss.item() == pytest.approx(ratio + 2 * kl)
        assert figures["entropy/mean"] == pytest.approx(1.0)


class NotingSampler:
    """Writes one token for every request and keeps the prompts that it was asked about."""

    exact = True

    def sync(self, version: int) -> None:
        self.version = version

    def sample(self, requests: Sequence[SampleRequest], decoding: object) -> list[SampledCompletion]:
        self.prompts = [request.prompt_ids[0] for request in requests]
        return [SampledCompletion((7,), (-1.0,), "stop", self.version) for _ in requests]


@pytest.mark.parametrize("loop", [grpo, online_dpo])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_collect_takes_the_next_prompts_of_the_stream(loop: Any, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups of two a step from five prompts: step 1 begins at place 2, step 2 at place 4 and goes round."""
    make: Any = grpo_run if loop is grpo else online_dpo_run
    run = make(PaperTrunk([[0.0]] * 4))
    run.prompts = [(Prompt.make(text=str(number)), (number,)) for number in range(5)]
    run.sampler, run.decode, run.num_updates = NotingSampler(), lambda ids, prompt=None: "a", 3
    monkeypatch.setattr(loop, "ask_policy_and_reference", lambda trunk, rollouts, **_: rollouts)
    loop.collect(run, step)
    places = [2 * step, 2 * step, 2 * step + 1, 2 * step + 1]
    assert run.sampler.prompts == [row_at(place, 5, 0) for place in places]
    assert run.sampler.version == 3


def test_alarms_name_the_setting_that_weighs_the_kl(tmp_path: Path) -> None:
    trunk, sampler = SimpleNamespace(in_half_precision=False), SimpleNamespace(exact=True)
    settings = SimpleNamespace(
        num_steps=4, num_epochs=1, num_minibatches=1, kl_budget=1.0, stop=StopSettings(), max_record_mib=1
    )
    run: Any = SimpleNamespace(trunk=trunk, sampler=sampler, settings=settings, folder=tmp_path, num_updates=None)
    state: Any = SimpleNamespace(step=3)
    log = StepLog(run, state, kl_setting="beta")
    assert [alarm.setting for alarm in log.alarms.check([{"step": 3, "kl/exact": 9.0}])] == ["beta"]
    assert run.num_updates == 3
    assert log.goes_on
