"""Keeps a few rollouts of each step, with every number of each token that the loop computed: `rollouts/step-….parquet`.

The columns are listed in `training/record_columns.py`, the page is docs/reference/rollouts.md.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from torch import Tensor

from preflab.models.alternatives import most_likely
from preflab.policy.on_policy_run import OnPolicyRun
from preflab.training.batches import token_budget_batches
from preflab.training.record_columns import SCHEMA, Where, floats, rollout_schema
from preflab.training.rollouts import Rollouts
from preflab.training.step_files import StepFiles
from preflab.training.token_texts import restore_spaces

FOLDER = "rollouts"
Alternatives = list[tuple[Tensor, Tensor]]
"""Per kept rollout (T, k) ids and log-probabilities of the most likely tokens at each of its T positions."""


class RolloutRecord:
    """The record of a run. A resumed run's record is cut back to its checkpoint.

    Args:
        run: the run; its settings say how many rollouts and alternatives are kept, and the bound of the files.
        num_done: steps that the checkpoint has done.
    """

    def __init__(self, run: OnPolicyRun[Any], num_done: int) -> None:
        self.run, self.settings = run, run.settings
        self.files = StepFiles(run.folder / FOLDER, num_done=num_done, most_mib=run.settings.max_record_mib)
        self.alternatives: Alternatives = []
        self.decode = functools.cache(lambda token: run.decode([token]))

    def num_kept(self, step: int, rollouts: Rollouts) -> int:
        """Number of rollouts of a step that are kept."""
        return min(self.settings.num_kept_rollouts, len(rollouts)) if self.files.due(step) else 0

    def ask_alternatives(self, step: int, rollouts: Rollouts) -> None:
        """Ask the policy, before it learns from the rollouts, which tokens were most likely at each position."""
        settings = self.settings
        if settings.num_kept_alternatives == 0:
            return
        kept = rollouts.sequences[: self.num_kept(step, rollouts)]
        asked: dict[int, tuple[Tensor, Tensor]] = {}
        for rows in token_budget_batches([len(one) for one in kept], settings.optimiser.tokens_per_micro_batch):
            ids, logps = most_likely(
                self.run.trunk,
                self.run.trunk.collate([kept[row] for row in rows]),
                settings.num_kept_alternatives,
                temperature=settings.decoding.temperature,
            )
            lengths = [len(kept[row].completion_ids) for row in rows]
            asked |= dict(zip(rows, zip(ids.split(lengths), logps.split(lengths), strict=True), strict=True))
        self.alternatives = [asked[row] for row in range(len(kept))]

    def write(
        self,
        step: int,
        rollouts: Rollouts,
        scores: Tensor,
        terms: Mapping[str, Tensor],
        learned: Mapping[str, Tensor],
    ) -> None:
        """Write the first rollouts of a step, if the step is kept.

        Args:
            step: of the run.
            rollouts: the completions of the step.
            scores: (B,), one reward per completion.
            terms: (B,) terms of the rewards by name.
            learned: (B, T) numbers that the loop made of the rewards, by the name of their column.
        """
        num = self.num_kept(step, rollouts)
        if num == 0:
            return
        columns = {
            "step": [step] * num,
            **columns_of(rollouts, num, self.decode),
            "reward": floats(scores[:num]),
            **{f"reward/{name}": floats(term[:num]) for name, term in terms.items()},
            **per_token(rollouts, num, learned),
            **columns_of_alternatives(self.alternatives, self.decode),
        }
        where: list[Where] = ["ppo"] if "values" in learned else []
        where += ["alternatives"] if self.alternatives else []
        schema = rollout_schema(terms, where).with_metadata({"preflab": json.dumps(self._facts())})
        self.files.write(step, pa.table(columns, schema=schema))

    def _facts(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "kind": self.settings.kind, "temperature": self.settings.decoding.temperature}


def columns_of(rollouts: Rollouts, num: int, decode: Any) -> dict[str, list[Any]]:
    """The columns of the first `num` rollouts that are not numbers of single tokens.

    `decode` turns one token id into its text.
    """
    prompts, sequences, texts = rollouts.prompts[:num], rollouts.sequences[:num], rollouts.texts[:num]
    return {
        "row": rollouts.rows[:num],
        "seed": rollouts.seeds[:num],
        "prompt_id": [prompt.id for prompt in prompts],
        "prompt": [prompt.shown for prompt in prompts],
        "completion": texts,
        "finish_reason": ["stop" if finished else "length" for finished in rollouts.finished[:num].tolist()],
        "prompt_ids": [sequence.prompt_ids for sequence in sequences],
        "token_ids": [sequence.completion_ids for sequence in sequences],
        "tokens": [
            restore_spaces([decode(token) for token in sequence.completion_ids], text)
            for sequence, text in zip(sequences, texts, strict=True)
        ],
        "written": [[True] * len(sequence.completion_ids) for sequence in sequences],
    }


def per_token(rollouts: Rollouts, num: int, learned: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """The columns of the first `num` rollouts with one number per token, without padding."""
    tables = {
        "sampler_logps": rollouts.sampler_logps,
        "trainer_logps": rollouts.trainer_logps,
        "ref_logps": rollouts.ref_logps,
        "kl": rollouts.exact_kl,
        "entropy": rollouts.entropy,
        "ratio": rollouts.ratio,
        **learned,
    }
    masks = rollouts.completion_mask[:num]
    return {
        name: [floats(row[mask]) for row, mask in zip(table[:num], masks, strict=True)]
        for name, table in tables.items()
    }


def columns_of_alternatives(alternatives: Alternatives, decode: Any) -> dict[str, list[Any]]:
    """The columns of the alternatives; none without alternatives."""
    if not alternatives:
        return {}
    ids = [of_rollout.tolist() for of_rollout, _ in alternatives]
    return {
        "top_ids": ids,
        "top_tokens": [[[decode(token) for token in place] for place in of_rollout] for of_rollout in ids],
        "top_logps": [[floats(place) for place in logps] for _, logps in alternatives],
    }
