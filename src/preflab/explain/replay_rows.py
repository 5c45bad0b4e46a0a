"""Reads the kept rollouts and pairs of a run for the replay: one Parquet file per step, packed for a page."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from preflab.errors import PreflabError

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


def step_files(folder: Path) -> dict[int, Path]:
    """Step → the Parquet file of a folder `rollouts/` or `pairs/`, by step; {} if there is no such folder."""
    found = {path: path.stem.rpartition("-")[2] for path in folder.glob("step-*.parquet")}
    return {int(step): path for path, step in sorted(found.items(), key=lambda item: item[1]) if step.isdigit()}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of one step, in their order, with the columns as Python values.

    Raises:
        PreflabError: the file is no Parquet file, or lacks a column that every record has.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise PreflabError(
            f"{path}: {str(error).splitlines()[0]}", "a Parquet file of rollouts", "remove it, or run the stage again"
        ) from error
    missing = {"step", "prompt", "completion", "tokens"} - set(table.column_names)
    if missing:
        raise PreflabError(
            f"{path}: no column {', '.join(sorted(missing))}", "a file of rollouts", "run the stage again with --fresh"
        )
    return list(table.to_pylist())


def pack_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One rollout as the page reads it.

    Numbers per token are little-endian float32 in base64, as exact as in the file and half as long as text. A rollout
    of more than `MOST_TOKENS` tokens has its first `HEAD` and its last ones; `gap` says how many are missing between.
    """
    num = len(row["tokens"])
    places = shown_places(num)
    columns = {name: row[name] for name in PER_TOKEN if row.get(name) is not None}
    written = row.get("written") or [True] * num
    packed: dict[str, Any] = {
        "step": int(row["step"]),
        "row": int(row.get("row") or row.get("pair") or 0),
        "promptId": row.get("prompt_id"),
        "completionId": row.get("completion_id"),
        "prompt": cut_text(row["prompt"] or ""),
        "completion": cut_text(row["completion"] or ""),
        "finish": row.get("finish_reason"),
        "reward": short_float(row.get("reward", row.get("score"))),
        "terms": [[name.removeprefix(TERM), short_float(row[name])] for name in row if name.startswith(TERM)],
        "num": num,
        "head": HEAD if num > len(places) else num,
        "gap": num - len(places),
        "gapWritten": sum(written) - sum(written[place] for place in places),
        "tokens": [str(row["tokens"][place] or "")[:MOST_OF_A_TOKEN] for place in places],
        "ids": [int(row["token_ids"][place]) for place in places] if row.get("token_ids") else None,
        "unwritten": [index for index, place in enumerate(places) if not written[place]],
        "per": {name: pack_floats([values[place] for place in places]) for name, values in columns.items()},
    }
    if row.get("seed") is not None:
        packed["seed"] = str(row["seed"])
    if row.get("side") is not None:
        packed |= {"pair": int(row["pair"]), "side": row["side"], "margin": short_float(row["margin"])}
    if row.get("top_tokens"):
        packed["top"] = {
            "tokens": [[str(text)[:MOST_OF_A_TOKEN] for text in row["top_tokens"][place]] for place in places],
            "logps": [[short_float(value) for value in row["top_logps"][place]] for place in places],
        }
    return packed


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
