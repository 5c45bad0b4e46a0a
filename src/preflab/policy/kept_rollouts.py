"""Keeps a few rollouts of each step, with every number of each token that the loop computed: `rollouts/step-….parquet`.

The columns are listed in `training/record_columns.py`, the page is docs/reference/rollouts.md.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from preflab.messages import Message
from preflab.models.alternatives import most_likely
from preflab.policy.on_policy_run import OnPolicyRun
from preflab.training.batches import TokenSequence, token_budget_batches
from preflab.training.record_columns import SCHEMA, Where, floats, rollout_schema
from preflab.training.rollouts import Rollouts
from preflab.training.step_files import StepFiles
from preflab.training.token_texts import restore_spaces, runs_of

FOLDER = "rollouts"
Alternatives = list[tuple[Tensor, Tensor]]
"""Per kept rollout (N, k) ids and log-probabilities of the most likely tokens at the N positions of the policy."""


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
            lengths = rollouts.completion_mask[rows].sum(1).tolist()
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
            **columns_of_alternatives(self.alternatives, rollouts, self.decode),
        }
        where: list[Where] = ["ppo"] if "values" in learned else []
        where += ["alternatives"] if self.alternatives else []
        where += ["environment"] if rollouts.columns[0] else []
        columns |= columns_of_environment(rollouts, num) if rollouts.columns[0] else {}
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
            _texts_of(sequence, text, turns, decode)
            for sequence, text, turns in zip(sequences, texts, rollouts.turns, strict=False)
        ],
        "written": [list(one.policy_tokens or [True] * len(one.completion_ids)) for one in sequences],
    }


def _texts_of(sequence: TokenSequence, text: str, turns: Sequence[Message], decode: Any) -> list[str]:
    """The text of each token of a completion; in a dialogue, spaces come from the turn that the token is part of."""
    tokens = [decode(token) for token in sequence.completion_ids]
    runs = runs_of(sequence.policy_tokens or [True] * len(tokens))
    if len(runs) != len(turns):
        return restore_spaces(tokens, text)
    return [
        token
        for (start, end), turn in zip(runs, turns, strict=True)
        for token in restore_spaces(tokens[start:end], turn.content)
    ]


def columns_of_environment(rollouts: Rollouts, num: int) -> dict[str, list[Any]]:
    """The columns of the first `num` rollouts that only an environment fills."""
    lengths = [len(sequence.completion_ids) for sequence in rollouts.sequences[:num]]
    return {
        "turns": [[turn.content for turn in turns] for turns in rollouts.turns[:num]],
        "turn_rewards": [floats(row[:n]) for row, n in zip(rollouts.turn_rewards, lengths, strict=False)],
        "last_turn": rollouts.last_turns[:num],
    }


def per_token(rollouts: Rollouts, num: int, learned: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """The columns of the first `num` rollouts with one number per token, without padding; NaN where the policy did not
    write the token."""
    tables = {
        "sampler_logps": rollouts.sampler_logps,
        "trainer_logps": rollouts.trainer_logps,
        "ref_logps": rollouts.ref_logps,
        "kl": rollouts.exact_kl,
        "entropy": rollouts.entropy,
        "ratio": rollouts.ratio,
        **learned,
    }
    lengths = [len(sequence.completion_ids) for sequence in rollouts.sequences[:num]]
    masks = rollouts.completion_mask[:num]
    return {
        name: [
            floats(row[:n].masked_fill(~mask[:n], torch.nan))
            for row, mask, n in zip(table[:num], masks, lengths, strict=True)
        ]
        for name, table in tables.items()
    }


def columns_of_alternatives(alternatives: Alternatives, rollouts: Rollouts, decode: Any) -> dict[str, list[Any]]:
    """The columns of the alternatives, empty where the policy did not write the token; none without alternatives."""
    if not alternatives:
        return {}
    ids = [_at_written(rollouts, row, of_rollout.tolist()) for row, (of_rollout, _) in enumerate(alternatives)]
    logps = [
        _at_written(rollouts, row, [floats(place) for place in of_rollout])
        for row, (_, of_rollout) in enumerate(alternatives)
    ]
    tokens = [[[decode(token) for token in place] for place in of_rollout] for of_rollout in ids]
    return {"top_ids": ids, "top_tokens": tokens, "top_logps": logps}


def _at_written(rollouts: Rollouts, row: int, of_policy: list[Any]) -> list[Any]:
    """One entry per token of a rollout, from the entries of the policy's tokens."""
    places = iter(of_policy)
    num_tokens = len(rollouts.sequences[row].completion_ids)
    return [next(places) if written else [] for written in rollouts.completion_mask[row, :num_tokens].tolist()]
