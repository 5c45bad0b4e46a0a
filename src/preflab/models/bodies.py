"""The part of a model that gives hidden states, named and made again: what a fully fine-tuned reward model is saved as.

`AutoModel` makes another class from some configurations (OPT's whole model instead of its decoder), so the class itself
is written down.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import Any

import torch

from preflab.errors import PreflabError

ROOT = "transformers"


def name_body(body: Any) -> str:
    """`module:class`, for example `transformers.models.opt.modeling_opt:OPTDecoder`."""
    return f"{type(body).__module__}:{type(body).__name__}"


def make_body(name: str, config: Any, dtype: torch.dtype, weights: Collection[str]) -> Any:
    """A body with random weights in eval mode, without a pooler where its weights have none.

    Args:
        name: from `name_body`; "" makes what `AutoModel` makes of the configuration.
        config: the body's configuration.
        dtype: of the weights.
        weights: names of the tensors that it will be filled with.

    Raises:
        PreflabError: the name is not one of a class of transformers.
    """
    from transformers import AutoModel

    if not name:
        return AutoModel.from_config(config, dtype=dtype).eval()
    module, _, kind = name.partition(":")
    if module.partition(".")[0] != ROOT or not kind.isidentifier():
        raise PreflabError(f"a reward model with the body {name}", f"a class of {ROOT}", "train the reward model again")
    body = getattr(importlib.import_module(module), kind)(config).to(dtype).eval()
    if getattr(body, "pooler", None) is not None and not any(weight.startswith("pooler.") for weight in weights):
        body.pooler = None
    return body
