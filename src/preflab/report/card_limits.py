"""What a model card has to say against its model: whose labels, which judge, how many seeds, what nobody measured."""

from __future__ import annotations

from collections.abc import Iterator

from preflab.report.card_figures import own_judges, training_rewards
from preflab.report.lineage import Lineage
from preflab.report.runs import Run
from preflab.words import count, interval_text, percent

PEOPLE = "people"
UNMEASURED = (
    "Not measured here: knowledge, reasoning, truthfulness, bias, safety, and languages other than those of the data."
)


def limit_lines(lineage: Lineage) -> list[str]:
    """One sentence or two per limit."""
    run = lineage.run
    lines = list(dict.fromkeys(line for each in (*lineage.before, run) for line in _labels(each)))
    lines += _measured(lineage)
    lines.append("One training seed: the intervals are over prompts and say nothing of training again.")
    if not any(each.kind == "probe" for each in lineage.after) and run.kind not in ("reward", "rating"):
        lines.append("Sycophancy and over-refusal were not probed.")
    if lineage.missing:
        lines.append(f"Parts of its history are gone: {', '.join(lineage.missing)}.")
    return [*lines, UNMEASURED]


def _labels(run: Run) -> Iterator[str]:
    """Who judged, as far as the stage knows."""
    if run.kind == "judge":
        who = str(run.settings.get("labelers", PEOPLE))
        if who != PEOPLE:
            yield f"The labels of stage {run.name} are simulated: programs with a known utility judged, no person did."
    elif run.kind == "preferences" and not run.json("agreement.json").get("simulated"):
        yield from _people(run)
    elif run.kind == "ai_judge":
        people = run.json("ai_judge.json").get("people")
        agreed = f"it agrees with people on {percent(people['agreement'])} of what both judged" if people else ""
        yield f"The labels of stage {run.name} are an AI judge's; {agreed or 'nobody compared them with people’s'}."
    elif run.kind in ("reward", "rating", "dpo") and (run.manifest.get("data") or {}):
        names = ", ".join(sorted(run.manifest["data"]))
        yield f"The labels in {names} were read from a file; who gave them, and how far they agree, is not known here."
    functions = [str(reward["function"]) for reward in run.settings.get("rewards") or [] if reward.get("function")]
    for function in functions:
        yield f"{run.name} was trained on the function {function}, a rule, not on people's judgment."


def _people(run: Run) -> Iterator[str]:
    found = run.json("agreement.json")
    labelers = found.get("labelers") or []
    people = [row for row in labelers if row.get("kind") == "person"]
    if people:
        agreement = found.get("agreement") or {}
        share = f", any two agree on {interval_text(agreement, percent)} of the pairs both decide" if agreement else ""
        yield f"The labels of stage {run.name} are those of {count(len(people), 'person', 'people')}{share}."


def _measured(lineage: Lineage) -> Iterator[str]:
    run = lineage.run
    evaluations = [each for each in lineage.after if each.kind == "evaluate"]
    if run.kind in ("reward", "rating"):
        report = run.json("reward_report.json")
        if not any((report.get(split) or {}).get("num_pairs") for split in ("held_out", "test")):
            yield "No preference was held out, so how good it is on others is not known."
    elif not evaluations:
        yield "No evaluation compared it with the model it started from."
    elif not any(own_judges(run, each.evaluation) for each in evaluations):
        what = "Only what it was trained on" if training_rewards(run) else "At most a learned reward"
        yield f"{what} has judged it: whether people would prefer it takes a judge that it was not trained on."
