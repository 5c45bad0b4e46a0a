"""The limits on a model card: whose labels, which judge, how many seeds, what was not measured."""

from __future__ import annotations

from collections.abc import Iterator

from preflab.report.card_figures import independent_judges, training_rewards
from preflab.report.lineage import Lineage
from preflab.report.run_folders import Run
from preflab.seeds import split_seed
from preflab.words import count, interval_text, percent

PEOPLE = "people"
UNMEASURED = {"knowledge": "", "reasoning": "", "truthfulness": "misinformation", "bias": "bias", "safety": ""}
"""Quality of a model → the part of a probe that measures something of it; "" if none does."""


def limit_lines(lineage: Lineage, *, compared: bool = False) -> list[str]:
    """The limits of the model, one or two sentences each; `compared`: the card has figures beside the reference's."""
    run = lineage.run
    lines = list(dict.fromkeys(line for each in (*lineage.before, run) for line in _labels(each)))
    lines += [] if compared else _measured(lineage)
    lines.append(_seeds(lineage))
    if not any(each.kind == "probe" for each in lineage.after) and run.kind not in ("reward", "rating"):
        lines.append("Sycophancy, over-refusal, bias and misinformation were not probed.")
    if lineage.missing:
        lines.append(f"The folders of these earlier stages no longer exist: {', '.join(lineage.missing)}.")
    return [*lines, _unmeasured(lineage)]


def _seeds(lineage: Lineage) -> str:
    """Whether the model is one of several seeds that were compared."""
    stage, seed = split_seed(lineage.run.name)
    entries = [entry for each in lineage.after for entry in each.evaluation.get("seeds", []) if entry["model"] == stage]
    if not entries:
        return "One training seed: the intervals are over prompts and do not include the spread between seeds."
    num = len(entries[0]["seeds"])
    return f"Of {num} training seeds this is seed {seed}: the intervals of the table are over prompts, not over seeds."


def _unmeasured(lineage: Lineage) -> str:
    probed = [each.json("probe.json") for each in lineage.after if each.kind == "probe"]
    names = [name for name, part in UNMEASURED.items() if not any(part and each.get(part) for each in probed)]
    return f"Not measured here: {', '.join(names)}, and languages other than those of the data."


def _labels(run: Run) -> Iterator[str]:
    """Who gave the labels, as far as the stage records it."""
    if run.kind == "judge":
        who = str(run.settings.get("labelers", PEOPLE))
        if who != PEOPLE:
            yield f"The labels of stage {run.name} are simulated: programs with a known utility judged, not people."
    elif run.kind == "preferences" and not run.json("agreement.json").get("simulated"):
        yield from _people(run)
    elif run.kind == "ai_judge":
        people = run.json("ai_judge.json").get("people")
        agreed = f"it agrees with people on {percent(people['agreement'])} of the pairs both decided" if people else ""
        yield f"The labels of stage {run.name} are an AI judge's; {agreed or 'they were not compared with people’s'}."
    elif run.kind in ("reward", "rating", "dpo") and (run.manifest.get("data") or {}):
        names = ", ".join(sorted(run.manifest["data"]))
        yield f"The labels in {names} were read from a file; who gave them, and how far they agree, is unknown."
    functions = [str(reward["function"]) for reward in run.settings.get("rewards") or [] if reward.get("function")]
    for function in functions:
        yield f"{run.name} was trained on the function {function}, a rule, not on people's judgment."


def _people(run: Run) -> Iterator[str]:
    labels = run.json("agreement.json")
    labelers = labels.get("labelers") or []
    people = [row for row in labelers if row.get("kind") == "person"]
    if people:
        agreement = labels.get("agreement") or {}
        share = f", any two agree on {interval_text(agreement, percent)} of the pairs both decide" if agreement else ""
        yield f"The labels of stage {run.name} are those of {count(len(people), 'person', 'people')}{share}."


def _measured(lineage: Lineage) -> Iterator[str]:
    run = lineage.run
    evaluations = [each for each in lineage.after if each.kind == "evaluate"]
    if run.kind in ("reward", "rating"):
        report = run.json("reward_report.json")
        if not any((report.get(split) or {}).get("num_pairs") for split in ("held_out", "test")):
            yield "No preferences were held out, so its accuracy on new ones is unknown."
    elif not evaluations:
        yield "No evaluation compared it with the model it started from."
    elif not any(independent_judges(run, each.evaluation) for each in evaluations):
        judged_by = "only by its own training rewards" if training_rewards(run) else "at most by a learned reward"
        yield f"It was judged {judged_by}: an independent judge is needed to tell whether people would prefer it."
