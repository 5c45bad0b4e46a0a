"""The token ids that a test of a model may use as text."""

from __future__ import annotations

from typing import Any


def ordinary_ids(config: Any) -> list[int]:
    """The ids of the vocabulary without those that a configuration uses for other purposes, such as an image token."""
    special = {
        value
        for name, value in config.to_dict().items()
        if name.endswith(("token_id", "token_index")) and isinstance(value, int)
    }
    return [i for i in range(config.get_text_config().vocab_size) if i not in special] or [0]
