"""The id of a model's weights, which does not depend on the precision that the model was loaded in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from preflab.models.facts import weights_hash
from preflab.models.packages import resolve_package


def base_hash(ref: Path | str, model: Any) -> str:
    """`weights_hash` of a folder with safetensors files; for a Hub id or older file formats, of the float32 weights.

    An adapter refers to its base by this id. A training stage loads in float32, and a scoring stage may load the same
    Hub id in half precision; both must get the same id.

    Args:
        ref: the folder, `package:NAME` or Hub id that the model was loaded from.
        model: the loaded model, unchanged. If it is not float32 and `ref` has no safetensors files, it is loaded again.
    """
    place = Path(resolve_package(ref))
    if place.is_dir() and any(place.glob("*.safetensors")):
        return weights_hash(place)
    if model.dtype != torch.float32:
        model = type(model).from_pretrained(str(place), dtype=torch.float32, trust_remote_code=False)
    return weights_hash(model)
