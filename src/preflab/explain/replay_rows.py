"""Packs kept rollouts and pairs for the replay: exact numbers in little room, long rollouts cut in the middle."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from preflab.training.token_texts import runs_of

PER_TOKEN = (
    "sampler_logps", "trainer_logps", "ref_logps", "kl", "advantages", "entropy", "ratio", "values", "returns", "logps",
)  # fmt: skip
"""Columns of one number per token that the page shows."""
TERM = "reward/"
MOST_TOKENS, HEAD = 6_000, 4_000
"""Most tokens of a rollout on the page, and how many of them are its first; the others are its last."""
MOST_CHARACTERS = 20_000
"""Most characters of a prompt and of a completion on the page."""
MOST_OF_A_TOKEN = 200
"""Most characters of one token."""


def pack_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One rollout as the page reads it.

    Numbers per token are little-endian float32 in base64, as exact as in the file and half as long as text. A rollout
    of more than `MOST_TOKENS` tokens has its first `HEAD` and its last ones; `gap` says how many are missing between.
    """
    tokens, ids = row["tokens"] or [], row.get("token_ids")
    num = len(tokens)
    places = shown_places(num)
    columns = {name: row[name] for name in PER_TOKEN if row.get(name) is not None}
    written = row.get("written") or [True] * num
    terms = [(name.removeprefix(TERM), short_float(row[name])) for name in row if name.startswith(TERM)]
    packed: dict[str, Any] = {
        "step": int(row["step"]),
        "row": int(row.get("row") or row.get("pair") or 0),
        "promptId": row.get("prompt_id"),
        "completionId": row.get("completion_id"),
        "prompt": cut_text(row["prompt"] or ""),
        "completion": cut_text(row["completion"] or ""),
        "finish": row.get("finish_reason"),
        "reward": short_float(row.get("reward", row.get("score"))),
        "terms": [term for term in terms if "/" not in term[0]],
        "details": [term for term in terms if "/" in term[0]],
        "num": num,
        "head": HEAD if num > len(places) else num,
        "gap": num - len(places),
        "gapWritten": sum(written) - sum(written[place] for place in places),
        "tokens": [str(tokens[place] or "")[:MOST_OF_A_TOKEN] for place in places],
        "ids": None if ids is None else [ids[place] for place in places],
        "unwritten": [index for index, place in enumerate(places) if not written[place]],
        "per": {name: pack_floats([values[place] for place in places]) for name, values in columns.items()},
    }
    packed |= _dialogue(row, written)
    if row.get("seed") is not None:
        packed["seed"] = str(row["seed"])
    if row.get("side") is not None:
        packed |= {"pair": int(row["pair"]), "side": row["side"], "margin": short_float(row["margin"])}
    if row.get("top_tokens"):
        packed["top"] = {
            "ids": [row["top_ids"][place] for place in places],
            "tokens": [[str(text)[:MOST_OF_A_TOKEN] for text in row["top_tokens"][place]] for place in places],
            "logps": [[short_float(value) for value in row["top_logps"][place]] for place in places],
        }
    return packed


def _dialogue(row: Mapping[str, Any], written: Sequence[bool]) -> dict[str, Any]:
    """The turns of a rollout with an environment: {} for others, and where texts and tokens of the turns do not match.

    `turns` has one entry per turn, the policy's first: place of its first token, text, and of a policy's turn the
    reward. A dialogue has no text of its own on the page.
    """
    texts, runs = row.get("turns") or [], runs_of(written)
    if not texts or len(texts) != len(runs):
        return {}
    rewards = row.get("turn_rewards") or []
    turns = [
        {"start": start, "text": cut_text(text)}
        | ({} if place % 2 else {"reward": short_float(sum(rewards[start:end]))})
        for place, (text, (start, end)) in enumerate(zip(texts, runs, strict=True))
    ]
    return {"turns": turns, "lastTurn": cut_text(row.get("last_turn") or ""), "completion": ""}


def shown_places(num: int) -> list[int]:
    """The positions of a rollout's tokens that the page has: all, or the first and the last ones."""
    if num <= MOST_TOKENS:
        return list(range(num))
    return [*range(HEAD), *range(num - (MOST_TOKENS - HEAD), num)]


def cut_text(text: str) -> str | list[Any]:
    """The text; of one longer than `MOST_CHARACTERS`: [its start, its end, number of characters between]."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return [text[:half], text[-half:], len(text) - 2 * half]


def pack_floats(values: Sequence[float | None]) -> str:
    """Numbers as base64 of little-endian float32; None becomes NaN."""
    array = np.array([math.nan if value is None else value for value in values], dtype="<f4")
    return base64.b64encode(array.tobytes()).decode()


def short_float(value: float | None) -> float | None:
    """The shortest decimal that gives the same float32; None for None and for numbers that are not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(str(np.float32(value)))


def spread_order(num: int) -> Iterator[int]:
    """The indices below num, the first and last first, then always the middle of the widest gap (breadth first)."""
    if num > 0:
        yield 0
    if num > 1:
        yield num - 1
    gaps = [(0, num - 1)]
    while gaps:
        following = []
        for low, high in gaps:
            if high - low > 1:
                middle = (low + high) // 2
                yield middle
                following += [(low, middle), (middle, high)]
        gaps = following
