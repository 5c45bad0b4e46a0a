"""AdamW whose states take 8 bits per weight instead of 32, from bitsandbytes (Dettmers et al. 2022).

Each block of 256 weights has one float32 scale, and each state is one of 256 levels times the scale. The weights and
their updates stay float32. Both states take 2 bytes per weight instead of 8.

States of embeddings, and of tensors with fewer than 4,096 weights, stay float32: the gradients of an embedding differ
by orders of magnitude within a block (section 2.3 of the paper), and small tensors save nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from preflab.models.bitsandbytes_import import check_installed, import_bitsandbytes
from preflab.settings.learning import OptimiserSettings

SMALLEST = 4096
"""Number of weights from which a tensor's states take 8 bits."""
WANTED = "optimiser.states: 8bit"


def make_eight_bit_adamw(
    groups: Sequence[tuple[list[nn.Parameter], float]], settings: OptimiserSettings, model: nn.Module
) -> torch.optim.Optimizer:
    """AdamW with 8-bit states over groups of (parameters, peak learning rate).

    Args:
        groups: the trained parameters with their peak rates; groups without parameters are left out.
        settings: betas, epsilon and weight decay.
        model: the model that is trained; the states of its embeddings stay float32.

    Raises:
        PreflabError: bitsandbytes is not installed.
    """
    check_installed(WANTED)
    optimiser: torch.optim.Optimizer = _adamw()(
        [{"params": parameters, "lr": rate, "peak_lr": rate} for parameters, rate in groups if parameters],
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_eps,
        weight_decay=settings.weight_decay,
        min_8bit_size=SMALLEST,
        in_32_bits=embedding_weights(model),
    )
    return optimiser


def embedding_weights(model: nn.Module) -> list[nn.Parameter]:
    """The weights of a model's embeddings, also those that a head shares."""
    return [cast(nn.Parameter, module.weight) for module in model.modules() if isinstance(module, nn.Embedding)]


@functools.cache
def _adamw() -> Any:
    """The class of the optimiser, made when it is first needed because bitsandbytes is optional."""
    bitsandbytes = import_bitsandbytes(WANTED)

    class EightBitAdamW(bitsandbytes.optim.AdamW8bit):  # type: ignore[name-defined]
        """AdamW8bit with given tensors in 32 bits.

        bitsandbytes' own register of such tensors is global to the process and goes by `id()`, which a later tensor
        can have as well.
        """

        def __init__(self, groups: Any, *, in_32_bits: Sequence[nn.Parameter], **settings: Any) -> None:
            super().__init__(groups, **settings)
            self._in_32_bits = {id(parameter) for parameter in in_32_bits}
            self._parameters_in_32_bits = tuple(in_32_bits)  # kept alive, so that their ids stay theirs

        def get_config(self, gindex: int, pindex: int, group: Any) -> dict[str, Any]:
            config: dict[str, Any] = super().get_config(gindex, pindex, group)
            exact = id(self.param_groups[gindex]["params"][pindex]) in self._in_32_bits
            return config | {"optim_bits": 32} if exact else config

    return EightBitAdamW
