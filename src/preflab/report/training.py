"""Training curves: every run of a policy that writes while it learns over the same axes; losses of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from preflab.report.blocks import Block, Cell, Figure, Fold, Grid, Note, Section, Table, numbers
from preflab.report.charts import Line, Rule, line_chart
from preflab.report.runs import POLICIES, Page, Run, placed
from preflab.report.scales import thinned
from preflab.report.words import Course, count, course, course_sentence, number, shortened
from preflab.training.metrics import GLOSSARY, is_time

# metric, what it is called in a sentence, role of its colour, whether the axis includes 0
POLICY_CURVES = (
    ("reward/mean", "Reward", "reward", False),
    ("score/held_out", "The held-out criterion", "gold", False),
    ("kl/exact", "KL to the reference", "policy", True),
    ("kl/k1", "KL to the reference (sampled)", "policy", True),
    ("entropy/mean", "Entropy", "policy", True),
    ("length/mean", "Length", "policy", True),
    ("repeat/share", "The share of repeated 3-grams", "policy", True),
    ("loss/policy", "Policy loss", "policy", True),
    ("loss/value", "Value loss", "policy", True),
    ("loss/dpo", "DPO loss", "policy", False),
    ("accuracy/implicit", "Pairs in the order of their labels", "policy", False),
    ("group/no_spread", "The share of prompts with equal rewards", "policy", True),
    ("value/explained_variance", "Explained variance of the value", "policy", True),
    ("clip/policy", "The share of clipped tokens", "policy", True),
    ("kl/coef", "The KL coefficient", "policy", True),
)
PREFERENCE_LOSSES = ("dpo", "cdpo", "robust", "ipo", "hinge", "simpo", "orpo", "kto")
LOSS_CURVES = (
    ("loss/nll", "loss", "policy", False),
    ("loss/bradley_terry", "loss", "reward", False),
    *((f"loss/{kind}", f"{kind} loss", "policy", False) for kind in PREFERENCE_LOSSES),
    ("accuracy/implicit", "accuracy on the pairs of the step", "policy", False),
    ("held_out/accuracy", "accuracy on held-out pairs", "policy", False),
    ("logratio/chosen", "log-ratio of the chosen completions", "policy", True),
    ("logratio/rejected", "log-ratio of the rejected completions", "policy", True),
    ("kl/exact", "KL to the reference", "policy", True),
    ("accuracy/train", "accuracy on the pairs of the step", "reward", False),
    ("score/margin", "margin between chosen and rejected", "reward", True),
)
TABLE_ROWS = 40


def training_section(page: Page) -> Section | None:
    """Curves of all runs that trained; None when there are none."""
    policies = [run for run in page.of_kind(*POLICIES) if run.metrics]
    others = [run for run in page.runs if run.metrics and run.kind not in POLICIES]
    blocks: list[Block] = [Note(f"{run.name}: {said}.", "alarm") for run in page.runs for said in run.cut]
    if policies:
        figures = [_figure(page, policies, *curve) for curve in POLICY_CURVES if _worth_drawing(policies, curve[0])]
        blocks.append(Grid(figures))
    if others:
        found = [
            _figure(page, [run], metric, f"{run.name}: {what}", role, zero)
            for run in others
            for metric, what, role, zero in LOSS_CURVES
            if run.series(metric)[0]
        ]
        blocks.append(Fold("Losses of the stages before", [Grid(found)]) if policies else Grid(found))
    blocks += [
        Fold(f"Every metric of {run.name}: what it means and where it ended", [_metrics(page, run)]) for run in policies
    ]
    lead = f"{_names(policies)} over the same axes; each line is one run." if len(policies) > 1 else ""
    return Section("training", "Training", blocks, lead) if blocks else None


def _names(runs: Sequence[Run]) -> str:
    return " and ".join(run.name for run in runs)


def _worth_drawing(runs: Sequence[Run], metric: str) -> bool:
    """Logged at all; the sampled KL only where there is no exact one; the coefficient only where it changes."""
    values = [value for run in runs for value in run.series(metric)[1]]
    if metric == "kl/k1" and any(run.series("kl/exact")[1] for run in runs):
        return False
    return bool(values) and not (metric == "kl/coef" and all(len(set(run.series(metric)[1])) < 2 for run in runs))


def _figure(page: Page, runs: Sequence[Run], metric: str, what: str, role: str, zero: bool) -> Figure:
    shown = [run for run in runs if run.series(metric)[0]]
    series = {run.name: run.series(metric) for run in shown}
    lines = [
        Line(run.name if len(shown) > 1 else "", placed(role, index), *series[run.name])
        for index, run in enumerate(shown)
    ]
    entry = GLOSSARY[metric]
    rules = _rules(shown, metric)
    unit = "" if entry.unit in ("criterion", "reward", "raw score", "reward²", "reward/nat") else entry.unit
    title = _title(shown, metric, what, series, unit)
    name = what.removeprefix("The ").rpartition(": ")[2] + (f", {unit}" if unit else "")
    steps = max(len(xs) for xs, _ in series.values())
    caption = f"{metric}: {entry.meaning}. {count(steps, 'step')}{_per_step(shown)}."
    if entry.healthy:
        caption += f" Healthy: {entry.healthy}" + (f"; trouble: {entry.trouble}." if entry.trouble else ".")
    return Figure(
        title,
        line_chart(lines, x="step", y=name[0].upper() + name[1:], rules=rules, zero=zero, description=title),
        caption,
        _table(series),
        [page.link(run, "metrics.jsonl") for run in shown],
    )


def _per_step(runs: Sequence[Run]) -> str:
    nums = {run.settings.get("num_completions_per_step") for run in runs} - {None}
    return f", {nums.pop()} completions each" if len(nums) == 1 else ""


def _rules(runs: Sequence[Run], metric: str) -> list[Rule]:
    """The KL budget, drawn where the curve comes anywhere near it."""
    if metric not in ("kl/exact", "kl/k1"):
        return []
    budgets = sorted({run.settings["kl_budget"] for run in runs if run.settings.get("kl_budget")})
    return [Rule(float(budget), f"budget {number(budget)} nats", "alarm") for budget in budgets]


def _title(runs: Sequence[Run], metric: str, what: str, series: dict[str, Any], unit: str) -> str:
    courses = {run.name: course(*series[run.name]) for run in runs}
    if metric in ("kl/exact", "kl/k1") and (said := _about_budget(runs, series)):
        return said
    if metric == "reward/mean" and len(runs) == 1 and (said := _reward_and_held_out(runs[0], courses[runs[0].name])):
        return said
    if len(runs) == 1:
        return course_sentence(what, courses[runs[0].name], unit)
    ends = [f"{name} at {number(found.end, 2)}" for name, found in courses.items() if found]
    return f"{what} ends for {', for '.join(ends)}{f' {unit}' if unit else ''}"


def _about_budget(runs: Sequence[Run], series: dict[str, Any]) -> str:
    parts = []
    for run in runs:
        budget, (xs, ys) = run.settings.get("kl_budget"), series[run.name]
        who = f" of {run.name}" if len(runs) > 1 else ""
        if not budget or not ys:
            parts.append(f"KL{who} ends at {number(ys[-1], 2)} nats (no budget set)" if ys else "")
            continue
        over = [x for x, y in zip(xs, ys, strict=True) if y > budget]
        if over:
            parts.append(f"KL{who} passes its budget of {number(budget)} nats at step {over[0]:.0f}")
        else:
            parts.append(f"KL{who} stays within its budget of {number(budget)} nats (at most {number(max(ys), 2)})")
    return "; ".join(part for part in parts if part)


def _reward_and_held_out(run: Run, reward: Course | None) -> str:
    """`Reward rises until the end, the held-out criterion until step 40`, the sentence that matters most."""
    held_out = course(*run.series("score/held_out"))
    if reward is None or held_out is None:
        return ""
    if reward.moved > 0 and (held_out.fell_back or held_out.moved < 0):
        turned = f"falls after step {held_out.peak_x:.0f}" if held_out.fell_back else "falls"
        return f"Reward rises to {number(reward.end, 2)}, the held-out criterion {turned}"
    if reward.moved > 0 and held_out.moved == 0:
        return f"Reward rises to {number(reward.end, 2)}, the held-out criterion does not"
    if reward.moved > 0:
        return f"Reward rises to {number(reward.end, 2)} and the held-out criterion with it"
    return ""


def _table(series: dict[str, tuple[list[float], list[float]]]) -> Table:
    steps = sorted({step for xs, _ in series.values() for step in xs})
    kept = [steps[index] for index in thinned(len(steps), TABLE_ROWS)]
    by_step = {name: dict(zip(xs, ys, strict=True)) for name, (xs, ys) in series.items()}
    rows = [
        [*numbers(f"{step:.0f}"), *numbers(*(number(values.get(step)) for values in by_step.values()))] for step in kept
    ]
    left_out = f"{len(kept)} of {len(steps)} steps; all are in metrics.jsonl." if len(kept) < len(steps) else ""
    return Table(["step", *(shortened(name, 24) for name in series)], rows, caption=left_out)


def _metrics(page: Page, run: Run) -> Table:
    last = {name: value for row in run.metrics for name, value in row.items()}  # also of what is not logged each step
    names = [name for name in sorted(last) if name != "step" and not is_time(name)]
    rows = []
    for name in names:
        entry = GLOSSARY.get(name, GLOSSARY["reward/mean"])
        first = next((row[name] for row in run.metrics if name in row), None)
        rows.append([
            Cell(name, code=True), *numbers(number(first), number(last[name])), Cell(entry.unit), Cell(entry.meaning),
            Cell(entry.healthy), Cell(entry.trouble),
        ])  # fmt: skip
    head = ["metric", "first", "last", "unit", "meaning", "healthy", "trouble"]
    return Table(head, rows, sources=[page.link(run, "metrics.jsonl")])
