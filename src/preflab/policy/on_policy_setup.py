"""Builds the optimiser, minibatches, KL controller and alarms of an on-policy run."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from preflab.maths.kl import AdaptiveKLController, FixedKLController
from preflab.models.trunk import Trunk
from preflab.policy.on_policy_run import OnPolicyRun
from preflab.seeds import derive_seed
from preflab.settings.ppo import PpoSettings
from preflab.training.alarms import Alarms, Rounding
from preflab.training.batches import TokenSequence
from preflab.training.optimiser import make_optimiser
from preflab.training.row_order import micro_batches_of_pass


class WithKl(Protocol):
    """Settings of a loop with a KL penalty."""

    @property
    def kl_coef(self) -> float: ...
    @property
    def kl_target(self) -> float | None: ...
    @property
    def kl_horizon(self) -> int: ...


def ppo_optimiser(trunk: Trunk, settings: PpoSettings) -> torch.optim.Optimizer:
    """AdamW over two parameter groups, policy and value; `value_learning_rate` may set another rate for the second."""
    rate = settings.optimiser.learning_rate
    groups = [
        ([p for _, p in trunk.parameters_of("policy")], rate),
        ([p for _, p in trunk.parameters_of("value")], settings.value_learning_rate or rate),
    ]
    return make_optimiser(groups, settings.optimiser, trunk)


def minibatches(
    run: OnPolicyRun[Any], lengths: Sequence[int], step: int, epoch: int, sequences: Sequence[TokenSequence] = ()
) -> list[list[list[int]]]:
    """The minibatches of one pass over rows of these lengths; each is a list of micro-batches of row indices.

    If the run shares prompts and the rows are `sequences`, those of one prompt are side by side in a micro-batch.
    """
    settings, seed, cut = run.settings, derive_seed(run.seed, "minibatches", step, epoch), None
    budget = settings.optimiser.tokens_per_micro_batch
    if run.sharing is not None and sequences:
        cut = functools.partial(run.sharing.micro_batches, sequences, tokens_per_batch=budget)
    return micro_batches_of_pass(lengths, settings.num_minibatches, budget, seed, cut)


def first_micro_batches(
    run: OnPolicyRun[Any], lengths: Sequence[int], step: int, sequences: Sequence[TokenSequence] = ()
) -> list[list[int]] | None:
    """The micro-batches of a step's first pass, for the trainer to compute π_old in; None: the sampler's π_old is used.

    In half precision rounding depends on the other rows of a batch, so π_old is computed in the batches of the update.
    """
    if run.sampler.exact:
        return None
    return [part for parts in minibatches(run, lengths, step, 0, sequences) for part in parts]


def alarms_of(run: OnPolicyRun[Any], num_done: int, *, kl_setting: str = "kl_coef") -> Alarms:
    """The alarms of a run after `num_done` steps, with the limits of its precision.

    `kl_setting` is the name of the setting that weighs the KL; alarms name it as the one to change.
    """
    rounding = Rounding.of(half=run.trunk.in_half_precision, exact=run.sampler.exact)
    return Alarms(
        run.folder / "alarms.jsonl",
        kl_budget=run.settings.kl_budget,
        step=num_done,
        kl_setting=kl_setting,
        rounding=rounding,
        num_steps=run.settings.num_steps,
    )


def kl_controller(settings: WithKl) -> FixedKLController | AdaptiveKLController:
    """An adaptive controller if the settings have a `kl_target`, otherwise a fixed one."""
    if settings.kl_target is None:
        return FixedKLController(settings.kl_coef)
    return AdaptiveKLController(settings.kl_coef, settings.kl_target, settings.kl_horizon)
