"""Names and rebuilds the body of a model, the part without a head that computes hidden states.

A fully fine-tuned reward model is saved as its body. `AutoModel` builds another class from some configurations (OPT's
whole model instead of its decoder), so the name of the body's class is saved too.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import Any

import torch

from preflab.errors import PreflabError

ROOT = "transformers"


def name_body(body: Any) -> str:
    """The class of a body as `module:class`, for example `transformers.models.opt.modeling_opt:OPTDecoder`."""
    return f"{type(body).__module__}:{type(body).__name__}"


def make_body(name: str, config: Any, dtype: torch.dtype, weights: Collection[str]) -> Any:
    """A body with random weights, in eval mode. It has no pooler if `weights` contains none.

    Args:
        name: the name from `name_body`; "" uses the class that `AutoModel` chooses for the configuration.
        config: the body's configuration.
        dtype: type of the weights.
        weights: names of the tensors that will be loaded into the body.

    Raises:
        PreflabError: the name is not that of a class of transformers.
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
