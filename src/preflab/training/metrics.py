"""Metrics of a run: one JSON line per step, and a glossary that explains every metric.

A metric without an entry in `GLOSSARY` is refused, so each curve of a report has a meaning, a healthy range and a
description of trouble.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from preflab.errors import PreflabError, nearest
from preflab.files import append_jsonl, keep_rows, read_jsonl
from preflab.settings.preference_losses import CURVES


class Metric(NamedTuple):
    """Explanation of a metric."""

    meaning: str
    unit: str
    healthy: str
    trouble: str


GLOSSARY: dict[str, Metric] = {
    "loss/total": Metric(
        "the loss whose gradient is taken", "", "falls, or for PPO hovers near 0", "NaN stops the run"
    ),
    "loss/policy": Metric(
        "clipped policy loss, mean over tokens", "", "near 0, slightly negative", "large swings: learning rate too high"
    ),
    "loss/value": Metric("half the squared error of the value role", "reward²", "falls", "rises: critic cannot follow"),
    "loss/q": Metric(
        "squared error of Q against reward plus the next value, mean over tokens (ilql)",
        "reward²",
        "falls to the spread that the state leaves open",
        "rises: learning rate too high",
    ),
    "loss/expectile": Metric(
        "squared error of V against Q, weighted by tau above and 1 − tau below, mean over tokens (ilql)",
        "reward²",
        "rises from 0, then steady",
        "rises without end: V and Q drive each other up",
    ),
    "loss/kl": Metric(
        "KL term of the loss over the step's tokens, before kl_coef: (b) half the squared log-ratios, (c) exact KL",
        "nats², nats",
        "small",
        "grows without end",
    ),
    "loss/nll": Metric("negative log-likelihood of the completion's tokens", "nats/token", "falls", "rises: too fast"),
    "loss/bradley_terry": Metric(
        "−log σ(chosen − rejected)", "nats", "below ln 2 = 0.69", "stays at 0.69: learns nothing"
    ),
    "loss/rating": Metric(
        "mean squared error of the ratings, on scales of mean 0 and variance 1",
        "",
        "below 1",
        "stays at 1: predicts only the mean",
    ),
    **{f"loss/{kind}": Metric(*curve) for kind, curve in CURVES.items()},
    "accuracy/implicit": Metric(
        "share of pairs that the implicit reward (DPO: β log π/π_ref) puts in the order of their labels, ties half",
        "",
        "rises above 0.5",
        "stays at 0.5: learns nothing",
    ),
    "label/certainty": Metric(
        "|2 P(a ≻ b) − 1| of the pairs' labels, mean over pairs",
        "",
        "0.1 to 0.9",
        "near 0: the reward is small in its unit; 1: labels are drawn, or the reward is large",
    ),
    "implicit/margin": Metric(
        "implicit reward of chosen minus rejected", "reward", "grows slowly", "explodes: overfitting, raise beta"
    ),
    "logratio/chosen": Metric(
        "mean log π/π_ref of the chosen completions (KTO: the good ones)",
        "nats",
        "around 0 or above",
        "falls: the chosen become less likely too",
    ),
    "logratio/rejected": Metric(
        "mean log π/π_ref of the rejected completions (KTO: the bad ones)", "nats", "below chosen", "far below −50"
    ),
    "kl/mismatched": Metric(
        "KTO's z₀: mean log-ratio of completions of other prompts, at least 0", "nats", "small", "grows without end"
    ),
    "held_out/loss": Metric(
        "loss on held-out groups", "as loss/total", "falls", "rises while loss/total falls: overfit"
    ),
    "held_out/accuracy": Metric(
        "share of held-out pairs in the right order by implicit reward, ties half", "", "0.6 to 0.8", "stays at 0.5"
    ),
    "held_out/margin": Metric("implicit/margin on held-out pairs", "reward", "grows slowly", "shrinks: overfitting"),
    "held_out/logratio_chosen": Metric("logratio/chosen on held-out groups", "nats", "around 0 or above", "falls"),
    "held_out/logratio_rejected": Metric("logratio/rejected on held-out groups", "nats", "below chosen", ""),
    "accuracy/train": Metric(
        "share of this step's pairs in the right order, ties half", "", "0.6 to 0.8", "near 1: memorises the labels"
    ),
    "nuisance/log_nu": Metric(
        "Davidson's log ν, learned: how often equally good completions are tied",
        "",
        "−2 to 1",
        "below −5: no ties in the data",
    ),
    "nuisance/length_slope": Metric(
        "score units that one spread of length explains by itself (length_control)",
        "raw score",
        "near the length preference of the data",
        "0 after many steps: raise nuisance_learning_rate",
    ),
    "score/margin": Metric("mean score of chosen minus rejected", "raw score", "grows slowly", "explodes: overfitting"),
    "score/std": Metric("standard deviation of the raw scores", "raw score", "about 1", "tiny: head not learning"),
    "reward/mean": Metric(
        "mean reward of the rollouts, less missing_eos_penalty, before KL",
        "reward",
        "rises",
        "rises while score/held_out falls",
    ),
    "reward/environment": Metric(
        "mean over the dialogues of the environment's rewards, summed over the turns",
        "reward",
        "rises",
        "flat or falling",
    ),
    "reward/environment/num_turns": Metric("turns of the policy in a dialogue", "turns", "", "1, or always max_turns"),
    "reward/std": Metric("standard deviation of the rewards", "reward", "above 0", "0: nothing to prefer"),
    "score/held_out": Metric(
        "held-out criterion on held-out prompts", "criterion", "rises with the reward", "falls: reward hacking"
    ),
    "score/held_out_error": Metric(
        "standard error of score/held_out over its prompts; not written for a single one", "criterion", "small", ""
    ),
    "kl/exact": Metric(
        "exact KL(policy ‖ reference), summed over a completion, mean over completions",
        "nats",
        "below the budget",
        "above the budget: raise kl_coef",
    ),
    "kl/k1": Metric(
        "k1 estimate of kl/exact, from the sampled tokens",
        "nats",
        "around kl/exact",
        "always off to one side: sampler and trainer differ",
    ),
    "kl/coef": Metric("weight of the KL penalty in force", "reward/nat", "steady", "runs to 0 or to infinity"),
    "entropy/mean": Metric(
        "entropy of the next token, mean over tokens", "nats", "falls slowly", "collapses towards 0"
    ),
    "ratio/max_deviation": Metric("largest |π/π_old − 1| of the step", "", "below 1", "large: updates too big"),
    "ratio/first_deviation": Metric(
        "largest |π/π_old − 1| before the first update; π_old is the sampler's, or the trainer's where the two round "
        "differently (half precision, another engine)",
        "",
        "below 1e-3 in float32, below 0.5 in half precision",
        "two passes over the same tokens disagree",
    ),
    "ratio/approx_kl": Metric(
        "k3 estimate of KL(π_old ‖ π), mean over tokens", "nats", "below 0.05", "updates too big"
    ),
    "clip/policy": Metric("share of tokens whose ratio is clipped", "", "0 to 0.3", "above 0.3: updates too big"),
    "clip/value": Metric("share of tokens whose value is clipped", "", "0 to 0.3", "near 1: value_clip too small"),
    "value/explained_variance": Metric(
        "1 − Var(returns − values)/Var(returns)", "", "rises towards 1", "below 0: worse than a constant"
    ),
    "length/mean": Metric("tokens per completion", "tokens", "steady", "drifts: the reward likes length"),
    "length/eos_rate": Metric(
        "share of completions that ended with a stop token or string", "", "near 1", "falls: runs into the limit"
    ),
    "advantage/mean": Metric("mean advantage before whitening", "reward", "near 0", "far from 0: critic is off"),
    "advantage/std": Metric("standard deviation of advantages before whitening", "reward", "above 0", "0: no signal"),
    "grad/norm": Metric(
        "norm of the gradient before clipping, mean over updates", "", "steady", "grows: lower the rate"
    ),
    "learning_rate": Metric("learning rate of the first group", "", "as scheduled", ""),
    "importance/mean": Metric(
        "mean of the weights min(π_trainer / π_sampler, truncated_importance) over tokens",
        "",
        "near 1",
        "far from 1: sampler and trainer hold different weights",
    ),
    "importance/num_cut": Metric(
        "tokens of the step whose importance weight was cut at truncated_importance",
        "tokens",
        "few",
        "many: sampler and trainer differ more than rounding explains",
    ),
    "mismatch/logps": Metric(
        "largest |sampler's log-probability − trainer's|; from a sampler that keeps its states, only the head differs, "
        "and ratio/first_deviation compares whole passes",
        "nats",
        "below 1e-3 in float32; of single tokens up to 1 in half precision",
        "above 0.01 in float32: sampler and trainer disagree",
    ),
    "mismatch/logps_mean": Metric(
        "mean |sampler's log-probability − trainer's| over tokens",
        "nats/token",
        "below 1e-4 in float32, 0.01 to 0.03 in half precision",
        "2.5 times that of the first step: the sampler holds other weights",
    ),
    "mismatch/kl": Metric(
        "k3 estimate of KL(sampler ‖ trainer), mean over tokens",
        "nats/token",
        "below 0.001",
        "grows: the sampler holds other weights",
    ),
    "repeat/share": Metric(
        "share of a completion's 3-grams that repeat earlier ones", "", "as at the start", "rises: one phrase repeated"
    ),
    "group/no_spread": Metric(
        "share of prompts whose completions all have the same reward",
        "",
        "below 0.5",
        "near 1: nothing to learn, more completions per prompt or other prompts",
    ),
    "group/std": Metric(
        "standard deviation of the rewards of one prompt's completions, mean over prompts",
        "reward",
        "above 0",
        "falls to 0: the policy always writes the same",
    ),
    "group/resampled": Metric(
        "groups drawn again because their rewards were all equal", "groups", "few", "at the limit of num_resamples"
    ),
    "num/tokens": Metric("completion tokens of the step", "tokens", "steady", ""),
    "num/updates": Metric("optimiser steps of the step", "", "num_epochs × num_minibatches", ""),
    "time/collect": Metric("seconds spent on rollouts", "s", "", ""),
    "time/score": Metric("seconds spent on rewards", "s", "", ""),
    "time/update": Metric("seconds spent on updates", "s", "", ""),
    "time/record": Metric("seconds spent on writing kept rollouts; not part of time/step", "s", "", ""),
    "time/step": Metric("seconds per step", "s", "", ""),
    "tokens/s": Metric("completion tokens per second of the whole step", "tokens/s", "", ""),
}
"""Name → meaning. Reward terms are logged as `reward/<name of the term>`, details of an ensemble or a judge (such as
its members' scores) as `reward/<name of the term>/<detail>`; they share the entry of `reward/mean`."""


OF_ENVIRONMENT = "reward/environment/"
"""Start of the names of the numbers that an environment gives beside its reward (`Reply.columns`)."""


def described_metric(name: str) -> Metric | None:
    """The entry of a metric; a column of an environment has one of its own, other terms of the reward have none."""
    if name not in GLOSSARY and name.startswith(OF_ENVIRONMENT):
        column = name.removeprefix(OF_ENVIRONMENT)
        return Metric(f"`{column}` of the environment's last reply, mean over the dialogues", "", "", "")
    return GLOSSARY.get(name)


def is_time(name: str) -> bool:
    """Whether a metric measures the machine's speed. Only such metrics may differ between two equal runs."""
    return name.startswith("time/") or name == "tokens/s"


class MetricsLog:
    """The metrics file of a run, cut back to the checkpoint on resuming."""

    def __init__(self, path: Path, *, step: int = 0) -> None:
        self.path = path
        keep_rows(path, step)

    def write(self, step: int, values: Mapping[str, float]) -> dict[str, Any]:
        """Append one step; returns the row.

        Raises:
            PreflabError: a name has no entry in the glossary, or a value is NaN or infinite.
        """
        for name, value in values.items():
            if name not in GLOSSARY and not name.startswith("reward/"):
                near = nearest(name, list(GLOSSARY))
                raise PreflabError(
                    f"metric {name}: not in the glossary", f"near it: {near}", "add it to training/metrics.py"
                )
            if not math.isfinite(value):
                raise PreflabError(
                    f"metric {name} is {value} at step {step}", "a finite number", "lower optimiser.learning_rate"
                )
        row = {"step": step, **{name: float(value) for name, value in values.items()}}
        append_jsonl(self.path, row)
        return row

    def rows(self) -> list[dict[str, Any]]:
        """All steps so far."""
        return read_jsonl(self.path)
