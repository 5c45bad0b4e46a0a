"""The id of a model's weights, the same whatever precision it was loaded in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from preflab.models.facts import weights_hash
from preflab.models.packages import resolve_package


def base_hash(ref: Path | str, model: Any) -> str:
    """`weights_hash` of a model's folder; of a Hub id, or a folder of older files, that of its weights in float32.

    An adapter names its base by this id. A stage that learns loads in float32 and a stage that scores may load the
    same Hub id in half precision; both have to find the same base.

    Args:
        ref: the folder, `package:NAME` or Hub id that the model was loaded from.
        model: what was loaded, as it came; its class reads the Hub id again where it is not float32.
    """
    place = Path(resolve_package(ref))
    if place.is_dir() and any(place.glob("*.safetensors")):
        return weights_hash(place)
    if model.dtype != torch.float32:
        model = type(model).from_pretrained(str(place), dtype=torch.float32, trust_remote_code=False)
    return weights_hash(model)
