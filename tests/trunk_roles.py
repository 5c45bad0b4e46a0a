"""The roles of a trunk that a test can move."""

from __future__ import annotations

from preflab.models.trunk import Trunk


def learning_roles(trunk: Trunk) -> tuple[str, ...]:
    """The roles that have their own weights or adapter."""
    if trunk.lora is None:
        return tuple(role for role in trunk.models if role != "reference")
    return tuple(getattr(trunk.model, "peft_config", {}))
