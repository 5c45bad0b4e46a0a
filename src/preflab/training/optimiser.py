"""AdamW with parameter groups, a learning rate schedule that is a pure function of the step, and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from preflab.errors import PreflabError
from preflab.settings.learning import OptimiserSettings
from preflab.training.eight_bit import make_eight_bit_adamw

NUM_EXACT_DIGITS = 9
"""Decimals to which `warmup_share` · `num_steps` is rounded before it is rounded down to whole steps."""


def make_optimiser(
    groups: Sequence[tuple[list[nn.Parameter], float]], settings: OptimiserSettings, model: nn.Module
) -> torch.optim.Optimizer:
    """AdamW over groups of (parameters, peak learning rate). Source: Loshchilov and Hutter 2019.

    Args:
        groups: the trained parameters with their peak rates; groups without parameters are left out.
        settings: betas, epsilon, weight decay and the precision of the states.
        model: the model that is trained; read for 8-bit states only (`training.eight_bit`).

    Raises:
        PreflabError: a parameter has fewer than 32 bits. An update smaller than the spacing of 16-bit numbers is
            rounded to zero: at a learning rate of 1e-5, 97 % of bfloat16 weights do not change. Also if 8-bit states
            are wanted and bitsandbytes is not installed.
    """
    every = [parameter for parameters, _ in groups for parameter in parameters]
    short = [parameter for parameter in every if parameter.dtype.itemsize < 4]
    if short:
        raise PreflabError(
            f"{len(short)} of {len(every)} trained parameters are {short[0].dtype}".replace("torch.", ""),
            "float32, because smaller types round most updates to zero",
            "load the model in float32 and let the trunk compute in half precision (`compute=`)",
        )
    if settings.states == "8bit":
        return make_eight_bit_adamw(groups, settings, model)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "peak_lr": rate} for parameters, rate in groups if parameters],
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def learning_rate_factor(step: int, num_steps: int, settings: OptimiserSettings) -> float:
    """Share of the peak learning rate at a step (counted from 0) of `num_steps`.

    The factor rises linearly during the warm-up, which has warmup_share · num_steps steps, rounded down. It is 1 at the
    first step after the warm-up. From there it is 1 (constant), 1 − x (linear) or ½(1 + cos πx) (cosine), where x is
    the share of the steps after the warm-up that are done.
    """
    # Round before floor: 0.29 · 100 is 28.999999999999996 in floating point and means 29 steps.
    num_warmup = math.floor(round(settings.warmup_share * num_steps, NUM_EXACT_DIGITS))
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    if settings.schedule == "linear":
        return 1.0 - done
    return 0.5 * (1.0 + math.cos(math.pi * done)) if settings.schedule == "cosine" else 1.0


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> float:
    """Set the rate of every group to `factor` times its peak; returns the first group's rate."""
    for group in optimiser.param_groups:
        group["lr"] = factor * group["peak_lr"]
    return float(optimiser.param_groups[0]["lr"])


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients down so that their joint norm is at most `max_norm`; returns the norm before scaling.

    Raises:
        PreflabError: the norm is NaN or infinite. The weights are unchanged.
    """
    norm = float(nn.utils.clip_grad_norm_(list(parameters), max_norm))
    if not math.isfinite(norm):
        raise PreflabError(
            f"the gradient's norm is {norm}",
            "a finite gradient",
            "lower optimiser.learning_rate, or check for infinite rewards; the last checkpoint is intact",
        )
    return norm
