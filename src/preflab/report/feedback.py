"""The section "Labels and preferences": labelers, their agreement, the resulting pairs; it names simulated labelers."""

from __future__ import annotations

from typing import Any

from preflab.report.blocks import Block, Cell, Figure, Fold, Grid, Section, Table, numbers
from preflab.report.charts import Bar, Rule, bar_chart
from preflab.report.run_folders import Page, Run
from preflab.settings.feedback import CONSENSUS
from preflab.words import (
    best_value,
    column,
    count,
    interval_text,
    intervals,
    number,
    or_nan,
    percent,
    rounded,
)

HUMAN_LOW, HUMAN_HIGH = 0.63, 0.77
"""Published strict agreement between labelers: Anthropic HH 63 %, Ouyang et al. 73 %, Stiennon et al. 77 %."""
HUMAN = Rule(HUMAN_LOW, "people: 63–77\u00a0%", "gold", until=HUMAN_HIGH)


def feedback_section(page: Page) -> Section | None:
    """Agreement and pairs of every `preferences` stage behind the report; None if there is none."""
    blocks: list[Block] = []
    for run in page.everything:
        agreement = run.json("agreement.json") if run.kind == "preferences" else {}
        if agreement:
            blocks += _preferences(page, run, agreement)
    if not blocks:
        return None
    simulated = any(run.json("agreement.json").get("simulated") for run in page.everything)
    lead = (
        "These labelers are simulated: programs with a known utility and known biases, not people." if simulated else ""
    )
    return Section("labels", "Labels and preferences", blocks, lead)


def _preferences(page: Page, run: Run, found: dict[str, Any]) -> list[Block]:
    sources = page.files(run, "agreement.json", "snapshot/manifest.json")
    who = "simulated labelers" if found.get("simulated") else "labelers"
    figures = [_agreement(found, who), _reliability(found, who)]
    return [
        Grid([figure for figure in figures if figure is not None]),
        Fold("Every labeler", [_labelers(found, who)]),
        *([Fold("Alpha, kappa, tau and W", [_coefficients(found)])] if found.get("coefficients") else []),
        _outcome(run, found, who, sources),
    ]


def _agreement(found: dict[str, Any], who: str) -> Figure | None:
    """The share of strict votes on which two labelers agree, compared with published figures for people."""
    share = found.get("agreement") or {}
    if share.get("value") is None:
        return None
    rows = [(row["name"], row["agreement_with_others"]) for row in found["labelers"]]
    figure = best_value(share, percent)
    texts = [interval_text(share, percent), *intervals([entry for _, entry in rows], percent)]
    bars = [Bar("any two", share["value"], "gold", or_nan(share["low"]), or_nan(share["high"]), figure)]
    bars += [
        Bar(name, entry["value"], "reference", or_nan(entry["low"]), or_nan(entry["high"]), text.partition(" (")[0])
        for (name, entry), text in zip(rows, texts[1:], strict=True)
        if entry.get("value") is not None
    ]
    value = share["value"]
    where = "within" if HUMAN_LOW <= value <= HUMAN_HIGH else "above" if value > HUMAN_HIGH else "below"
    title = f"Any two {who} agree on {figure} of the pairs both decide, {where} the published range for people"
    caption = (
        f"Green: agreement between any two, over {number(share['num'])} pairs of votes in "
        f"{count(share['num_tasks'], 'task')}; grey: each labeler with the majority of the others. "
        "95\u00a0% intervals over tasks. Band: 63 to 77\u00a0%, published agreement of people "
        "(Bai et al. 2022; Ouyang et al. 2022; Stiennon et al. 2020)."
    )
    chart = bar_chart(bars, x="share of strict votes that agree", x_range=(0, 1), rules=[HUMAN], percent=True,
                      description=title)  # fmt: skip
    head = ["labeler", "agrees (95\u00a0% interval)", "votes"]
    votes = column([entry.get("num") for entry in (share, *(one for _, one in rows))])
    names = ["any two", *(name for name, _ in rows)]
    table = [[Cell(name), *numbers(*cells)] for name, *cells in zip(names, texts, votes, strict=True)]
    return Figure(title, chart, caption, Table(head, table))


def _reliability(found: dict[str, Any], who: str) -> Figure | None:
    """A chart of each labeler's estimated reliability."""
    rows = found.get("labelers", [])
    if not rows:
        return None
    odd = [row for row in rows if row["standing"] in ("reversed?", "careless?")]
    bars = [
        Bar(row["name"], row["reliability"], "alarm" if row in odd else "gold",
            text=rounded(row["reliability"], 2) + (f" {row['standing']}" if row in odd else ""))
        for row in rows
    ]  # fmt: skip
    title = _reliability_title(rows, odd, who)
    method = "one-coin expectation–maximisation" if found.get("consensus") == "one_coin_em" else "not used for weights"
    caption = (
        f"Probability of naming the true winner of a pair, estimated from the votes alone ({method}). "
        "0.5 is chance; below it the labeler may have read the scale backwards. An estimate, not a verdict on a person."
    )
    rules = [Rule(0.5, "chance", "reference")]
    chart = bar_chart(bars, x="estimated reliability", x_range=(0, 1), rules=rules, description=title)
    head = ["labeler", "reliability", "weight", "votes", "standing"]
    table = [
        [Cell(row["name"]),
         *numbers(rounded(row["reliability"], 2), rounded(row["weight"], 2), number(row["num_votes"])),
         Cell(row["standing"])]
        for row in rows
    ]  # fmt: skip
    return Figure(title, chart, caption, Table(head, table))


def _reliability_title(rows: list[dict[str, Any]], odd: list[dict[str, Any]], who: str) -> str:
    """The title: how many labelers stand out, or that there is too little data to say."""
    everyone = count(len(rows), who.removesuffix("s"), who)
    early = [row["standing"] for row in rows if row["standing"] in TOO_FEW]
    if odd:
        return f"{len(odd)} of {everyone} {'stands' if len(odd) == 1 else 'stand'} out"
    if early:
        what = TOO_FEW[early[0]]
        return f"Too few {what} to say who of {everyone} stands apart" if len(rows) > 1 else f"One of the {who}"
    return f"All {everyone} are in line" if len(rows) > 1 else f"One of the {who}"


def _labelers(found: dict[str, Any], who: str) -> Table:
    rows = []
    ties = column([row["ties"].get("value") for row in found["labelers"]], percent)
    fails = column([row["fails"].get("value") for row in found["labelers"]], percent)
    for row, tied, failed in zip(found["labelers"], ties, fails, strict=True):
        truth = row.get("truth") or {}
        known = [str(truth["habit"])] if truth.get("habit") else []
        rows.append([
            Cell(row["name"]), Cell(row["kind"]),
            *numbers(f"{row['num_tasks']:,}", rounded(row["reliability"], 2), rounded(row["weight"], 2), tied, failed),
            Cell(row["standing"], role="alarm" if row["standing"].endswith("?") else ""),
            Cell(", ".join(known)), Cell(row["id"], code=True),
        ])  # fmt: skip
    head = ["labeler", "kind", "tasks", "reliability", "weight", "ties", "F", "standing", "known habit", "record"]
    caption = f"{who[0].upper()}{who[1:]}, most reliable first. A weight of 0 leaves a labeler’s votes out."
    return Table(head, rows, "", caption)


TOO_FEW = {"too few tasks to say": "tasks yet", "too few labelers to say": "labelers on the same tasks"}
"""Standings, as the stage `preferences` writes them, that mean too little data → the missing data."""
COEFFICIENTS = {
    "tau_b": "Kendall’s tau-b between two rankings, mean",
    "w": "Kendall’s W among a task’s rankings, mean",
    "pair_alpha": "Krippendorff’s alpha of the votes on pairs, ordinal",
    "pair_fleiss": "Fleiss’ kappa of the votes on pairs",
    "alpha": "Krippendorff’s alpha of the thumbs, nominal",
    "fail_alpha": "Krippendorff’s alpha of the F marks, nominal",
}


def _coefficients(found: dict[str, Any]) -> Table:
    """A table of the coefficients with intervals, or with the reason why one is undefined."""
    known = sorted(found.get("coefficients", {}).items())
    texts = intervals([estimate for _, estimate in known])
    rows = []
    for (name, estimate), text in zip(known, texts, strict=True):
        title = COEFFICIENTS.get(name, name.replace("_", " ").replace(":", " of "))
        rows.append([Cell(title), *numbers(estimate["note"] if estimate["value"] is None else text)])
    caption = "95\u00a0% intervals over tasks. 0 is chance, except for W: about 1 / labelers per task."
    return Table(["agreement beyond chance", "value"], rows, "", caption)


def _outcome(run: Run, found: dict[str, Any], who: str, sources: list[Any]) -> Table:
    pairs = found.get("pairs", {})
    ties, fails = intervals([found.get("ties"), found.get("fails")], percent)
    rows = [
        ("judgments", f"{found['num_judgments']:,}"),
        ("tasks (one prompt, its completions)", f"{found['num_tasks']:,}"),
        ("ties among votes", ties),
        ("completions marked F", fails),
        ("completions dropped as F by consensus", f"{pairs.get('num_failed_completions', 0):,}"),
        ("pairs to learn from", f"{pairs.get('num_resolved', 0):,}"),
        ("of these decided by an adjudicator", f"{pairs.get('num_decided', 0):,}"),
        ("pairs left open for an adjudicator", f"{pairs.get('num_unresolved', 0):,}"),
        ("pairs called equal", f"{pairs.get('num_tied', 0):,}"),
        ("even splits decided by other pairs", f"{pairs.get('num_implied', 0):,}"),
        ("groups without a pair to learn from", f"{pairs.get('num_without_pairs', 0):,}"),
    ]
    caption = (
        f"Consensus: {CONSENSUS.get(found.get('consensus', ''), found.get('consensus', ''))}; "
        f"F where at least {percent(found.get('fail_share'))} of the {who} say so."
    )
    rankings, learned = pairs.get("num_preferences", 0), pairs.get("num_resolved", 0)
    title = f"{run.name}: {count(rankings, 'ranking')} became {count(learned, 'pair')}"
    cells = [[Cell(name), *numbers(value)] for name, value in rows]
    return Table(["what", "how many"], cells, title, caption, sources)
