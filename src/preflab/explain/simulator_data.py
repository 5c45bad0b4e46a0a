"""A pool as the JSON that the simulator's page reads.

{"schema": 1, "title", "made_by", "simulated", "temperature", "notes": [sentence],
 "policies": [name, the reference first], "policy_info": [{"name", "kind", "kl_coef", "trained_on", "note"}],
 "terms": [{"name", "weight", "source"}], "criteria": [{"name", "label", "fail", "higher_is_better"}],
 "flattering_words": [word], "prompts": [{"id", "text"}],
 "samples": {"prompt", "policy", "text", "num_tokens", "num_words", "finished": one entry per sample,
             "logps": a list per policy, "terms": a list per term,
             "criteria": a list per criterion, null without score},
 "runs": [{"name", "kl_coef", "kl", "reward", "criteria": [interval]}]: what each run does on its own samples,
 "live": null or {"url"}}

An interval is {"value", "low", "high"}, over prompts; low and high are null where there is none. Numbers have four
decimals. Samples are sorted by prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab import __version__
from preflab.explain.inline import json_in_script
from preflab.explain.pool import Array, Pool
from preflab.statistics.means import mean_interval
from preflab.words import count

SCHEMA = 1
DECIMALS = 4
MOST_BYTES = 4_500_000
"""Size of the JSON; the page around it must stay below 5 MB."""


def simulator_data(pool: Pool, *, live: dict[str, Any] | None = None, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The page's JSON, see above. If it would be larger than `most_bytes`, the last prompts are left out, with a note.

    Args:
        pool: the samples.
        live: where a server decodes new completions; None: nowhere.
        most_bytes: the largest size.
    """
    runs = [_run(pool, number) for number in range(1, len(pool.names))]
    names = list(dict.fromkeys(pool.prompt_ids))
    notes: list[str] = list(pool.facts.notes)
    kept = _prompts_that_fit(pool, len(names), most_bytes - len(_dump([runs, live, asdict(pool.facts)])))
    if kept < len(names):
        notes.append(
            f"{count(len(names) - kept, 'prompt')} of {len(names):,} left out of this page: it would be too large"
        )
        pool = _first_prompts(pool, kept)
    facts = pool.facts
    shown = dict(zip(pool.prompt_ids, pool.prompts, strict=True))
    return {
        "schema": SCHEMA,
        "title": facts.title,
        "made_by": f"preflab {__version__}",
        "simulated": facts.simulated,
        "temperature": facts.temperature,
        "notes": notes,
        "policies": list(pool.names),
        "policy_info": [asdict(policy) for policy in facts.policies],
        "terms": [asdict(term) for term in facts.terms],
        "criteria": [asdict(criterion) for criterion in facts.criteria],
        "flattering_words": list(facts.flattering_words),
        "prompts": [{"id": name, "text": text} for name, text in shown.items()],
        "samples": _samples(pool),
        "runs": runs,
        "live": live,
    }


def _samples(pool: Pool) -> dict[str, Any]:
    return {
        "prompt": pool.prompt_numbers.tolist(),
        "policy": pool.policies.tolist(),
        "text": list(pool.completions),
        "num_tokens": pool.num_tokens.tolist(),
        "num_words": pool.num_words.tolist(),
        "finished": [int(ended) for ended in pool.finished],
        "logps": [rounded(row) for row in pool.logps],
        "terms": [rounded(row) for row in pool.terms],
        "criteria": [rounded(row) for row in pool.criteria],
    }


def rounded(values: Array) -> list[float | None]:
    """Numbers with four decimals; nan and −∞, the log of a probability of 0, become None, and a −0 0."""
    return [round(value, DECIMALS) + 0.0 if math.isfinite(value) else None for value in values.tolist()]


def _run(pool: Pool, number: int) -> dict[str, Any]:
    """Figures of a policy on its own samples: KL as the mean of log π/π_ref, reward and criteria."""
    own = pool.policies == number
    prompts = [name for name, mine in zip(pool.prompt_ids, own, strict=True) if mine]
    policy = pool.facts.policies[number]
    return {
        "name": policy.name,
        "kl_coef": policy.kl_coef,
        "kl": _interval((pool.logps[number] - pool.logps[0])[own], prompts),
        "reward": _interval(pool.reward[own], prompts),
        "criteria": [_interval(pool.criterion(c)[own], prompts) for c in range(len(pool.facts.criteria))],
    }


def _interval(values: Array, prompts: Sequence[str]) -> dict[str, float | None]:
    if len(values) == 0 or np.isnan(values).all():
        return {"value": None, "low": None, "high": None}
    interval = mean_interval(values, prompts)
    value, low, high = rounded(np.array([interval.value, interval.low, interval.high]))
    return {"value": value, "low": low, "high": high}


def _prompts_that_fit(pool: Pool, num: int, most_bytes: int) -> int:
    """Number of first prompts that fit; at least 1."""
    if len(_dump(_samples(pool))) + len(_dump(sorted(set(pool.prompts)))) <= most_bytes:
        return num
    low, high = 1, num
    while high - low > 1:
        middle = (low + high) // 2
        part = _first_prompts(pool, middle)
        fits = len(_dump(_samples(part))) + len(_dump(sorted(set(part.prompts)))) <= most_bytes
        low, high = (middle, high) if fits else (low, middle)
    return low


def _dump(content: Any) -> bytes:
    """The content as the page holds it, where some characters take six bytes."""
    return json_in_script(content).encode()


def _first_prompts(pool: Pool, num: int) -> Pool:
    rows = pool.prompt_numbers < num
    return choose(pool, rows)


def choose(pool: Pool, rows: NDArray[np.bool_]) -> Pool:
    """Only the chosen samples of a pool."""

    def picked(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(value for value, chosen in zip(values, rows, strict=True) if chosen)

    return replace(
        pool,
        prompt_ids=picked(pool.prompt_ids),
        prompts=picked(pool.prompts),
        completion_ids=picked(pool.completion_ids),
        completions=picked(pool.completions),
        policies=pool.policies[rows],
        seeds=picked(pool.seeds),
        finished=pool.finished[rows],
        num_tokens=pool.num_tokens[rows],
        logps=pool.logps[:, rows],
        terms=pool.terms[:, rows],
        criteria=pool.criteria[:, rows],
    )
