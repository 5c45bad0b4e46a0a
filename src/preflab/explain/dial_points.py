"""Measures models along the dial: rewards, judges, exact KL to the reference, variety, all on the same prompts.

Every setting samples with the same seed for the same prompt and index, so settings are compared prompt by prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab.conversations.fitting_prompts import fitting_prompts
from preflab.evaluation.exact_kl import sequence_kl
from preflab.evaluation.paired import Sheet, binary_as_shares, differences, figures
from preflab.evaluation.texts import Judge, fail_column
from preflab.evaluation.tilting import TiltedPoint, tilted_curve
from preflab.explain.dial import Dial
from preflab.models.facts import weights_hash
from preflab.models.language_model import LanguageModel
from preflab.models.rotary import RowLengths
from preflab.models.trunk import Trunk
from preflab.progress import progress
from preflab.records import Prompt
from preflab.sampling.engines import EngineSource, make_engine
from preflab.sampling.randomness import request_seed
from preflab.settings.recipe import EngineName
from preflab.settings.sampling import DecodingSettings
from preflab.settings.vllm import VllmSettings
from preflab.statistics.holm import holm
from preflab.statistics.interval import Interval
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampleRequest, ScoringItem
from preflab.words import number

Array = NDArray[np.float64]
SETTINGS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
REWARD = "reward/mean"
"""The measure of the reward that the run learned from: the weighted sum of its terms."""


@dataclass(frozen=True)
class Questions:
    """The prompts, and everything that measures a completion."""

    prompts: Sequence[Prompt]
    seed: int
    decoding: DecodingSettings
    num_completions: int = 1
    judges: Sequence[Judge] = ()
    rewards: Callable[[Sequence[ScoringItem]], Mapping[str, Array]] = field(default=lambda items: {})
    """Scores of completions by measure: `REWARD`, and `reward/<name>` for each further reward."""
    engine: EngineName = "transformers"
    server: VllmSettings = field(default_factory=VllmSettings)


@dataclass(frozen=True)
class Measured:
    """One model: its id, and its sheet of measurements."""

    weights: str
    sheet: Sheet


@dataclass(frozen=True)
class Written:
    """Completions of a model, those of one prompt adjacent."""

    prompts: list[Prompt]
    sequences: list[TokenSequence]
    items: list[ScoringItem]
    sum_logps: list[float]


def write(
    model: LanguageModel, asked: Questions, name: str, *, prompts: Sequence[Prompt] | None = None, num: int = 0
) -> Written:
    """Sample completions; `prompts` and `num` replace those of the questions.

    Raises:
        PreflabError: a prompt leaves no room for a completion.
    """
    chosen, num = asked.prompts if prompts is None else prompts, num or asked.num_completions
    renderer, decoding = model.renderer(asked.decoding.stop_token_ids), asked.decoding
    fitting = fitting_prompts(renderer, chosen, max_new_tokens=decoding.max_new_tokens, limits=model.limits())
    wanted = [(prompt, ids, index) for prompt, ids in fitting.prompts for index in range(num)]
    source = EngineSource(model.model, model.tokenizer, renderer.stop_token_ids, server=asked.server)
    engine = make_engine(source, asked.engine)
    requests = [SampleRequest(ids, request_seed(asked.seed, prompt.id, index)) for prompt, ids, index in wanted]
    with progress(name, len(requests)) as bar:
        sampled = engine.sample(requests, decoding, on_done=bar.advance)
    engine.release()
    pairs = list(zip(wanted, sampled, strict=True))
    return Written(
        [prompt for (prompt, _, _), _ in pairs],
        [TokenSequence(ids, one.token_ids) for (_, ids, _), one in pairs],
        [
            ScoringItem(prompt, renderer.text(prompt, one.token_ids), ids, one.token_ids, one.finish_reason)
            for (prompt, ids, _), one in pairs
        ],
        [sum(one.logps) for _, one in pairs],
    )


def judged(written: Written, asked: Questions) -> dict[str, list[float | None]]:
    """Judge → its score of each completion; None is an F."""
    texts = [item.text for item in written.items]
    return {judge.name: judge.scores(written.prompts, texts) for judge in asked.judges}


def measure(name: str, model: LanguageModel, trunk: Trunk | None, asked: Questions) -> Measured:
    """Sample a model and measure its completions.

    Args:
        name: its name on the progress bar and in the sheet.
        model: the model.
        trunk: the model as policy beside its reference; None for the reference itself, whose KL is 0.
        asked: prompts and measures.
    """
    written = write(model, asked, name)
    kl = np.zeros(len(written.items))
    if trunk is not None:
        with progress(f"{name}: exact KL", len(kl)) as bar:
            temperature = asked.decoding.temperature or 1.0
            kl = sequence_kl(trunk, written.sequences, temperature=temperature, on_done=bar.advance)
    scores = judged(written, asked)
    means = {f"judge/{judge.name}": judge.column(scores[judge.name]) for judge in asked.judges}
    means |= {**asked.rewards(written.items), "kl/exact": kl}
    shares = {f"fail/{judge}": fail_column(values) for judge, values in scores.items()}
    shares["finished/share"] = np.array([float(item.finish_reason == "stop") for item in written.items])
    sheet = Sheet(
        name,
        tuple(prompt.id for prompt in written.prompts),
        tuple(item.text for item in written.items),
        tuple(len(item.completion_ids) for item in written.items),
        tuple(written.sum_logps),
        means,
        shares,
    )
    return Measured(weights_hash(model.model), sheet)


def fix_rows(dial: Dial, asked: Questions) -> None:
    """Fix rotary frequencies that depend on the length, for the longest row of these questions."""
    rows = RowLengths([dial.reference.model, dial.model.model])
    if rows:
        renderer = dial.model.renderer()
        longest = max(len(renderer.prompt_ids(prompt)) for prompt in asked.prompts)
        rows.fix(longest + asked.decoding.max_new_tokens)


def measure_settings(dial: Dial, settings: Sequence[float], asked: Questions) -> dict[float, Measured]:
    """Setting → measurements, in ascending order. 0 and 1 are always among them."""
    fix_rows(dial, asked)
    measured: dict[float, Measured] = {}
    for setting in sorted({0.0, 1.0, *settings}):
        dial.turn(setting)
        measured[setting] = measure(f"dial {number(setting)}", dial.model, dial.trunk if setting else None, asked)
    return measured


def optimum(dial: Dial, asked: Questions, *, num_prompts: int, num_completions: int) -> dict[str, list[TiltedPoint]]:
    """Measure → the best mean at each KL that any model could have, for the reward and each judge.

    Estimated by exponential tilting of the reference's completions, see `evaluation.tilting`.
    """
    chosen = list(asked.prompts)[:num_prompts]
    written = write(dial.reference, asked, "optimum", prompts=chosen, num=num_completions)
    scores = judged(written, asked)
    columns = {f"judge/{judge.name}": judge.column(scores[judge.name]) for judge in asked.judges}
    rewards = asked.rewards(written.items)
    columns |= {REWARD: rewards[REWARD]} if REWARD in rewards else {}
    curves = {}
    for name, values in columns.items():
        known = ~np.isnan(values)
        ids = [prompt.id for prompt, k in zip(written.prompts, known, strict=True) if k]
        curves[name] = tilted_curve(values[known], ids) if ids else []
    return curves


def points(measured: Mapping[float, Measured], runs: Mapping[str, Measured], *, seed: int) -> dict[str, Any]:
    """The figures of every setting and of the runs beside it, with differences from setting 1, as JSON."""
    keys: dict[str, Measured] = {**{str(setting): one for setting, one in measured.items()}, **_named(runs)}
    sheets = binary_as_shares({key: one.sheet for key, one in keys.items()})
    compared = _compared(sheets, list(measured), seed)
    return {
        "points": [
            {
                "setting": setting,
                "weights": each.weights,
                "figures": _of_setting(setting, sheets[str(setting)], seed),
                "difference": compared[setting],
            }
            for setting, each in measured.items()
        ],
        "runs": [
            {"name": name, "weights": each.weights, "figures": _json(figures(sheets[f"run {name}"], seed=seed))}
            for name, each in runs.items()
        ],
    }


def _of_setting(setting: float, sheet: Sheet, seed: int) -> dict[str, Any]:
    measured = _json(figures(sheet, seed=seed))
    if setting == 0:  # no estimate: the KL of the reference to itself
        measured["kl/exact"] |= {"low": 0.0, "high": 0.0, "note": ""}
    return measured


def _compared(sheets: Mapping[str, Sheet], settings: Sequence[float], seed: int) -> dict[float, dict[str, Any]]:
    """Setting → measure → difference from setting 1, with `p_holm`, corrected over the settings; {} for 1 itself."""
    run = sheets["1.0"]
    others = {at: differences(run, sheets[str(at)], seed=seed) for at in settings if at != 1}
    compared: dict[float, dict[str, Any]] = {at: {} for at in settings}
    for name in next(iter(others.values())):
        adjusted = holm({at: each[name].p for at, each in others.items()})
        for at, each in others.items():
            corrected = None if math.isnan(adjusted[at]) else adjusted[at]
            compared[at][name] = {**each[name].to_json(), "p_holm": corrected}
    return compared


def optimum_json(curves: Mapping[str, Sequence[TiltedPoint]]) -> dict[str, list[dict[str, float | None]]]:
    """The curves of `optimum` as JSON; β of the reference itself is null."""
    return {
        name: [
            {"beta": one.beta if one.kl else None, "value": one.value, "kl": one.kl, "effective": one.effective}
            for one in curve
        ]
        for name, curve in curves.items()
    }


def _named(runs: Mapping[str, Measured]) -> dict[str, Measured]:
    return {f"run {name}": one for name, one in runs.items()}


def _json(measures: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: interval.to_json() for name, interval in measures.items()}
