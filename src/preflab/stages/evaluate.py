"""Stage `evaluate`: several models answer the same held-out prompts and are compared prompt by prompt (R20).

All models sample with the same seed for the same prompt and index. Files in the run folder:

samples.jsonl    one line per prompt: {"prompt_id", "prompt", "completions": {model: [{"id", "text", "finish_reason",
                 "scores": {"judge/<name>" | "reward/<name>" | …: number or null (F)}, "label", "kl"}]}}
evaluation.json  {"schema": 1, "baseline", "reference", "decoding", "notes": [sentence],
                 "prompts": {"name", "num", "num_completions"},
                 "judges": {name: {"function", "fail_utility"}},
                 "classifiers": {name: {"model", "class_label", "threshold", "better"}},
                 "human": null or the name of the contestant whose completions are the reference texts,
                 "models": [{"name", "weights", "num_completions", "counts": {class: number of completions},
                             "figures": {measure: interval}}],
                 "primary": null or the measure that decides,
                 "comparisons": [{"model", "baseline", "differences": {measure: interval with "family" and "p_holm"},
                                  "sentences": {measure: text}}],
                 "seeds": [{"model", "baseline", "seeds": [name of a model], "differences": {measure: interval over
                            seeds with "family" and "p_holm", "num_higher" and "num_lower" (on how many seeds the
                            interval over prompts excludes 0), "over_prompts" (interval of the mean of the seeds) and
                            "doubt" (why it is not found over prompts)}}], only with several training seeds,
                 "frontier": [{"model", "distance": interval, "worth": {measure: interval}}],
                 "tilted": null or {"judge", "reference", "num_prompts", "num_completions",
                            "curve": [{"beta", "value", "kl", "effective"}], "best_of": [{"n", "kl", "value"}],
                            "models": [{"model", "value", "kl", "nats_needed"}]}}

An interval is {"value", "low", "high", "num", "note", "p"}; where low and high are null, `note` says why. `p` is the
p-value of a difference, `p_holm` the same corrected within its family (`evaluation.corrected_verdicts`).
Measures: judge/<name>, fail/<name> (share of F), label/<class> (share), reward/<stage>, kl/exact (nats per completion),
length/tokens, length/words, repeat/share, distinct/1, distinct/2, entropy/token, finished/share; of a classifier
probability/<name> (mean), spread/<name> (standard deviation), above/<name> (share above the threshold); with reference
texts rouge/1, rouge/2, rouge/l (F1), each also with /precision and /recall.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from preflab.files import write_json, write_text
from preflab.maths.chance import describe_chance
from preflab.recipe import Recipe
from preflab.report.measures import measure_name, quantity
from preflab.report.names import short_names
from preflab.report.seeds import found_on_text, over_seeds_text, verdict_entries
from preflab.settings.evaluation import EvaluateSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.primary_measure import PrimaryMeasure, primary_measure
from preflab.words import count, difference_sentence

if TYPE_CHECKING:
    from preflab.evaluation.over_seeds import Verdicts
    from preflab.evaluation.paired import Sheet
    from preflab.records import Evaluation, Prompt
    from preflab.stages.common.evaluated import Written
    from preflab.stages.common.evaluated_inputs import Asked
    from preflab.statistics.interval import Interval

VERSION = 4
KEPT = ("judge/", "reward/", "probability/", "kl/exact")
"""Differences of measures with these prefixes become figures of the stage."""


def check(recipe: Recipe, settings: EvaluateSettings) -> None:
    """Refuses an unknown primary measure, classifiers that count a reward as harm, and missing reference texts."""
    from preflab.stages.common.reference_texts import check_reference_texts
    from preflab.stages.common.reward_sides import check_sides

    primary_measure(settings)
    check_sides(recipe, settings)
    if settings.reference_texts:
        check_reference_texts(recipe, settings)


def run(ctx: StageContext) -> StageResult:
    """Sample, judge and compare; records and files are written only at the end."""
    from preflab.evaluation.mean_of_seeds import mean_differences
    from preflab.evaluation.over_seeds import seed_verdicts
    from preflab.evaluation.paired import binary_as_shares, differences, figures
    from preflab.stages.common.evaluated import write_all
    from preflab.stages.common.evaluated_inputs import ask
    from preflab.stages.common.reference_texts import HUMAN

    primary = primary_measure(ctx.settings)
    asked = ask(ctx)
    prompts, baseline = asked.prompts, asked.settings.models[0]
    written, notes = write_all(asked)
    notes += asked.left_out + asked.seed_notes + asked.dialogue_notes + ([primary.note] if primary.note else [])
    sheets = {name: one.sheet() for name, one in written.items()}
    shares = binary_as_shares(sheets)
    measured = {name: figures(sheet, seed=asked.stage.seed) for name, sheet in shares.items()}
    others = [name for name in sheets if name != baseline]
    compared = {name: differences(shares[baseline], shares[name], seed=asked.stage.seed) for name in others}
    means = {
        stage: mean_differences(shares[baseline], [shares[name] for name in names], seed=asked.stage.seed)
        for stage, names in asked.seeds.items()
    }
    verdicts = seed_verdicts(compared, asked.seeds, means, primary.measure, baseline=baseline, apart=(HUMAN,))
    report = _evaluation(asked, written, measured, compared, verdicts, primary, notes)
    report["tilted"] = _tilted(asked, sheets) if asked.settings.tilted_optimum else None
    ctx.workspace.put(_records(asked, written, measured, compared))
    rows = [_sample_row(prompt, index, written) for index, prompt in enumerate(prompts)]
    write_text(ctx.folder / "samples.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_json(ctx.folder / "evaluation.json", report)
    return _result(report, asked.accuracies)


def _evaluation(
    asked: Asked,
    written: dict[str, Written],
    figures: dict[str, dict[str, Interval]],
    compared: dict[str, dict[str, Interval]],
    verdicts: Verdicts,
    primary: PrimaryMeasure,
    notes: list[str],
) -> dict[str, Any]:
    """The content of evaluation.json, without `tilted`."""
    from preflab.evaluation.frontier import frontier
    from preflab.evaluation.texts import counts
    from preflab.stages.common.reference_texts import HUMAN
    from preflab.statistics.interval import sentence

    settings = asked.settings
    worth = [f"judge/{name}" for name in settings.judges] + [f"reward/{name}" for name in settings.rewards]
    worth += [f"probability/{name}" for name in settings.classifiers]
    return {
        "schema": 1,
        "baseline": settings.models[0],
        "reference": asked.reference,
        "decoding": settings.decoding.model_dump(mode="json"),
        "notes": notes,
        "prompts": {"name": settings.prompts, "num": len(asked.prompts), "num_completions": settings.num_completions},
        "judges": {
            judge.name: {"function": settings.judges[judge.name], "fail_utility": judge.fail_utility}
            for judge in asked.judges
        },
        "classifiers": {
            name: {
                "model": one.model,
                "class_label": one.class_label,
                "threshold": one.threshold,
                "better": one.better,
            }
            for name, one in settings.classifiers.items()
        },
        "human": HUMAN if asked.reference_texts else None,
        "models": [
            {
                "name": name,
                "weights": written[name].weights,
                "num_completions": len(written[name].completions),
                "counts": counts(written[name].labels),
                "figures": _json(measures),
            }
            for name, measures in figures.items()
        ],
        "primary": primary.measure,
        "comparisons": [
            {
                "model": name,
                "baseline": settings.models[0],
                "differences": differences,
                "sentences": {measure: sentence(interval, measure) for measure, interval in compared[name].items()},
            }
            for name, differences in verdicts.models.items()
        ],
        **({"seeds": verdicts.over_seeds} if verdicts.over_seeds else {}),
        "frontier": [
            {"model": point.model, "distance": point.distance.to_json(), "worth": _json(dict(point.worth))}
            for point in frontier(figures, worth)
        ],
    }


def _json(measures: dict[str, Interval]) -> dict[str, Any]:
    return {name: interval.to_json() for name, interval in measures.items()}


def _sample_row(prompt: Prompt, index: int, written: dict[str, Written]) -> dict[str, Any]:
    return {
        "prompt_id": prompt.id,
        "prompt": prompt.shown,
        "completions": {name: one.rows_of_prompt(index) for name, one in written.items()},
    }


def _tilted(asked: Asked, sheets: dict[str, Sheet]) -> dict[str, Any]:
    """The best value of the judge that is possible at each KL, and each model's value and KL on the same prompts."""
    import numpy as np

    from preflab.evaluation.tilting import best_of_n_value, nats_needed, tilted_curve
    from preflab.maths.best_of_n import best_of_n_kl_bound
    from preflab.stages.common.evaluated import reference_rewards

    settings = asked.settings
    chosen = asked.prompts[: settings.num_tilted_prompts]
    rewards, prompt_ids = reference_rewards(asked, chosen)
    curve = tilted_curve(rewards, prompt_ids)
    name, ids = f"judge/{settings.tilted_optimum}", {prompt.id for prompt in chosen}
    models = []
    for model, sheet in sheets.items():
        rows = np.array([prompt_id in ids for prompt_id in sheet.prompt_ids])
        value = float(np.nanmean(sheet.means[name][rows]))
        kl = float(sheet.means["kl/exact"][rows].mean()) if "kl/exact" in sheet.means else None
        models.append({"model": model, "value": value, "kl": kl, "nats_needed": nats_needed(curve, value)})
    num = min(prompt_ids.count(prompt_id) for prompt_id in ids)
    return {
        "judge": settings.tilted_optimum,
        "reference": asked.reference,
        "num_prompts": len(chosen),
        "num_completions": settings.num_tilted_completions,
        "curve": [
            {
                "beta": point.beta if point.kl else None,
                "value": point.value,
                "kl": point.kl,
                "effective": point.effective,
            }
            for point in curve
        ],
        "best_of": [
            {"n": n, "kl": best_of_n_kl_bound(n), "value": best_of_n_value(rewards, n, prompt_ids)}
            for n in (2, 4, 8, 16)
            if n <= num // 2
        ],
        "models": models,
    }


def _records(
    asked: Asked,
    written: dict[str, Written],
    figures: dict[str, dict[str, Interval]],
    compared: dict[str, dict[str, Interval]],
) -> list[Any]:
    """The records for the workspace: prompts, completions and every figure with a defined interval."""
    completions = {one.weights: [record.id for record in one.completions] for one in written.values()}
    records: list[Any] = [*asked.prompts, *(record for one in written.values() for record in one.completions)]
    baseline = written[asked.settings.models[0]].weights
    for name, measures in figures.items():
        weights = written[name].weights
        records += [_record(m, weights, i, "", completions[weights]) for m, i in measures.items() if i.defined]
    for name, measures in compared.items():
        weights = written[name].weights
        both = [*completions[weights], *completions[baseline]]
        records += [_record(m, weights, i, baseline, both) for m, i in measures.items() if i.defined]
    return records


def _record(measure: str, model: str, interval: Interval, baseline: str, completions: list[str]) -> Evaluation:
    from preflab.records import Evaluation, content_id

    content = [measure, model, baseline, interval.value, interval.low, interval.high, sorted(completions)]
    return Evaluation(
        content_id("evaluation", content), measure, model, interval.value, interval.low, interval.high, interval.num,
        unit="nats" if measure.startswith(("kl/", "entropy/")) else "", baseline=baseline,
        completion_ids=tuple(dict.fromkeys(completions)),
    )  # fmt: skip


def _result(report: dict[str, Any], accuracies: Mapping[str, Mapping[str, Any]]) -> StageResult:
    """The summary: each model's difference by the primary measure, worded as on the report's first screen."""
    sentences: list[str] = []
    figures: dict[str, float | str] = {}
    short = short_names([model["name"] for model in report["models"]])
    baseline, primary = short.get(report["baseline"], report["baseline"]), report["primary"]
    for entry in verdict_entries(report):
        model, measures = entry["model"], entry["differences"]
        if primary in measures:
            form, name = quantity(primary).difference, measure_name(primary)
            who, over = short.get(model, model), over_seeds_text(entry)
            sentence = difference_sentence(measures[primary], who, baseline, name, form, over)
            sentences.append(sentence + found_on_text(entry, primary))
        figures |= {f"{model} {name}": measures[name]["value"] for name in measures if name.startswith(KEPT)}
    if not sentences:
        num = f"{count(len(report['models']), 'model')} on {count(report['prompts']['num'], 'prompt')}"
        return StageResult(num, figures)
    return StageResult("; ".join([*sentences, *_doubts(primary, accuracies)]), figures)


def _doubts(primary: str, accuracies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A warning if the primary measure is a reward model whose held-out accuracy is not better than chance."""
    name = primary.removeprefix("reward/")
    held_out = accuracies.get(name, {}) if primary.startswith("reward/") else {}
    if "accuracy" not in held_out:
        return []
    doubt = describe_chance(held_out["accuracy"], count(held_out["num_pairs"], "held-out pair"))
    return [f"{name} is {doubt}"] if doubt else []
