"""Builds sampling engines: the table of engines, by their names in the settings.

An engine is a class that implements `training.protocols.Sampler`, and a row of `ENGINES`; docs/decisions/engines.md
explains how to add one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

from preflab.sampling.engine_source import EngineSource
from preflab.settings.recipe import EngineName
from preflab.training.protocols import Sampler

__all__ = ["ENGINES", "EngineSource", "make_engine"]


def make_engine(source: EngineSource, name: EngineName = "transformers") -> Sampler:
    """Build the engine of this name (the setting `device.engine`) with the current weights of `source`."""
    return ENGINES[name](source)


def _transformers(source: EngineSource, capture: Literal["auto", "on", "off"] = "auto") -> Sampler:
    from preflab.sampling.engine import TransformersEngine

    return TransformersEngine(
        source.model,
        pad_id=source.pad_id,
        stop_token_ids=source.stop_token_ids,
        tokenizer=source.tokenizer,
        role=source.role,
        keep_states=source.keep_states,
        capture=capture,
        keep_masks=source.keep_masks,
    )


def _vllm(source: EngineSource) -> Sampler:
    from preflab.sampling.vllm_engine import VllmEngine

    return VllmEngine(source)


ENGINES: dict[EngineName, Callable[[EngineSource], Sampler]] = {
    "transformers": _transformers,
    "captured": functools.partial(_transformers, capture="on"),
    "plain": functools.partial(_transformers, capture="off"),
    "vllm": _vllm,
}
"""Name in the settings → function that builds the engine. Each function imports its engine's module itself, so that
unused engines are not loaded."""
