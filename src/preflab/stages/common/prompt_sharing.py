"""Shared by the stages that learn from groups of completions: whether a group shares its prompt's row."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from preflab.training.token_limits import TokenLimits

if TYPE_CHECKING:
    from preflab.models.trunk import Role, Trunk
    from preflab.training.prompt_sharing import PromptSharing

logger = logging.getLogger(__name__)


def find_sharing(
    trunk: Trunk, role: Role, *, share_prompts: bool, tokens_per_micro_batch: int, limits: TokenLimits
) -> PromptSharing | None:
    """The sharing of rows by a role's completions; None if settings or model forbid it, see `may_share`."""
    from preflab.training.prompt_sharing import PromptSharing

    if not (share_prompts and may_share(trunk, role)):
        return None
    width = int(getattr(trunk.model.config.get_text_config(), "hidden_size", 0))
    return PromptSharing(min(tokens_per_micro_batch, limits.both), trunk.pad_id, width)


def may_share(trunk: Trunk, role: Role) -> bool:
    """Whether completions of a prompt can share its row in a role's passes; if not, logs a warning with the reason.

    It is a warning because commands show no others, as for packing.
    """
    reason = _why_not(trunk, role)
    if reason is not None:
        logger.warning(
            "%s: prompts are not shared between completions: %s", type(trunk.language_model(role)).__name__, reason
        )
    return reason is None


def _why_not(trunk: Trunk, role: Role) -> str | None:
    from preflab.models.prompt_sharing import why_not_shared

    if role == "reward" and trunk.pooling != "last":
        return f"the reward head reads states of a whole row (pooling {trunk.pooling})"
    if trunk.row_lengths and trunk.row_lengths.longest is None:
        return "its rotary frequencies depend on the length of a row"
    return why_not_shared(trunk.language_model(role), trunk.family)
