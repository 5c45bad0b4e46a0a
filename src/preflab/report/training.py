"""Training curves: every run of a policy that writes while it learns over the same axes; losses of the others."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from preflab.report.blocks import Block, Cell, Figure, Fold, Grid, Note, Section, Table, numbers
from preflab.report.charts import Line, Rule, line_chart
from preflab.report.courses import Course, course, course_sentence
from preflab.report.measures import Quantity, quantity
from preflab.report.runs import POLICIES, Page, Run, placed
from preflab.report.scales import log_range, thinned
from preflab.settings.preference_losses import CURVES
from preflab.training.metrics import GLOSSARY, is_time
from preflab.words import column, count, listed, number, shortened, three_digits

POLICY_CURVES = (
    "reward/mean", "score/held_out", "kl/exact", "kl/k1", "entropy/mean", "length/mean", "repeat/share", "loss/policy",
    "loss/value", "loss/dpo", "accuracy/implicit", "group/no_spread", "value/explained_variance", "clip/policy",
    "kl/coef",
)  # fmt: skip
LOSS_CURVES = (
    "loss/nll", "loss/bradley_terry", "loss/rating", *(f"loss/{kind}" for kind in CURVES),
    "accuracy/implicit", "held_out/accuracy", "logratio/chosen", "logratio/rejected", "kl/exact", "accuracy/train",
    "score/margin",
)  # fmt: skip
UNSAID = ("criterion", "reward", "raw score", "reward²", "reward/nat")
"""Units that the name of the quantity says already."""
TABLE_ROWS = 40
FAR = 10.0
"""So many times its budget, and a linear axis would flatten everything around the budget."""

Series = dict[str, tuple[list[float], list[float]]]


def training_section(page: Page) -> Section | None:
    """Curves of all runs that trained; None when there are none."""
    policies = [run for run in page.of_kind(*POLICIES) if run.metrics]
    others = [run for run in page.runs if run.metrics and run.kind not in POLICIES]
    blocks: list[Block] = [
        Note(f"{sentence}; what follows is of the rows that are left.", "alarm", f"{run.name}: rows are missing")
        for run in page.runs
        for sentence in run.cut
    ]
    if policies:
        blocks.append(Grid([_figure(page, policies, metric) for metric in POLICY_CURVES if _drawn(policies, metric)]))
    if others:
        found = [
            _figure(page, [run], metric, f"{run.name}: ")
            for run in others
            for metric in LOSS_CURVES
            if run.series(metric)[0]
        ]
        blocks.append(Fold("Losses of the stages before", [Grid(found)]) if policies else Grid(found))
    blocks += [
        Fold(f"Every metric of {run.name}: what it means and where it ended", [_metrics(page, run)]) for run in policies
    ]
    names = listed([run.name for run in policies])
    lead = f"{names} over the same axes; each line is one run." if len(policies) > 1 else ""
    return Section("training", "Training", blocks, lead) if blocks else None


def _drawn(runs: Sequence[Run], metric: str) -> bool:
    """Logged at all; the sampled KL only where there is no exact one; the coefficient only where it changes."""
    values = [value for run in runs for value in run.series(metric)[1]]
    if metric == "kl/k1" and any(run.series("kl/exact")[1] for run in runs):
        return False
    return bool(values) and not (metric == "kl/coef" and all(len(set(run.series(metric)[1])) < 2 for run in runs))


def _figure(page: Page, runs: Sequence[Run], metric: str, before: str = "") -> Figure:
    """One quantity of these runs.

    Args:
        before: at the start of the title, whose curve it is.
    """
    shown = [run for run in runs if run.series(metric)[0]]
    series = {run.name: run.series(metric) for run in shown}
    what, entry = quantity(metric), GLOSSARY[metric]
    lines = [
        Line(run.name if len(shown) > 1 else "", placed(what.role, index), *series[run.name])
        for index, run in enumerate(shown)
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
    """What was measured, what is healthy, and what an axis that is logarithmic cannot show."""
    entry = GLOSSARY[metric]
    steps = max(len(xs) for xs, _ in series.values())
    caption = f"{metric}: {entry.meaning}. {count(steps, 'step')}{_per_step(runs)}."
    if entry.healthy:
        caption += f" Healthy: {entry.healthy}" + (f"; trouble: {entry.trouble}." if entry.trouble else ".")
    return caption + (_edge_words(series, _budgets(runs, quantity(metric))) if log else "")


def _edge_words(series: Series, budgets: Sequence[float]) -> str:
    """That the axis is logarithmic, and which points lie on its lower edge because it has no place for them."""
    values = [y for _, ys in series.values() for y in ys if isfinite(y)]
    low, _ = log_range([*values, *budgets])
    below = [y for y in values if y < low]
    sentence = f" The axis is logarithmic: the budget is passed more than {FAR:.0f} times over."
    if not below:
        return sentence
    none = sum(y <= 0 for y in below)
    those = f" ({none:,} of them 0 or below)" if none else ""
    return f"{sentence} Drawn on its lower edge: {count(len(below), 'point')} below {number(low)}{those}."


def _per_step(runs: Sequence[Run]) -> str:
    nums = {int(num) for run in runs if (num := run.settings.get("num_completions_per_step")) is not None}
    return f", {count(nums.pop(), 'completion')} each" if len(nums) == 1 else ""


def _budget(run: Run, what: Quantity) -> float | None:
    budget = run.settings.get(what.budget) if what.budget else None
    return float(budget) if budget else None


def _budgets(runs: Sequence[Run], what: Quantity) -> list[float]:
    return sorted({budget for run in runs if (budget := _budget(run, what)) is not None})


def _passes_far(runs: Sequence[Run], what: Quantity, series: Series) -> bool:
    """Whether some run passes its own budget tenfold."""
    tops = [(_budget(run, what), max((y for y in series[run.name][1] if isfinite(y)), default=0.0)) for run in runs]
    return any(budget is not None and top > FAR * budget for budget, top in tops)


def _rules(runs: Sequence[Run], what: Quantity) -> list[Rule]:
    """The budgets, as lines."""
    return [Rule(budget, f"budget {number(budget)} nats", "alarm") for budget in _budgets(runs, what)]


def _title(runs: Sequence[Run], what: Quantity, series: Series, unit: str, before: str) -> str:
    courses = {run.name: course(*series[run.name]) for run in runs}
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
    ends = [f"{run} at {three_digits(found.last)}" for run, found in courses.items() if found]
    if not ends:
        return f"{name}: too few steps to say"
    return f"{name} ends for {', for '.join(ends)}{f' {unit}' if unit else ''}"


def _about_budget(runs: Sequence[Run], what: Quantity, series: Series) -> str:
    parts = []
    for run in runs:
        budget, (xs, ys) = _budget(run, what), series[run.name]
        who = f" of {run.name}" if len(runs) > 1 else ""
        end = f"ends at {three_digits(ys[-1])} nats"
        if budget is None:
            parts.append(f"KL{who} {end} (no budget set)")
            continue
        over = [x for x, y in zip(xs, ys, strict=True) if y > budget]
        if over:
            parts.append(f"KL{who} passes its budget of {number(budget)} nats at step {number(over[0])} and {end}")
        else:
            most = f"at most {three_digits(max(ys))}"
            parts.append(f"KL{who} stays within its budget of {number(budget)} nats ({most}) and {end}")
    return "; ".join(parts)


def _beside_held_out(run: Run, reward: Course | None) -> str:
    """`Reward rises to 1.2, the held-out criterion only until step 40`, the sentence that matters most."""
    held_out = course(*run.series("score/held_out"))
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
    kept = [steps[index] for index in thinned(len(steps), TABLE_ROWS)]
    by_step = [dict(zip(xs, ys, strict=True)) for xs, ys in series.values()]
    columns = [column([values.get(step) for step in kept]) for values in by_step]
    rows = [numbers(number(step), *texts) for step, *texts in zip(kept, *columns, strict=True)]
    whole = f"{len(kept)} of {count(len(steps), 'step')}; all are in metrics.jsonl."
    left_out = whole if len(kept) < len(steps) else ""
    return Table(["step", *(shortened(name, 24) for name in series)], rows, caption=left_out)


def _metrics(page: Page, run: Run) -> Table:
    last = {name: value for row in run.metrics for name, value in row.items()}  # also of what is not logged each step
    names = [name for name in sorted(last) if name != "step" and not is_time(name)]
    rows = []
    for name in names:
        entry = GLOSSARY.get(name, GLOSSARY["reward/mean"])
        first = next((row[name] for row in run.metrics if name in row), None)
        rows.append([
            Cell(name, code=True), *numbers(*column([first, last[name]])), Cell(entry.unit), Cell(entry.meaning),
            Cell(entry.healthy), Cell(entry.trouble),
        ])  # fmt: skip
    head = ["metric", "first", "last", "unit", "meaning", "healthy", "trouble"]
    return Table(head, rows, sources=[page.link(run, "metrics.jsonl")])
