"""Which adapter is active: the one place that switches a trunk between its roles.

Setting the active adapter and nothing else keeps `requires_grad` as it is; peft's `set_adapter` flips it, and a switch
between a forward and its backward then gives a gradient of zero without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


class RoleSwitch:
    """The active adapter of a model with injected LoRA layers; None = adapters off."""

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
        """Make an adapter active inside the block, then the former one again."""
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
        """Gradient checkpointing that recomputes under the role of the forward pass.

        The backward pass runs outside `use`, so a block that did not carry its role would be recomputed under another
        one: the policy's gradient was measured 127 % wrong, without an error.
        """
        adapter = self.active

        def block(*inputs: Any) -> Any:
            with self.use(adapter):
                return function(*inputs)

        return checkpoint(block, *args, use_reentrant=False)
