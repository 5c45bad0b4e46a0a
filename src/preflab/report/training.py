"""The section "Training": curves of all on-policy runs on common axes, and losses of the other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from preflab.report.blocks import Block, Cell, Figure, Fold, Grid, Note, Section, Table, numbers
from preflab.report.chart_scales import log_range, pick_evenly
from preflab.report.charts import Line, Rule, line_chart
from preflab.report.courses import Course, course_sentence, read_course, span_text
from preflab.report.measures import Quantity, quantity
from preflab.report.run_folders import POLICIES, Page, Run, line_label, line_role
from preflab.seeds import stages_of
from preflab.settings.preference_losses import CURVES
from preflab.training.metrics import GLOSSARY, described_metric, is_time
from preflab.words import column, count, listed, number, shortened, three_digits

POLICY_CURVES = (
    "reward/mean", "score/held_out", "kl/exact", "kl/k1", "entropy/mean", "length/mean", "repeat/share", "loss/policy",
    "loss/value", "loss/dpo", "accuracy/implicit", "group/no_spread", "value/explained_variance", "clip/policy",
    "kl/coef", "reward/environment", "reward/environment/num_turns",
)  # fmt: skip
LOSS_CURVES = (
    "loss/nll", "loss/bradley_terry", "loss/rating", "loss/q", "loss/expectile", *(f"loss/{kind}" for kind in CURVES),
    "accuracy/implicit", "held_out/accuracy", "logratio/chosen", "logratio/rejected", "kl/exact", "accuracy/train",
    "score/margin",
)  # fmt: skip
UNSAID = ("criterion", "reward", "raw score", "reward²", "reward/nat")
"""Units that are left out because the quantity's name contains them."""
TABLE_ROWS = 40
FAR = 10.0
"""Factor over the budget above which the axis is logarithmic: a linear one would flatten the curve near the budget."""

Series = dict[str, tuple[list[float], list[float]]]


def training_section(page: Page) -> Section | None:
    """Curves of all runs with metrics; None if there are none."""
    policies = [run for run in page.of_kind(*POLICIES) if run.metrics]
    others = [run for run in page.runs if run.metrics and run.kind not in POLICIES]
    blocks: list[Block] = [
        Note(f"{sentence}; the figures below use the remaining rows.", "alarm", f"{run.name}: rows are missing")
        for run in page.runs
        for sentence in run.cut
    ]
    if policies:
        blocks.append(Grid([_figure(page, policies, metric) for metric in POLICY_CURVES if _drawn(policies, metric)]))
    if others:
        figures = [
            _figure(page, runs, metric, f"{stage if len(runs) > 1 else runs[0].name}: ")
            for stage, runs in _by_stage(others).items()
            for metric in LOSS_CURVES
            if any(run.series(metric)[0] for run in runs)
        ]
        blocks.append(Fold("Losses of the other stages", [Grid(figures)]) if policies else Grid(figures))
    blocks += [Fold(f"Every metric of {run.name}: meaning and last value", [_metrics(page, run)]) for run in policies]
    names = listed([run.name for run in policies])
    lead = f"{names} on the same axes; each line is one run." if len(policies) > 1 else ""
    if any(len(seeds) > 1 for seeds in _by_stage([*policies, *others]).values()):
        lead += " Thin lines are the training seeds of one stage."
    return Section("training", "Training", blocks, lead.strip()) if blocks else None


def _by_stage(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Stage → its runs: one, or one per training seed."""
    by_name = {run.name: run for run in runs}
    return {stage: [by_name[name] for name in names] for stage, names in stages_of(by_name).items()}


def _drawn(runs: Sequence[Run], metric: str) -> bool:
    """True if a metric is drawn: if logged; the sampled KL only without the exact one; the coefficient if it changes;
    the environment's reward if it is not the whole reward."""
    values = [value for run in runs for value in run.series(metric)[1]]
    if metric == "kl/k1" and any(run.series("kl/exact")[1] for run in runs):
        return False
    if metric == "reward/environment" and not any(run.settings.get("rewards") for run in runs):
        return False
    return bool(values) and not (metric == "kl/coef" and all(len(set(run.series(metric)[1])) < 2 for run in runs))


def _figure(page: Page, runs: Sequence[Run], metric: str, before: str = "") -> Figure:
    """A figure of one quantity of these runs.

    Args:
        before: start of the title, such as the run's name.
    """
    shown = [run for run in runs if run.series(metric)[0]]
    series = {run.name: run.series(metric) for run in shown}
    what, entry = quantity(metric), GLOSSARY[metric]
    lines = [
        Line(line_label(list(series), name), line_role(what.role, list(series), name), *points)
        for name, points in series.items()
    ]
    unit = "" if entry.unit in UNSAID else entry.unit
    title = _title(shown, what, series, unit, before)
    log = _passes_far(shown, what, series)
    axis = (what.said.removeprefix("The ") or what.called) + (f", {unit}" if unit else "")
    chart = line_chart(
        lines, x="step", y=axis[0].upper() + axis[1:], rules=_rules(shown, what), zero=what.from_zero, log=log,
        description=title,
    )  # fmt: skip
    sources = [page.link(run, "metrics.jsonl") for run in shown]
    return Figure(title, chart, _caption(shown, metric, series, log), _table(series), sources)


def _caption(runs: Sequence[Run], metric: str, series: Series, log: bool) -> str:
    """The metric's meaning, its healthy range, and the points that a logarithmic axis cannot show."""
    entry = GLOSSARY[metric]
    steps = max(len(xs) for xs, _ in series.values())
    caption = f"{metric}: {entry.meaning}. {count(steps, 'step')}{_per_step(runs)}."
    if entry.healthy:
        caption += f" Healthy: {entry.healthy}" + (f"; trouble: {entry.trouble}." if entry.trouble else ".")
    return caption + (_edge_words(series, _budgets(runs, quantity(metric))) if log else "")


def _edge_words(series: Series, budgets: Sequence[float]) -> str:
    """A note that the axis is logarithmic, and how many points are drawn on its lower edge."""
    values = [y for _, ys in series.values() for y in ys if isfinite(y)]
    low, _ = log_range([*values, *budgets])
    below = [y for y in values if y < low]
    sentence = f" The axis is logarithmic: a run exceeds its budget more than {FAR:.0f} times."
    if not below:
        return sentence
    num_not_positive = sum(y <= 0 for y in below)
    remark = f" ({num_not_positive:,} of them 0 or less)" if num_not_positive else ""
    return f"{sentence} Drawn on its lower edge: {count(len(below), 'point')} below {number(low)}{remark}."


def _per_step(runs: Sequence[Run]) -> str:
    nums = {int(num) for run in runs if (num := run.settings.get("num_completions_per_step")) is not None}
    return f", {count(nums.pop(), 'completion')} each" if len(nums) == 1 else ""


def _budget(run: Run, what: Quantity) -> float | None:
    budget = run.settings.get(what.budget) if what.budget else None
    return float(budget) if budget else None


def _budgets(runs: Sequence[Run], what: Quantity) -> list[float]:
    return sorted({budget for run in runs if (budget := _budget(run, what)) is not None})


def _passes_far(runs: Sequence[Run], what: Quantity, series: Series) -> bool:
    """Whether some run exceeds its own budget by more than the factor FAR."""
    tops = [(_budget(run, what), max((y for y in series[run.name][1] if isfinite(y)), default=0.0)) for run in runs]
    return any(budget is not None and top > FAR * budget for budget, top in tops)


def _rules(runs: Sequence[Run], what: Quantity) -> list[Rule]:
    """One rule per budget."""
    return [Rule(budget, f"budget {number(budget)} nats", "alarm") for budget in _budgets(runs, what)]


def _title(runs: Sequence[Run], what: Quantity, series: Series, unit: str, before: str) -> str:
    courses = {run.name: read_course(*series[run.name]) for run in runs}
    if what.budget and (budget_title := _about_budget(runs, what, series)):
        return before + budget_title
    if (
        what.name == "reward/mean"
        and len(runs) == 1
        and (budget_title := _beside_held_out(runs[0], courses[runs[0].name]))
    ):
        return budget_title
    name = what.said if what.said and not before else what.called
    if len(runs) == 1:
        return before + course_sentence(name, courses[runs[0].name], unit)
    ends = _ends({run: curve.last for run, curve in courses.items() if curve}, f" {unit}" if unit else "")
    if not ends:
        return f"{before}{name}: too few steps to say"
    each = [f"at {end}" if before else f"for {who} at {end}" for who, end in ends.items()]
    return f"{before}{name} ends {', '.join(each)}"


def _ends(last: Mapping[str, float], unit: str) -> dict[str, str]:
    """Run → its last value; the seeds of a stage together, as `0.9 to 1.1 nats over 3 seeds`. The last has the unit."""
    ends, stages = {}, stages_of(last)
    for place, (stage, names) in enumerate(stages.items(), 1):
        shown = span_text([last[name] for name in names])
        if len(names) > 1:
            ends[stage] = f"{shown}{unit} over {len(names)} seeds"
        else:
            ends[names[0]] = shown + (unit if place == len(stages) else "")
    return ends


def _about_budget(runs: Sequence[Run], what: Quantity, series: Series) -> str:
    stages, by_name = stages_of(series), {run.name: run for run in runs}
    parts = []
    for stage, names in stages.items():
        who = f" of {stage if len(names) > 1 else names[0]}" if len(stages) > 1 else ""
        budget = _budget(by_name[names[0]], what)
        end = f"ends at {span_text([series[name][1][-1] for name in names])} nats"
        if budget is None:
            parts.append(f"KL{who} {end} (no budget set)")
            continue
        over = [step for name in names if (step := _first_above(series[name], budget)) is not None]
        if over:
            where = f"at step {number(over[0])}" if len(names) == 1 else f"on {len(over)} of {len(names)} seeds"
            parts.append(f"KL{who} passes its budget of {number(budget)} nats {where} and {end}")
        else:
            most = f"at most {three_digits(max(y for name in names for y in series[name][1]))}"
            seeds = f" on all {len(names)} seeds" if len(names) > 1 else ""
            parts.append(f"KL{who} stays within its budget of {number(budget)} nats{seeds} ({most}) and {end}")
    return "; ".join(parts)


def _first_above(points: tuple[list[float], list[float]], budget: float) -> float | None:
    """The first step at which a curve is above the budget."""
    return next((x for x, y in zip(*points, strict=True) if y > budget), None)


def _beside_held_out(run: Run, reward: Course | None) -> str:
    """`Reward rises to 1.2, the held-out criterion only until step 40: …`; "" unless the reward rises."""
    held_out = read_course(*run.series("score/held_out"))
    if reward is None or held_out is None or reward.shape != "rises":
        return ""
    gold = "the held-out criterion"
    end = {
        "rises": f" and {gold} with it, to {three_digits(held_out.last)}",
        "peaks": f", {gold} only until step {number(held_out.turn_x)}: it ends at {three_digits(held_out.last)}",
        "falls": f", {gold} falls to {three_digits(held_out.last)}",
        "dips": f", {gold} falls until step {number(held_out.turn_x)} and ends at {three_digits(held_out.last)}",
        "flat": f", {gold} does not: it stays at {three_digits(held_out.last)}",
        "unclear": f", {gold} shows no clear trend and ends at {three_digits(held_out.last)}",
    }[held_out.shape]
    return f"Reward rises to {three_digits(reward.last)}{end}"


def _table(series: Series) -> Table:
    steps = sorted({step for xs, _ in series.values() for step in xs})
    kept = [steps[index] for index in pick_evenly(len(steps), TABLE_ROWS)]
    by_step = [dict(zip(xs, ys, strict=True)) for xs, ys in series.values()]
    columns = [column([values.get(step) for step in kept]) for values in by_step]
    rows = [numbers(number(step), *texts) for step, *texts in zip(kept, *columns, strict=True)]
    whole = f"{len(kept)} of {count(len(steps), 'step')}; all are in metrics.jsonl."
    left_out = whole if len(kept) < len(steps) else ""
    return Table(["step", *(shortened(name, 24) for name in series)], rows, caption=left_out)


def _metrics(page: Page, run: Run) -> Table:
    last = {name: value for row in run.metrics for name, value in row.items()}  # some metrics are not logged each step
    names = [name for name in sorted(last) if name != "step" and not is_time(name)]
    rows = []
    for name in names:
        entry = described_metric(name) or GLOSSARY["reward/mean"]
        first = next((row[name] for row in run.metrics if name in row), None)
        rows.append([
            Cell(name, code=True), *numbers(*column([first, last[name]])), Cell(entry.unit), Cell(entry.meaning),
            Cell(entry.healthy), Cell(entry.trouble),
        ])  # fmt: skip
    head = ["metric", "first", "last", "unit", "meaning", "healthy", "trouble"]
    return Table(head, rows, sources=[page.link(run, "metrics.jsonl")])
