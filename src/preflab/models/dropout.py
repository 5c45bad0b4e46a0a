"""Switches dropout off, which preflab does in every model, also for training."""

from __future__ import annotations

from torch import nn


def switch_dropout_off(model: nn.Module) -> None:
    """Set every dropout probability to 0. Otherwise train and eval mode differ, and ratios and KL are noisy."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():  # attention_dropout, layerdrop, …: floats passed to functions
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
