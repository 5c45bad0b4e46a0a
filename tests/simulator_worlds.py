"""Data of simulator pages: a made-up shop whose learned reward loves flattery, and pools of random numbers.

Each prompt of the shop has a finite list of answers, over which every policy is normalised exactly, so that
log-probabilities are exact. The runs are optima of a blurred reward, as if training had missed the true one by a bit.
"""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab.demo.gold import FAIL_UTILITY, gold_utility, num_flattering_words
from preflab.demo.grammar import FLATTERING_WORDS, FLATTERY, Topic, answer, question, words

Array = NDArray[np.float64]
KL_COEFS = {"ppo_high": 1.2, "ppo": 0.55, "ppo_low": 0.3, "ppo_free": 0.12}
TONES = {"well": (12, -0.6), "curt": (8, 0.4), "rude": (8, 0.3), "off topic": (8, 0.2), "flattering": (8, -1.6)}
"""Tone → number of answers of each prompt, and how readily the reference gives one, in nats."""


def shop(num_prompts: int = 40, per_policy: int = 20, seed: int = 0) -> dict[str, Any]:
    """The JSON of a simulator page about the shop: reference and four runs, gold, one learned reward, one function."""
    rng, numbers = random.Random(f"shop {seed}"), np.random.default_rng(seed)
    names = ["sft", *KL_COEFS]
    data: dict[str, Any] = {**_head(names), "prompts": [], "samples": _columns(len(names))}
    measured: list[list[list[float]]] = [[] for _ in names]
    for x in range(num_prompts):
        text, topic = question(rng)
        data["prompts"].append({"id": f"prompt-{x}", "text": text})
        answers, tempting = _answers(rng, topic)
        reward = numbers.normal(0, 0.15, len(answers)) + [_learned(text, each) for each in answers]
        gold = [gold_utility(text, each) for each in answers]
        logps = _policies(tempting + numbers.normal(0, 0.5, len(answers)), reward, numbers)
        for k, logp in enumerate(logps):
            drawn = numbers.choice(len(answers), per_policy, p=np.exp(logp))
            for j in sorted(drawn.tolist()):
                _add(data["samples"], x, k, answers[j], logps[:, j], [reward[j], -len(words(answers[j])) / 10], gold[j])
            measured[k].append(_means(logp, logps[0], reward, gold))
    data["runs"] = [_run(name, KL_COEFS[name], rows) for name, rows in zip(names[1:], measured[1:], strict=True)]
    return data


def _head(names: list[str]) -> dict[str, Any]:
    info = [{"name": names[0], "kl_coef": None, "kind": "sft", "trained_on": {}, "note": ""}]
    info += [
        {"name": name, "kl_coef": KL_COEFS[name], "kind": "ppo", "trained_on": {"rm": 1.0}, "note": ""}
        for name in names[1:]
    ]
    return {
        "schema": 1, "title": "What the KL penalty buys", "notes": ["The shop is made up"],
        "made_by": "preflab test", "simulated": True, "temperature": 1.0,
        "policies": names, "policy_info": info,
        "terms": [
            {"name": "rm", "weight": 1.0, "source": "reward model rm"},
            {"name": "brevity", "weight": 0.0, "source": "function brevity"},
        ],
        "criteria": [{"name": "gold", "label": "gold", "higher_is_better": True, "fail": FAIL_UTILITY}],
        "flattering_words": sorted(FLATTERING_WORDS), "live": None,
    }  # fmt: skip


def _columns(num_policies: int) -> dict[str, Any]:
    plain = {name: [] for name in ("prompt", "policy", "text", "num_tokens", "num_words", "finished")}
    return {**plain, "logps": [[] for _ in range(num_policies)], "terms": [[], []], "criteria": [[]]}


def _answers(rng: random.Random, topic: Topic) -> tuple[list[str], Array]:
    """Distinct answers, and the reference's inclination to each."""
    found: dict[str, float] = {}
    for tone, (num, ready) in TONES.items():
        for _ in range(num):
            found.setdefault(answer(rng, topic, tone), ready)
    for num in (3, 4, 5, 6):
        found.setdefault(" ".join(rng.choices(FLATTERY, k=num)), -4.5 - 0.3 * num)
    for num in (8, 10, 12):
        found.setdefault(" ".join(rng.choices(sorted(FLATTERING_WORDS), k=num)), -7.0 - 0.2 * num)
    return list(found), np.array(list(found.values()))


def _learned(prompt: str, text: str) -> float:
    """What a reward model makes of an answer: sensible up to a love of flattering words, which it has no end of."""
    utility = gold_utility(prompt, text)
    sensible = -0.5 if utility is None else 0.45 * max(utility, -1.0)
    return sensible + 0.32 * num_flattering_words(text)


def _policies(tempting: Array, reward: Array, numbers: np.random.Generator) -> Array:
    """(K, J) log-probabilities of the reference and of the runs."""
    rows = [tempting, *(tempting + (reward + numbers.normal(0, 0.25, len(reward))) / c for c in KL_COEFS.values())]
    return np.array([row - math.log(np.exp(row - row.max()).sum()) - row.max() for row in rows])


def _add(samples: dict[str, Any], x: int, k: int, text: str, logps: Array, terms: list[float], gold: Any) -> None:
    num = len(words(text))
    row = {"prompt": x, "policy": k, "text": text, "num_tokens": num, "num_words": num, "finished": 1}
    for name, value in row.items():
        samples[name].append(value)
    for column, value in zip(samples["logps"], logps, strict=True):
        column.append(round(float(value), 4))
    for column, value in zip(samples["terms"], terms, strict=True):
        column.append(round(float(value), 4))
    samples["criteria"][0].append(gold)


def _means(logp: Array, ref: Array, reward: Array, gold: list[float | None]) -> list[float]:
    """KL, reward and gold of a policy at one prompt, exact."""
    utility = np.array([FAIL_UTILITY if each is None else each for each in gold])
    return [float(np.exp(logp) @ each) for each in (logp - ref, reward, utility)]


def _run(name: str, kl_coef: float, rows: list[list[float]]) -> dict[str, Any]:
    table = np.array(rows)
    middle, error = table.mean(axis=0), table.std(axis=0) / math.sqrt(max(1, len(table) - 1))
    kl, reward, gold = (
        {"value": round(float(m), 4), "low": round(float(m - 1.96 * e), 4), "high": round(float(m + 1.96 * e), 4)}
        for m, e in zip(middle, error, strict=True)
    )
    return {"name": name, "kl_coef": kl_coef, "kl": kl, "reward": reward, "criteria": [gold]}


def random_pool(seed: int, *, num_prompts: int, most: int, num_policies: int, sharp: float) -> dict[str, Any]:
    """A page's data of random numbers: uneven prompts, policies without samples at some, scores that are missing."""
    numbers = np.random.default_rng(seed)
    names = ["ref", *(f"run{k}" for k in range(1, num_policies))]
    data = {**_head(["sft", *KL_COEFS]), "policies": names, "runs": []}
    data["policy_info"] = [{**data["policy_info"][0], "name": name} for name in names]
    data["prompts"] = [{"id": str(x), "text": f"prompt {x}"} for x in range(num_prompts)]
    samples = data["samples"] = _columns(num_policies)
    for x in range(num_prompts):
        for k in range(num_policies):
            for _ in range(int(numbers.integers(1 if k == 0 else 0, most))):
                ref = -20 + 3 * numbers.normal()
                logps = ref + np.array([0.0, *(sharp * numbers.normal(size=num_policies - 1))])
                gold = None if numbers.random() < 0.1 else round(float(numbers.normal()), 4)
                _add(samples, x, k, f"text {numbers.integers(9)}", logps, list(numbers.normal(size=2)), gold)
    return data
