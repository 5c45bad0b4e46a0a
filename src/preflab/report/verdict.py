"""The first screen of the report: did it work, how sure are we, what did it cost."""

from __future__ import annotations

from typing import Any

from preflab.maths.chance import describe_chance
from preflab.report.alarms import WATCHED
from preflab.report.blocks import Answer
from preflab.report.measures import (
    OF_CLASSIFIERS,
    figure_texts,
    has_side,
    is_better,
    measure_name,
    primary_of,
    quantity,
)
from preflab.report.run_folders import POLICIES, Page, Run
from preflab.report.seeds import found_on_text, over_seeds_text, seed_sentence, seeds_span, verdict_entries
from preflab.seeds import split_seed
from preflab.words import (
    Form,
    count,
    difference_sentence,
    difference_text,
    duration,
    interval_text,
    is_found,
    listed,
    number,
    percent,
)

SEEDS = "One training seed: the intervals cover other prompts, not other training seeds."

CHANGES = ("label/", "fail/", "probability/", "above/")
"""How the names of measures begin whose change, if found, the first screen shows as before → after."""


def first_screen(page: Page) -> list[Answer]:
    """The three answers, in display order."""
    return [_worked(page), _sure(page), _cost(page)]


def evaluations(page: Page) -> list[tuple[Run, dict[str, Any]]]:
    """The evaluations that compare models, each with its run; texts of people are no model and are left out."""
    evaluated = [(run, _without_human(run.evaluation)) for run in page.of_kind("evaluate")]
    return [(run, entry) for run, entry in evaluated if entry.get("comparisons")]


def _without_human(evaluation: dict[str, Any]) -> dict[str, Any]:
    human = evaluation.get("human")
    compared = [entry for entry in evaluation.get("comparisons", []) if entry["model"] != human]
    return {**evaluation, "comparisons": compared} if human else evaluation


def _lead(page: Page) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The first evaluation, and its comparisons: of a stage with several training seeds the one over seeds."""
    evaluation = evaluations(page)[0][1]
    return evaluation, verdict_entries(evaluation)


def _worked(page: Page) -> Answer:
    question = "Did it work?"
    if not evaluations(page):
        return _not_compared(page, question)
    evaluation, (first, *others) = _lead(page)
    name = primary_of(evaluation, first["differences"])
    if name is None:
        return Answer(question, f"Unknown: {_why_unknown(evaluation)}.")
    difference = first["differences"][name]
    details = [line for entry in (first, *others) for line in _details(entry, evaluation, with_lead=entry is not first)]
    better = is_better(evaluation, name, difference["value"])
    if _trained_on(page, first["model"], evaluation, name) and is_found(difference) and better:
        sentence = _headline(first, name, difference, better).removeprefix("Yes: ").rstrip(".")
        lacking = "only a judge it was not trained on can tell whether it is better"
        return Answer(question, f"Not known: {sentence}. That is the reward it was trained on; {lacking}.", details)
    if doubt := _doubt(page, name):
        sentence = _headline(first, name, difference, better).removeprefix("Yes: ").removeprefix("No: ").rstrip(".")
        return Answer(question, f"Not known: {sentence}. But {doubt}.", details)
    if is_found(difference) and not has_side(name):
        sentence = _headline(first, name, difference, better).removeprefix("Yes: ").removeprefix("No: ").rstrip(".")
        return Answer(question, f"Not known: {sentence}. Whether that is better, this measure cannot tell.", details)
    return Answer(question, _headline(first, name, difference, better), details, _role(difference, better))


def _trained_on(page: Page, model: str, evaluation: dict[str, Any], name: str) -> bool:
    """Whether this model was trained to raise the evaluation's judge or reward of this name."""
    run = next((run for run in page.everything if model in (run.name, split_seed(run.name)[0])), None)
    rewards = run.settings.get("rewards") or [] if run else []
    kind, _, short = name.partition("/")
    if kind == "reward":
        return any(reward.get("model") == short for reward in rewards)
    if kind in OF_CLASSIFIERS:
        return any(reward.get("model") == evaluation.get("classifiers", {})[short]["model"] for reward in rewards)
    function = evaluation.get("judges", {}).get(short, {}).get("function")
    return function is not None and any(reward.get("function") == function for reward in rewards)


def _doubt(page: Page, name: str) -> str:
    """Why a reward model's verdict does not count: on held-out pairs it is no better than chance; "" if it counts."""
    kind, _, short = name.partition("/")
    run = next((run for run in page.everything if run.name == short), None) if kind == "reward" else None
    held_out = (run.json("reward_report.json").get("held_out") if run else None) or {}
    if "accuracy" not in held_out:
        return ""
    doubt = describe_chance(held_out["accuracy"], count(held_out["num_pairs"], "held-out pair"))
    return f"{measure_name(name)} is {doubt}" if doubt else ""


def _role(difference: dict[str, Any], better: bool) -> str:
    if not is_found(difference):
        return ""
    return "gold" if better else "alarm"


def _headline(entry: dict[str, Any], name: str, difference: dict[str, Any], better: bool) -> str:
    who, before, form = entry["model"], entry["baseline"], quantity(name).difference
    sentence = difference_sentence(difference, who, before, measure_name(name), form, over_seeds_text(entry))
    sentence += found_on_text(entry, name)
    if is_found(difference):
        return f"{'Yes' if better else 'No'}: {sentence}."
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence.startswith("no difference found") else f"{sentence}."


def _details(entry: dict[str, Any], evaluation: dict[str, Any], with_lead: bool) -> list[str]:
    differences = entry["differences"]
    sentences = []
    if with_lead and (name := primary_of(evaluation, differences)):
        sentences.append(f"{measure_name(name)} {difference_text(differences[name], quantity(name).difference)}")
    rewards = [name for name in differences if name.startswith("reward/")]
    sentences += [f"{measure_name(name)} {difference_text(differences[name])}" for name in rewards[:1]]
    texts, who, before = figure_texts(evaluation), entry["model"], entry["baseline"]
    if kl := seeds_span(entry, evaluation, "kl/exact") or _value(texts.get("kl/exact", {}).get(who, "–")).strip("–"):
        sentences.append(f"KL {kl} nats from {evaluation.get('reference')}")
    for name in [name for name in differences if name.startswith(CHANGES) or name == "rouge/1"]:
        if is_found(differences[name]) and who in texts.get(name, {}):
            change = f"{_value(texts[name][before])} → {_value(texts[name][who])}"
            sentences.append(f"{measure_name(name).partition(',')[0]} {change}")
    lines = [f"{entry['model']}: {listed(sentences)}."] if sentences else []
    if (name := primary_of(evaluation, differences)) and (by_seed := seed_sentence(entry, evaluation, name)):
        lines.append(by_seed)
    if hack := _hacking(differences, entry):
        lines.append(hack)
    return lines


def _value(text: str) -> str:
    """A figure without its interval."""
    return text.partition(" (")[0]


def _hacking(differences: dict[str, Any], entry: dict[str, Any]) -> str:
    """A sentence if a learned reward rose while a judge fell, both by their corrected verdicts; else ""."""
    up = [n for n, d in differences.items() if n.startswith("reward/") and is_found(d) and d["value"] > 0]
    down = [n for n, d in differences.items() if n.startswith("judge/") and is_found(d) and d["value"] < 0]
    if not (up and down):
        return ""
    return f"{entry['model']} hacks the reward: {measure_name(up[0])} rose while {measure_name(down[0])} fell."


def _not_compared(page: Page, question: str) -> Answer:
    summaries = [f"{run.name}: {run.manifest['summary']}" for run in page.runs if run.manifest.get("summary")]
    rewards = [(run, run.json("reward_report.json")) for run in page.of_kind("reward")]
    if rewards and not page.of_kind(*POLICIES):
        run, report = rewards[0]
        accuracy = (report.get("held_out") or {}).get("accuracy")
        if accuracy:
            doubt = describe_chance(accuracy, count(report["held_out"]["num_pairs"], "held-out pair"))
            return Answer(
                question,
                f"{run.name} orders {interval_text(accuracy, percent)} of held-out pairs as the labelers did"
                + (f": {doubt}." if doubt else "."),
                summaries,
            )  # fmt: skip
    return Answer(
        question, "Not measured yet: this report has no evaluation of one model against another.",
        [*summaries, "Add a stage of kind evaluate to the recipe and name it in the report’s `of`."],
    )  # fmt: skip


def _sure(page: Page) -> Answer:
    question = "How sure are we?"
    details = [_seeds(page)] if page.of_kind(*POLICIES, "dpo", "sft", "reward") else []
    alarms = sum(len(run.alarms) for run in page.runs)
    watched = any(run.metrics for run in page.of_kind(*WATCHED))
    if alarms:
        names = listed([run.name for run in page.runs if run.alarms])
        details.append(f"{count(alarms, 'alarm')} fired in {names}: see Alarms.")
    elif watched:
        details.append("No alarm fired during training.")
    if any(run.kind == "judge" and _simulated(run) for run in page.everything) or any(
        run.json("agreement.json").get("simulated") for run in page.everything
    ):
        details.append("The labelers were simulated: agreement and labels come from programs, not from people.")
    if not evaluations(page):
        return Answer(question, "No comparison, so no interval.", details)
    evaluation, (first, *_) = _lead(page)
    name = primary_of(evaluation, first["differences"])
    prompts = evaluation.get("prompts", {})
    num = count(prompts.get("num", 0), "held-out prompt")
    if name is None:
        return Answer(question, f"{num}, paired.", details)
    difference = first["differences"][name]
    form = quantity(name).difference
    span = interval_text(difference, form)
    if "seeds" in first:
        details.insert(0, f"Difference {span}, over training seeds, 95\u00a0%.")
        over_prompts = interval_text({**difference["over_prompts"], "value": difference["value"]}, form)
        details.insert(1, f"For the mean of these seeds {over_prompts}, over prompts.")
        details.insert(2, _measures(evaluation, name))
        seeds = f"{count(len(first['seeds']), 'training seed')} on {num}"
        return Answer(question, f"{seeds}, the same for every model, compared pair by pair.", details)
    details.insert(0, f"Difference {span}, over prompts, 95\u00a0%.")
    details.insert(1, _measures(evaluation, name) + _size(difference, form))
    return Answer(question, f"{num}, the same for every model, compared pair by pair.", details)


def _seeds(page: Page) -> str:
    """What the intervals cover: other prompts, and other training seeds where a stage has several."""
    stages = [entry["model"] for _, evaluation in evaluations(page) for entry in evaluation.get("seeds", [])]
    if not stages:
        return SEEDS
    names = listed(list(dict.fromkeys(stages)))
    return (
        f"Intervals over seeds cover other training seeds of {names}, on these prompts; intervals over prompts cover "
        "other prompts, not other seeds. All other stages were made once."
    )


def _measures(evaluation: dict[str, Any], name: str) -> str:
    """Which measure is primary, and what happens to the others."""
    others = max(len(entry["differences"]) for entry in evaluation["comparisons"]) - 1
    rest = "" if others < 1 else f" The other {count(others, 'measure')} are corrected as one family (Holm)."
    return f"Primary measure: {measure_name(name)}.{rest}"


def _size(difference: dict[str, Any], form: Form) -> str:
    """If nothing was found: how many prompts would find half of what could have been seen; else ""."""
    from preflab.statistics.interval import Interval
    from preflab.statistics.sample_sizes import deviation_of, prompts_needed

    if difference["low"] is None or is_found(difference):
        return ""
    interval = Interval(difference["value"], difference["low"], difference["high"], difference["num"])
    smaller = interval.detectable / 2
    num = count(prompts_needed(smaller, deviation_of(interval)), "prompt")
    return f" About {num} would find a difference of {form(smaller) if form is not number else number(smaller, 2)}."


def _why_unknown(evaluation: dict[str, Any]) -> str:
    """Why there is no primary difference."""
    primary = evaluation.get("primary")
    return f"{measure_name(primary)} was not measured" if primary else "no judge or reward model scored the completions"


def _simulated(run: Run) -> bool:
    return str(run.settings.get("labelers", "people")) != "people"


def _cost(page: Page) -> Answer:
    timed = [(run, run.seconds) for run in page.everything if run.seconds is not None]
    total = sum(seconds for _, seconds in timed)
    details = [" · ".join(f"{run.name} {duration(seconds)}" for run, seconds in timed)]
    details += [f"Labels: {run.manifest['summary']}." for run in page.everything if run.kind == "judge"]
    if not timed:
        return Answer("What did it cost?", "No times were recorded.")
    longest, most = max(timed, key=lambda pair: pair[1])
    stages = count(len(timed), "stage")
    sentence = f"{duration(total)} of computing in {stages}; {longest.name} took longest, {duration(most)}."
    return Answer("What did it cost?", sentence, details)
