"""Switches a trunk between its roles by setting the active adapter; no other module does this.

The switch does not change `requires_grad`. peft's `set_adapter` does, so a switch between a forward pass and its
backward pass would give a zero gradient without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from preflab.models.varlen import attention_in_use


class RoleSwitch:
    """Sets the active adapter of a model with injected LoRA layers; None switches all adapters off."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.active: str | None = None
        self.refresh()

    def refresh(self) -> None:
        """Find the adapter layers again, after adapters were injected."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        self._layers = [module for module in self._model.modules() if isinstance(module, BaseTunerLayer)]
        self._set(self.active)

    @contextmanager
    def use(self, adapter: str | None) -> Iterator[None]:
        """Make an adapter active inside the block, and restore the former one afterwards."""
        former = self.active
        self._set(adapter)
        try:
            yield
        finally:
            self._set(former)

    def _set(self, adapter: str | None) -> None:
        self.active = adapter
        for layer in self._layers:
            layer._disable_adapters = adapter is None
            layer._active_adapter = [] if adapter is None else [adapter]

    def checkpointed(self, function: Callable[..., Any], *args: Any) -> Any:
        """Gradient checkpointing that recomputes a block under the role and the attention of its forward pass.

        The backward pass runs outside `use`, so without this a block would be recomputed under another role. In a
        measurement this made the policy's gradient wrong by 127 %, without an error.
        """
        adapter, attention = self.active, attention_in_use()

        def block(*inputs: Any) -> Any:
            with self.use(adapter), attention():
                return function(*inputs)

        return checkpoint(block, *args, use_reentrant=False)
