"""Dropout: off in every model, in training as well."""

from __future__ import annotations

from torch import nn


def switch_dropout_off(model: nn.Module) -> None:
    """Set every dropout probability to 0, so that train and eval mode agree: else ratios and KL are noise."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():  # attention_dropout, layerdrop, …: handed to functions as numbers
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
