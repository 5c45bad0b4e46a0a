"""The turns of a kept rollout in which an environment answered, for the section "Samples"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from preflab.report.blocks import Turn
from preflab.report.charts import largest_weight, token_strip
from preflab.training.token_texts import restore_spaces, runs_of
from preflab.words import number

POLICY, OTHER, LAST = "Policy", "Environment", "Environment, at the end (the policy did not read it)"


def dialogue_turns(row: Mapping[str, Any]) -> list[Turn]:
    """The turns of both sides, the policy's shaded by KL and with their reward; [] for a completion of one turn."""
    texts = row.get("turns") or []
    last = [Turn(LAST, str(row["last_turn"]))] if row.get("last_turn") else []
    if len(texts) + len(last) < 2:
        return []
    runs = runs_of(row["written"])
    turns = []
    for place, text in enumerate(texts):
        start, end = runs[place] if len(runs) == len(texts) else (0, 0)
        if place % 2:
            turns.append(Turn(OTHER, text))
        else:
            rewards = (row.get("turn_rewards") or [])[start:end]
            facts = [f"reward {number(sum(rewards), 2)}"] if rewards else []
            turns.append(Turn(POLICY, _shaded(row, text, start, end), mine=True, facts=facts))
    return turns + last


def kl_sum(row: Mapping[str, Any]) -> float:
    """The KL of a rollout in nats, over the tokens that the policy wrote."""
    return sum(value for value in row["kl"] if math.isfinite(value))


def _shaded(row: Mapping[str, Any], text: str, start: int, end: int) -> str | Markup:
    if start == end or not row.get("kl"):
        return text
    tokens = restore_spaces(row["tokens"][start:end], text)
    return token_strip(tokens, row["kl"][start:end], "KL", largest=largest_weight(row["kl"]))
