"""The pool: fresh samples of several policies, each with its log-probability under all of them and with every score.

`pool.parquet` has one row per sample, sorted by prompt, then by policy:

    prompt_id, prompt, completion_id, completion    strings; the prompt as it is shown
    policy, seed                                    who wrote it (a name), and with which seed (a string)
    finished                                        whether it ended with a stop token
    num_tokens, num_words                           integers
    logps/<policy>                                  Σ log π(token) under each pooled policy, nats, at the temperature
    reward/<term>                                   each term of the reward, without its weight
    judge/<name>                                    each criterion; null where it gave no score (F)

Everything else is JSON under the key `preflab` of the file's metadata, see `PoolFacts`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab.errors import PreflabError
from preflab.explain.weights import Draws

Array = NDArray[np.float64]
SCHEMA = 1
METADATA = b"preflab"


@dataclass(frozen=True)
class PolicyFacts:
    """A pooled policy: how it was trained."""

    name: str
    kind: str = ""
    """Kind of its stage; "" for a model that no stage made."""
    kl_coef: float | None = None
    """The β it was trained with, reward units per nat; None if it has none in these units."""
    trained_on: Mapping[str, float] = field(default_factory=dict)
    """Term of the reward → its weight."""
    note: str = ""


@dataclass(frozen=True)
class TermFacts:
    """A term of the learned reward."""

    name: str
    weight: float
    source: str
    """The source in words: `reward model rm`."""


@dataclass(frozen=True)
class CriterionFacts:
    """A criterion that the policies did not learn from."""

    name: str
    label: str
    fail: float | None = None
    """The score that an F counts as; None: an F is left out of means."""
    higher_is_better: bool = True


@dataclass(frozen=True)
class PoolFacts:
    """Facts about a pool that its rows do not hold."""

    title: str
    temperature: float
    policies: tuple[PolicyFacts, ...]
    """The reference first."""
    terms: tuple[TermFacts, ...]
    criteria: tuple[CriterionFacts, ...] = ()
    flattering_words: tuple[str, ...] = ()
    simulated: bool = False
    """True if labelers or criteria are simulated."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pool:
    """N samples of K policies, sorted by prompt."""

    facts: PoolFacts
    prompt_ids: tuple[str, ...]
    prompts: tuple[str, ...]
    completion_ids: tuple[str, ...]
    completions: tuple[str, ...]
    policies: NDArray[np.int64]
    """(N,) number of the policy that wrote each sample."""
    seeds: tuple[int, ...]
    finished: NDArray[np.bool_]
    num_tokens: NDArray[np.int64]
    logps: Array
    """(K, N)."""
    terms: Array
    """(terms, N), unweighted."""
    criteria: Array
    """(criteria, N); nan where there is no score."""

    def __len__(self) -> int:
        return len(self.completions)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the policies."""
        return tuple(policy.name for policy in self.facts.policies)

    @property
    def prompt_numbers(self) -> NDArray[np.int64]:
        """(N,) number of each sample's prompt, in order of appearance."""
        numbers = {name: number for number, name in enumerate(dict.fromkeys(self.prompt_ids))}
        return np.array([numbers[name] for name in self.prompt_ids], dtype=np.int64)

    @property
    def num_words(self) -> NDArray[np.int64]:
        """(N,) words, separated by white space."""
        return np.array([len(text.split()) for text in self.completions], dtype=np.int64)

    @property
    def draws(self) -> Draws:
        """The numbers that importance weights are made of."""
        return Draws(self.prompt_numbers, self.policies, self.logps, self.names)

    @property
    def reward(self) -> Array:
        """(N,) the learned reward: the terms with their weights."""
        weights = np.array([term.weight for term in self.facts.terms])
        total: Array = weights @ self.terms
        return total

    def criterion(self, number: int) -> Array:
        """(N,) a criterion's values as they are averaged: an F counts as the criterion says, or is nan."""
        fail = self.facts.criteria[number].fail
        values = self.criteria[number]
        return values if fail is None else np.where(np.isnan(values), fail, values)


def write_pool(path: Path, pool: Pool) -> None:
    """Writes `pool.parquet`, atomically.

    Raises:
        PreflabError: the disk is full.
    """
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    from preflab.files import write_files

    names = pool.names
    columns: dict[str, pa.Array] = {
        "prompt_id": pa.array(pool.prompt_ids, pa.string()),
        "prompt": pa.array(pool.prompts, pa.string()),
        "completion_id": pa.array(pool.completion_ids, pa.string()),
        "completion": pa.array(pool.completions, pa.string()),
        "policy": pa.array([names[number] for number in pool.policies], pa.string()),
        "seed": pa.array([str(seed) for seed in pool.seeds], pa.string()),
        "finished": pa.array(pool.finished.tolist(), pa.bool_()),
        "num_tokens": pa.array(pool.num_tokens.tolist(), pa.int32()),
        "num_words": pa.array(pool.num_words.tolist(), pa.int32()),
    }
    columns |= {f"logps/{name}": pa.array(pool.logps[k], pa.float64()) for k, name in enumerate(names)}
    for t, term in enumerate(pool.facts.terms):
        columns[f"reward/{term.name}"] = pa.array(pool.terms[t].astype(np.float32), pa.float32())
    for c, criterion in enumerate(pool.facts.criteria):
        values = pool.criteria[c].astype(np.float32)
        columns[f"judge/{criterion.name}"] = pa.array(values, pa.float32(), from_pandas=True)
    facts = json.dumps({"schema": SCHEMA, **asdict(pool.facts)}, ensure_ascii=False)
    table = pa.table(columns).replace_schema_metadata({METADATA: facts.encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_files({path: buffer.getvalue()})


def read_pool(path: Path) -> Pool:
    """Reads `pool.parquet`.

    Raises:
        PreflabError: there is no such file, or it is not a pool, or one of another schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    again = "name a pool.parquet of a `simulate` stage, or run the stage again"
    if not path.is_file():
        raise PreflabError(f"{path}: no such file", "a pool.parquet", again)
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {}).get(METADATA, b"{}"))
    except (pa.ArrowInvalid, ValueError, OSError) as error:
        raise PreflabError(f"{path}: {error}", "a pool.parquet", again) from error
    if facts.get("schema") != SCHEMA:
        raise PreflabError(f"{path}: schema {facts.get('schema')!r}", f"a pool of schema {SCHEMA}", again)
    read = _facts(facts)
    names = [policy.name for policy in read.policies]
    wanted = [f"logps/{name}" for name in names] + [f"reward/{term.name}" for term in read.terms]
    wanted += [f"judge/{criterion.name}" for criterion in read.criteria]
    if missing := [name for name in (*COLUMNS, *wanted) if name not in table.column_names]:
        raise PreflabError(f"{path}: no column {missing[0]!r}", f"the columns {', '.join(wanted)}", again)

    def numbers(columns: Sequence[str]) -> Array:
        arrays = [table[column].to_numpy(zero_copy_only=False).astype(np.float64) for column in columns]
        return np.stack(arrays) if arrays else np.zeros((0, table.num_rows))

    texts = {column: tuple(table[column].to_pylist()) for column in COLUMNS}
    return Pool(
        facts=read,
        prompt_ids=texts["prompt_id"],
        prompts=texts["prompt"],
        completion_ids=texts["completion_id"],
        completions=texts["completion"],
        policies=np.array([names.index(name) for name in texts["policy"]], dtype=np.int64),
        seeds=tuple(int(seed) for seed in texts["seed"]),
        finished=np.array(texts["finished"], dtype=np.bool_),
        num_tokens=np.array(texts["num_tokens"], dtype=np.int64),
        logps=numbers(wanted[: len(names)]),
        terms=numbers(wanted[len(names) : len(names) + len(read.terms)]),
        criteria=numbers(wanted[len(names) + len(read.terms) :]),
    )


COLUMNS = ("prompt_id", "prompt", "completion_id", "completion", "policy", "seed", "finished", "num_tokens")


def _facts(content: Mapping[str, Any]) -> PoolFacts:
    return PoolFacts(
        title=content["title"],
        temperature=content["temperature"],
        policies=tuple(PolicyFacts(**one) for one in content["policies"]),
        terms=tuple(TermFacts(**one) for one in content["terms"]),
        criteria=tuple(CriterionFacts(**one) for one in content["criteria"]),
        flattering_words=tuple(content["flattering_words"]),
        simulated=content["simulated"],
        notes=tuple(content["notes"]),
    )
