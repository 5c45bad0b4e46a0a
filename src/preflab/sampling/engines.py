"""The one way to an engine: what it samples from, and the table of engines.

An engine is a class of `training.protocols.Sampler` and a row of `ENGINES`; docs/decisions/engines.md says how to add
one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from preflab.settings.recipe import EngineName
from preflab.training.protocols import Sampler

if TYPE_CHECKING:
    from preflab.models.trunk import Trunk


@dataclass(frozen=True)
class EngineSource:
    """The language model that an engine samples from."""

    model: Any
    """The module itself, adapters included; in a loop it is the one that learns."""
    tokenizer: Any
    stop_token_ids: tuple[int, ...]
    """They end a completion where the decoding settings name none."""
    trunk: Trunk | None = None
    """The trunk whose policy role `model` is; None: a model that stands alone."""
    keep_states: bool = False
    """Whether completions carry the hidden states that their tokens were drawn from. Only an engine that decodes with
    `model` itself can keep them."""

    @classmethod
    def of_trunk(cls, trunk: Trunk, stop_token_ids: tuple[int, ...], *, keep_states: bool = False) -> EngineSource:
        """The policy role of a trunk."""
        return cls(trunk.language_model("policy"), trunk.tokenizer, stop_token_ids, trunk, keep_states)

    @property
    def pad_id(self) -> int:
        """Fills the left of shorter prompts; always masked."""
        return int(self.tokenizer.pad_token_id) if self.trunk is None else self.trunk.pad_id

    def role(self) -> AbstractContextManager[object]:
        """A context in which `model` computes as the policy, whatever role was active before."""
        return nullcontext() if self.trunk is None else self.trunk.role("policy")

    def merged_model(self) -> Any:
        """The policy as a plain model without adapter layers, for an engine that copies weights in `sync`.

        With adapters it is a new float32 copy, W + (alpha / rank) · B A; without, `model` itself.
        """
        from preflab.models.merge import merged_language_model

        return self.model if self.trunk is None else merged_language_model(self.trunk, "policy")


def make_engine(source: EngineSource, name: EngineName = "transformers") -> Sampler:
    """The engine of that name (the setting `device.engine`), holding the weights of `source` as they are now."""
    return ENGINES[name](source)


def _transformers(source: EngineSource) -> Sampler:
    from preflab.sampling.engine import TransformersEngine

    return TransformersEngine(
        source.model,
        pad_id=source.pad_id,
        stop_token_ids=source.stop_token_ids,
        tokenizer=source.tokenizer,
        role=source.role,
        keep_states=source.keep_states,
    )


ENGINES: dict[EngineName, Callable[[EngineSource], Sampler]] = {
    "transformers": _transformers,
}
"""Name in the settings → what builds the engine; each imports its own module, so that unused engines load nothing."""
