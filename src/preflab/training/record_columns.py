"""The columns of the records that runs write: one table, from which files, checks and documentation are made."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from torch import Tensor

SCHEMA = 1
"""Version of the columns, in the metadata of every file. It rises when a column changes its meaning or goes away."""

TERM = "reward/<term>"
"""Name of the column that stands for one column per term of the reward."""

Where = Literal["always", "ppo", "alternatives", "environment", "dpo"]
"""When a column is there: always, in one kind of stage only, only with `num_kept_alternatives` above 0, or only with an
environment."""

FLOATS, INTEGERS, TEXTS = pa.list_(pa.float32()), pa.list_(pa.int32()), pa.list_(pa.string())


class Column(NamedTuple):
    """One column of a record."""

    type: pa.DataType
    unit: str
    meaning: str
    where: Where = "always"


ROLLOUTS: dict[str, Column] = {
    "step": Column(pa.int32(), "", "step of the run, from 0"),
    "row": Column(pa.int32(), "", "place of the completion among all completions of its step, from 0"),
    "seed": Column(pa.uint64(), "", "seed of the completion; with the step's policy it determines the tokens"),
    "prompt_id": Column(pa.string(), "", "id of the prompt's record"),
    "prompt": Column(pa.string(), "", "the prompt as it is shown"),
    "completion": Column(pa.string(), "", "the completion's text, as it was scored; of a dialogue all turns"),
    "finish_reason": Column(pa.string(), "", "`stop`: it ended by itself; `length`: a limit of tokens or turns cut it"),
    "reward": Column(pa.float32(), "reward", "what the loop learned from, less missing_eos_penalty, before KL"),
    TERM: Column(
        pa.float32(),
        "reward",
        "one column for each term of the reward, weighted as in the sum; `reward/<term>/<detail>` for further numbers "
        "of a term, which are not part of the sum",
    ),
    "prompt_ids": Column(INTEGERS, "", "token ids of the prompt, as the policy read them"),
    "token_ids": Column(INTEGERS, "", "token ids of the completion, with its stop token if it ended by itself"),
    "tokens": Column(TEXTS, "", "text of each token, with the white space before it"),
    "written": Column(
        pa.list_(pa.bool_()),
        "",
        "whether the policy wrote the token; false for turns of an environment, where numbers of the policy are NaN",
    ),
    "sampler_logps": Column(FLOATS, "nats", "log-probability of the token by the sampler that drew it"),
    "trainer_logps": Column(FLOATS, "nats", "the same by the trainer, before the step's first update"),
    "ref_logps": Column(FLOATS, "nats", "the same by the reference"),
    "kl": Column(FLOATS, "nats", "exact KL(policy ‖ reference) of the distribution that the token was drawn from"),
    "entropy": Column(FLOATS, "nats", "entropy of the distribution that the token was drawn from"),
    "ratio": Column(FLOATS, "", "π/π_old of the token when the step's updates last visited it; 1 if none did"),
    "advantages": Column(FLOATS, "reward", "advantage as the update used it; PPO: whitened, if the settings whiten"),
    "turns": Column(TEXTS, "", "texts of the turns: the policy's and the environment's by turns", "environment"),
    "turn_rewards": Column(
        FLOATS, "reward", "reward that the environment gave a turn, at its last token", "environment"
    ),
    "last_turn": Column(
        pa.string(), "", "what the environment said at the end; the policy does not read it", "environment"
    ),
    "values": Column(FLOATS, "reward", "prediction of the value role before the update", "ppo"),
    "returns": Column(FLOATS, "reward", "target of the value role: advantage before whitening + value", "ppo"),
    "top_ids": Column(pa.list_(INTEGERS), "", "ids of the most likely tokens at the position", "alternatives"),
    "top_tokens": Column(pa.list_(TEXTS), "", "their texts", "alternatives"),
    "top_logps": Column(pa.list_(FLOATS), "nats", "their log-probabilities, largest first", "alternatives"),
}
"""Columns of `rollouts/step-….parquet`; one row is one completion, and every list but prompt_ids has one entry per
token of the completion."""


PAIRS: dict[str, Column] = {
    "step": Column(pa.int32(), "", "optimiser steps taken; 0: before training"),
    "pair": Column(pa.int32(), "", "number of the pair, from 0; the same pair in every file"),
    "prompt_id": Column(pa.string(), "", "id of the prompt's record"),
    "prompt": Column(pa.string(), "", "the prompt as it is shown"),
    "side": Column(pa.string(), "", "`chosen` or `rejected`, by the label"),
    "completion": Column(pa.string(), "", "the completion's text"),
    "completion_id": Column(pa.string(), "", "id of the completion's record"),
    "token_ids": Column(INTEGERS, "", "token ids of the completion, as the model read them"),
    "tokens": Column(TEXTS, "", "text of each token, with the white space before it"),
    "written": Column(pa.list_(pa.bool_()), "", "whether a policy wrote the token, so that it is learned"),
    "logps": Column(FLOATS, "nats", "log-probability of the token by the policy; NaN where it is not learned", "dpo"),
    "ref_logps": Column(FLOATS, "nats", "the same by the reference", "dpo"),
    "score": Column(pa.float32(), "reward", "raw score of the reward model, or implicit reward of the policy (`dpo`)"),
    "margin": Column(pa.float32(), "reward", "score of the chosen less that of the rejected, on both rows"),
}
"""Columns of `pairs/step-….parquet`; one row is one side of a pair."""


def pair_schema(where: Collection[Where]) -> pa.Schema:
    """The schema of a run's pairs, with the columns that are there in `where` besides those that are always there."""
    return pa.schema([(n, c.type) for n, c in PAIRS.items() if c.where == "always" or c.where in where])


def rollout_schema(terms: Iterable[str], where: Collection[Where]) -> pa.Schema:
    """The schema of a run's rollouts.

    Args:
        terms: names of the terms of its reward.
        where: which columns it has besides those that are always there.
    """
    fields: list[tuple[str, pa.DataType]] = []
    for name, column in ROLLOUTS.items():
        if name == TERM:
            fields += [(f"reward/{term}", column.type) for term in terms]
        elif column.where == "always" or column.where in where:
            fields.append((name, column.type))
    return pa.schema(fields)


def floats(numbers: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """As a NumPy array of float32; −0 becomes 0, which is what an exact KL of 0 is after rounding."""
    return (numbers.detach().float().cpu() + 0.0).numpy()
