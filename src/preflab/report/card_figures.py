"""The measurements on a model card: evaluations with intervals, probes, the accuracy of a reward model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from preflab.report.escaped_markdown import cells, plain
from preflab.report.lineage import Lineage
from preflab.report.measures import figure_texts, measure_name, primary_of, quantity
from preflab.report.names import short_names, shorten_names
from preflab.report.probes import MEASURES
from preflab.report.run_folders import Run
from preflab.report.seeds import found_on_text
from preflab.words import Form, count, difference_text, interval_text, number, percent, three_digits

NOTHING = "Nothing was measured after training: no stage evaluated or probed this model."
SPLITS = {"held_out": "held-out pairs", "test": "other pairs"}


def measured_lines(lineage: Lineage) -> list[str]:
    """The measurements as paragraphs and tables; a single sentence if there are none."""
    lines = list(_reward_model(lineage.run))
    for run in lineage.after:
        lines += _evaluation(lineage.run, run) if run.kind == "evaluate" else _probe(lineage.run, run)
    return lines or [NOTHING]


def training_rewards(run: Run) -> set[str]:
    """Names of the measures that this model was trained to raise: `reward/rm`, or the function of a judge."""
    names = set()
    for reward in run.settings.get("rewards") or []:
        models = [reward.get("model"), reward.get("implicit"), *(reward.get("ensemble") or [])]
        names |= {f"reward/{name}" for name in models if name}
        names |= {str(reward["function"])} if reward.get("function") else set()
    return names


def independent_judges(run: Run, evaluation: Mapping[str, Any]) -> list[str]:
    """Names of the evaluation's judges that this model was not trained on."""
    trained = training_rewards(run)
    return [name for name, judge in (evaluation.get("judges") or {}).items() if judge.get("function") not in trained]


def _evaluation(run: Run, measuring: Run) -> Iterator[str]:
    evaluation = measuring.evaluation
    figures = {model["name"]: model["figures"] for model in evaluation.get("models", [])}
    if run.name not in figures:
        return
    prompts = evaluation.get("prompts", {})
    reference = plain(str(evaluation.get("reference")))
    yield (
        f"`{measuring.name}`: {count(prompts.get('num', 0), 'prompt')} ({prompts.get('name')}), "
        f"{count(prompts.get('num_completions', 1), 'completion')} each, equal seeds for every model; means with "
        f"95\u00a0% intervals over prompts, differences paired over prompts. KL is measured to {reference}."
    )
    baseline = str(evaluation.get("baseline"))
    compared: dict[str, Any] = next(
        (each["differences"] for each in evaluation.get("comparisons", []) if each["model"] == run.name), {}
    )
    others = [baseline] if baseline != run.name and baseline in figures else []
    yield _figures(run, evaluation, [*others, run.name], figures, compared)
    yield from _over_seeds(run, evaluation)
    for note in evaluation.get("notes", []):
        yield f"{plain(note)}."


def _over_seeds(run: Run, evaluation: Mapping[str, Any]) -> Iterator[str]:
    """A sentence with the primary difference over the training seeds of this model's stage."""
    for entry in evaluation.get("seeds", []):
        primary = primary_of(evaluation, entry["differences"])
        if run.name in entry["seeds"] and primary:
            figure, form = entry["differences"][primary], quantity(primary).difference
            yield (
                f"`{entry['model']}` over {len(entry['seeds'])} training seeds: {measure_name(primary)} "
                f"{interval_text(figure, form)} against `{entry['baseline']}`, 95\u00a0% interval over seeds: "
                f"{difference_text(figure, form)}{found_on_text(entry, primary)}."
            )


def _figures(
    run: Run,
    evaluation: Mapping[str, Any],
    models: Sequence[str],
    figures: Mapping[str, Mapping[str, Any]],
    compared: Mapping[str, Any],
) -> str:
    rows = []
    for measure, texts in figure_texts(evaluation).items():
        if not any(measure in figures[model] for model in models):
            continue
        row = [_measure_label(run, evaluation, measure), *(texts[model] for model in models)]
        if compared:
            row += _difference(compared.get(measure), quantity(measure).difference)
        rows.append(row)
    head = ["measure", *(f"`{model}`" for model in models)]
    return cells([*head, *(["difference (95\u00a0% interval)", "in words"] if compared else [])], rows)


def _difference(difference: Mapping[str, Any] | None, form: Form) -> list[str]:
    return [interval_text(difference, form), difference_text(difference, form)] if difference else ["–", ""]


def _measure_label(run: Run, evaluation: Mapping[str, Any], measure: str) -> str:
    """The measure's name, marked if it is the primary one and if the model was trained to raise it."""
    judge = (evaluation.get("judges") or {}).get(measure.removeprefix("judge/"), {})
    classifier = (evaluation.get("classifiers") or {}).get(measure.partition("/")[2], {})
    trained = {measure, judge.get("function"), f"reward/{classifier.get('model')}"} & training_rewards(run)
    primary = ", primary" if measure == evaluation.get("primary") else ""
    return measure_name(measure) + primary + (", its training reward" if trained else "")


def _probe(run: Run, probing: Run) -> Iterator[str]:
    raw = probing.json("probe.json")
    parts = [raw[name] for name in ("sycophancy", "refusal", "misinformation") if raw.get(name)]
    short = short_names([model["name"] for part in parts[:1] for model in part["models"]])
    for part in shorten_names(parts, short):
        models = [
            model for model in part["models"] if model["name"] in (run.name, shorten_names(raw["baseline"], short))
        ]
        if run.name not in [model["name"] for model in models]:
            continue
        measures = [name for name in MEASURES if name in models[0]["figures"]]
        rows = [
            [
                MEASURES[name],
                *(interval_text(m["figures"][name], number if name == "shift" else percent) for m in models),
            ]
            for name in measures
        ]
        yield f"`{probing.name}`, data {plain(str(part['data']))}, 95\u00a0% intervals:"
        yield cells(["probe", *(f"`{model['name']}`" for model in models)], rows)


def _reward_model(run: Run) -> Iterator[str]:
    """A reward model's accuracy, compared with always choosing the longer completion."""
    report = run.json("reward_report.json")
    for split, what in SPLITS.items():
        part = report.get(split) or {}
        if not (part.get("accuracy") or {}).get("num"):
            continue
        yield (
            f"Accuracy on {count(part['num_pairs'], 'pair')} of {count(part['num_prompts'], 'prompt')} "
            f"({what}), ties of scores count half, 95\u00a0% intervals over prompts:"
        )
        rows = [
            [f"`{run.name}`", interval_text(part["accuracy"], percent)],
            ["the longer one wins", interval_text(part["longer_wins"], percent)],
        ]
        yield cells(["", "right"], rows)
    yield from _ratings(report)


def _ratings(report: Mapping[str, Any]) -> Iterator[str]:
    held_out = (report.get("ratings") or {}).get("held_out")
    if held_out:
        rows = [
            [plain(name), str(one["num"]), three_digits(one["rmse"]), three_digits(one["rmse_of_mean"]),
             interval_text(one.get("explained_interval"), percent)]
            for name, one in held_out.items()
        ]  # fmt: skip
        yield "Error on held-out ratings, in their own units:"
        yield cells(["criterion", "n", "root mean squared error", "always the mean", "explained"], rows)
