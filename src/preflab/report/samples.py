"""The section "Samples": completions of each model for the same prompts, and rollouts from training."""

from __future__ import annotations

from typing import Any

from preflab.report.blocks import Block, Fold, Note, Sample, Section, Written
from preflab.report.chart_scales import pick_evenly
from preflab.report.charts import token_strip
from preflab.report.dialogues import dialogue_turns, kl_sum
from preflab.report.measures import is_better
from preflab.report.run_folders import POLICIES, Page, Run
from preflab.report.seeds import shown_seeds
from preflab.training.token_texts import restore_spaces
from preflab.words import count, listed, number

OPEN_SAMPLES = 5
"""Number of samples shown at once, from the largest gain to the largest loss; the others are folded."""
LONGEST = 1200
"""Most characters of a completion that are shown; the records have all of it."""


def samples_section(page: Page) -> Section | None:
    """Samples of the evaluations and rollouts of the on-policy runs; None if there are none."""
    blocks: list[Block] = []
    for run in page.of_kind("evaluate"):
        blocks += _before_after(page, run)
    rollouts = [(run, run.rollouts) for run in page.of_kind(*POLICIES) if run.rollouts]
    blocks += [Fold(f"Rollouts of {run.name}", _rollouts(page, run, rows)) for run, rows in rollouts]
    return Section("samples", "Samples", blocks) if blocks else None


def _before_after(page: Page, run: Run) -> list[Block]:
    rows = run.samples
    if not rows or not page.num_samples:
        return []
    which, left_out = _models_shown(run)
    judge, gains = _gains(run, rows, left_out)
    order = sorted(range(len(rows)), key=lambda index: -gains[index]) if judge else list(range(len(rows)))
    picked = [rows[order[index]] for index in pick_evenly(len(order), page.num_samples)]
    how = f"from the largest gain on {judge} to the largest loss, evenly spaced" if judge else "evenly spaced"
    blocks: list[Block] = [
        Note(f"{len(picked)} of {count(len(rows), 'prompt')}, {how}; not picked by hand.{which}",
             sources=page.files(run, "samples.jsonl"))
    ]  # fmt: skip
    samples = [_sample(page, row, left_out) for row in picked]
    if len(samples) > OPEN_SAMPLES:
        more = count(len(samples) - OPEN_SAMPLES, "more prompt")
        middle = samples[1:-1]
        shown = [samples[0], *(middle[i] for i in pick_evenly(len(middle), OPEN_SAMPLES - 2)), samples[-1]]
        folded = [sample for sample in samples if sample not in shown]
        return [*blocks, *shown, Fold(f"{more[0].upper()}{more[1:]}", folded)]
    return blocks + samples


def _models_shown(run: Run) -> tuple[str, set[str]]:
    """A sentence about the training seeds that are shown, and the models that are left out: the other seeds."""
    seeds = shown_seeds(run.evaluation)
    if not seeds:
        return "", set()
    names = {name for entry in run.evaluation["seeds"] for name in entry["seeds"]}
    each = listed([f"{name} for {stage}" for stage, name in seeds.items()])
    return f" Of the training seeds one is shown, the median by the primary measure: {each}.", names - {*seeds.values()}


def _gains(run: Run, rows: list[dict[str, Any]], left_out: set[str]) -> tuple[str, list[float]]:
    """The first judge or classifier, and per prompt how much better it finds the second model than the first.

    An F counts as −1000.
    """
    evaluation = run.evaluation
    hidden = {evaluation.get("human"), *left_out}
    names = [model["name"] for model in evaluation.get("models", []) if model["name"] not in hidden]
    scored = [f"judge/{name}" for name in evaluation.get("judges", {})]
    scored += [f"probability/{name}" for name in evaluation.get("classifiers", {})]
    if len(names) < 2 or not scored:
        return "", []
    sign = 1 if is_better(evaluation, scored[0], 1.0) else -1

    def score(row: dict[str, Any], model: str) -> float:
        values = [one.get("scores", {}).get(scored[0]) for one in row["completions"].get(model, [])]
        known = [-1e3 if value is None else sign * value for value in values]
        return sum(known) / len(known) if known else 0.0

    return scored[0].partition("/")[2], [score(row, names[1]) - score(row, names[0]) for row in rows]


def _sample(page: Page, row: dict[str, Any], left_out: set[str]) -> Sample:
    written = [
        Written(model, page.role(model), one["text"][:LONGEST], _facts(one), one.get("id", ""))
        for model, completions in row["completions"].items()
        if model not in left_out
        for one in completions[:1]
    ]
    return Sample(row["prompt_id"], row["prompt"], written)


def _facts(one: dict[str, Any]) -> list[str]:
    scores = [
        f"{_score_name(name)} {'F' if value is None else number(value, 2)}"
        for name, value in one.get("scores", {}).items()
    ]
    label = [str(one["label"])] if one.get("label") else []
    kl = [f"KL {number(one['kl'], 2)}"] if one.get("kl") is not None else []
    cut = ["cut by the length limit"] if one.get("finish_reason") == "length" else []
    return label + scores + kl + cut


def _score_name(measure: str) -> str:
    """`judge/gold` → gold, `rouge/l` → ROUGE-L."""
    kind, _, name = measure.partition("/")
    return f"ROUGE-{name.upper()}" if kind == "rouge" else name


def _rollouts(page: Page, run: Run, rows: list[dict[str, Any]]) -> list[Block]:
    steps = sorted({row["step"] for row in rows})
    kept = [steps[index] for index in pick_evenly(len(steps), 4)]
    legend = (
        "Shading: distance of the policy from the reference at each token (KL; darkest = largest of the completion)."
    )
    blocks: list[Block] = [Note(legend, sources=page.files(run, "rollouts", "rollouts.jsonl"))]
    for row in [row for step in kept for row in [r for r in rows if r["step"] == step][:2]]:
        turns = dialogue_turns(row)
        facts = [f"reward {number(row.get('reward'), 2)}"]
        if turns:
            facts.append(count(sum(turn.mine for turn in turns), "turn"))
        if row.get("kl"):
            facts.append(f"KL {number(kl_sum(row), 2)} nats")
        text = "" if turns else _shaded(row)
        written = Written(f"{run.name}, step {row['step']}", page.role(run.name), text, facts, turns=turns)
        blocks.append(Sample(f"{run.name}-{row['step']}-{len(blocks)}", str(row.get("prompt", "")), [written]))
    return blocks


def _shaded(row: dict[str, Any]) -> Any:
    tokens, text = row.get("tokens"), str(row.get("completion", ""))
    if tokens and row.get("kl") and all(isinstance(token, str) for token in tokens):
        return token_strip(restore_spaces(tokens, text), row["kl"], "KL")
    return text[:LONGEST]
