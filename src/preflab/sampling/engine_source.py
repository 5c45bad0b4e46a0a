"""The language model that a sampling engine samples from."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from preflab.settings.vllm import VllmSettings

if TYPE_CHECKING:
    from preflab.models.trunk import Trunk


@dataclass(frozen=True)
class EngineSource:
    """The language model that an engine samples from."""

    model: Any
    """The module itself with its adapters; in a training loop it is the module that is trained."""
    tokenizer: Any
    stop_token_ids: tuple[int, ...]
    """Tokens that end a completion if the decoding settings name none."""
    trunk: Trunk | None = None
    """The trunk in which `model` is the policy; None: the model belongs to no trunk."""
    keep_states: bool = False
    """Whether completions carry the hidden states that their tokens were drawn from. Only an engine that decodes with
    `model` itself can keep them."""
    keep_masks: bool = False
    """Whether completions of truncated sampling carry the ids that their tokens were drawn from, for a trainer."""
    server: VllmSettings = field(default_factory=VllmSettings)
    """Where the server of an engine in another process is."""

    @classmethod
    def of_trunk(
        cls,
        trunk: Trunk,
        stop_token_ids: tuple[int, ...],
        *,
        keep_states: bool = False,
        keep_masks: bool = False,
        server: VllmSettings | None = None,
    ) -> EngineSource:
        """A source that samples from the policy role of a trunk."""
        server = server or VllmSettings()
        model = trunk.language_model("policy")
        return cls(model, trunk.tokenizer, stop_token_ids, trunk, keep_states, keep_masks, server)

    @property
    def pad_id(self) -> int:
        """Token that pads shorter prompts on the left; it is always masked."""
        return int(self.tokenizer.pad_token_id) if self.trunk is None else self.trunk.pad_id

    def role(self) -> AbstractContextManager[object]:
        """A context in which `model` computes as the policy, independent of the role that was active before."""
        return nullcontext() if self.trunk is None else self.trunk.role("policy")

    def merged_model(self) -> Any:
        """The policy as a plain model without adapter layers, for an engine that copies weights in `sync`.

        With adapters this is a new float32 copy with weights W + (alpha / rank) · B A, without adapters `model` itself.
        """
        from preflab.models.merge import merged_language_model

        return self.model if self.trunk is None else merged_language_model(self.trunk, "policy")
