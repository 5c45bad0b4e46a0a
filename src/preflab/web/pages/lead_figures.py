"""Charts and tables of the leads' pages; each chart has a title, a caption with n, and its data as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from preflab.feedback.agreement import Share
from preflab.feedback.estimates import Estimate
from preflab.feedback.published_agreement import HUMAN_HIGH, HUMAN_LOW, PublishedAgreement
from preflab.feedback.published_agreement import PUBLISHED as PUBLISHED_AGREEMENT
from preflab.feedback.standing import GROUP, IN_LINE, SILENT
from preflab.labelling.quality import AgreementPoint, LabelerQuality
from preflab.report.blocks import Cell, Figure, Table, numbers
from preflab.report.charts import Bar, Line, Rule, bar_chart, line_chart
from preflab.web.pages.lead_words import coefficient_words, course_sentence, ends, share_text, standing_words
from preflab.words import best_value, count, interval_text, number, percent

HUMAN = Rule(HUMAN_LOW, "people: 63–77\u00a0%", "gold", until=HUMAN_HIGH)
PUBLISHED = (
    "Band: 63 to 77\u00a0%, published agreement of people (Bai et al. 2022; Ouyang et al. 2022; Stiennon et al. 2020)."
)


def agreement_figure(points: Sequence[AgreementPoint]) -> Figure | None:
    """The chart of strict agreement over the tasks in the order of their last label; None without points."""
    if not points:
        return None
    xs = [float(point.last_task) for point in points]
    shares = [point.share for point in points]
    line = Line(
        "", "policy", xs, [100 * (share.value or 0) for share in shares],
        [100 * ends(share)[0] for share in shares], [100 * ends(share)[1] for share in shares],
        dots=len(points) < 3,
    )  # fmt: skip
    rule = Rule(100 * HUMAN_LOW, HUMAN.label, "gold", until=100 * HUMAN_HIGH)
    title = course_sentence(points)
    chart = line_chart(
        [line], x="task, in the order of its last label", y="agreement, %", rules=[rule], y_range=(0, 100),
        x_range=(0, max(xs)), description=title,
    )  # fmt: skip
    total = sum(share.num for share in shares)
    caption = (
        f"Share of couples of strict votes that agree, in {count(len(points), 'section')} of consecutive tasks; "
        f"{number(total)} couples of votes, 95\u00a0% intervals over tasks. {PUBLISHED}"
    )
    rows = [
        [Cell(f"{point.first_task} to {point.last_task}"), Cell(point.until[:16].replace("T", " ")),
         *numbers(share_text(point.share), number(point.share.num))]
        for point in points
    ]  # fmt: skip
    return Figure(
        title, chart, caption, Table(["tasks", "until", "agree (95\u00a0% interval)", "couples of votes"], rows)
    )


def labelers_figure(labelers: Sequence[LabelerQuality]) -> Figure | None:
    """The chart of each labeler's agreement with the majority of the others; None if it is known of no labeler."""
    measured = [labeler for labeler in labelers if labeler.numbers.with_others.value is not None]
    if not measured:
        return None
    bars = [_bar(labeler.name, labeler.numbers.with_others, role_of(labeler)) for labeler in measured]
    title = standing_words(labelers)
    chart = bar_chart(
        bars, x="agrees with the majority of the others", dots=True, x_range=(0, 1), rules=[HUMAN], percent=True,
        description=title,
    )  # fmt: skip
    caption = (
        "Leave one out: of a labeler’s strict votes on pairs where the others have a majority, the share that agrees "
        f"with it; 95\u00a0% intervals over tasks. Red: to be checked; orange: a separate group; grey: too few tasks "
        f"or labelers to say. {PUBLISHED}"
    )
    rows = [
        [Cell(labeler.name), *numbers(share_text(labeler.numbers.with_others), number(labeler.numbers.with_others.num)),
         Cell(labeler.standing)]
        for labeler in measured
    ]  # fmt: skip
    return Figure(title, chart, caption, Table(["labeler", "agrees (95\u00a0% interval)", "votes", "standing"], rows))


def accuracy_figure(rows: Sequence[tuple[int, float, int]], overlap: int, agreement: Share) -> Figure:
    """The chart of estimated accuracy by labels per task.

    Args:
        rows: (labels per task, estimated accuracy, labels still missing for it).
        overlap: labels per task of this campaign.
        agreement: the strict agreement that the estimate is based on.
    """
    now = next((accuracy for num, accuracy, _ in rows if num == overlap), rows[-1][1])
    bars = [
        Bar(
            count(num, "label"),
            accuracy,
            "gold" if num == overlap else "reference",
            text=f"{100 * accuracy:.0f}\u00a0%",
        )
        for num, accuracy, _ in rows
    ]
    title = (
        f"With {count(overlap, 'label')} per task about {100 * now:.0f}\u00a0% of pairs are as a large panel would say"
    )
    chart = bar_chart(
        bars, x="pairs as a large panel would say", dots=True, x_range=(0.5, 1), percent=True, description=title
    )
    caption = (
        "An estimate, not a measurement: it follows from the agreement of two labelers "
        f"({share_text(agreement)}) if the difficulty of pairs has a symmetric Beta distribution; 50\u00a0% is "
        "chance. It cannot see mistakes that all labelers share. Green: the labels per task of this campaign."
    )
    cells = [numbers(str(num), f"{100 * accuracy:.0f}\u00a0%", f"{missing:,}") for num, accuracy, missing in rows]
    head = ["labels per task", "pairs as a panel would say", "labels still to give"]
    return Figure(title, chart, caption, Table(head, cells))


def coefficients_table(coefficients: Mapping[str, Estimate]) -> Table:
    """The table of the other measures of agreement, each with its interval, or with the reason why it has no value."""
    rows = []
    for name, coefficient in coefficients.items():
        title, chance = coefficient_words(name)
        value = coefficient.note if coefficient.value is None else interval_text(asdict(coefficient))
        rows.append([Cell(title), *numbers(value, f"{coefficient.num_tasks:,}"), Cell(chance)])
    head = ["measure", "value (95\u00a0% interval)", "tasks", "for comparison"]
    return Table(head, rows, "Other measures of agreement", "Intervals over tasks. 1 is full agreement.")


def published_table(own: Share) -> Table:
    """The table of published human agreement with this campaign's strict agreement among it, lowest first."""
    rows = [
        (each.share, [Cell(each.between), *numbers(_plus_minus(each)), Cell(each.source)])
        for each in PUBLISHED_AGREEMENT
    ]
    if own.value is not None:
        own_cells = [Cell("this campaign, any two labelers", role="gold"), *numbers(share_text(own), role="gold")]
        rows.append((own.value, [*own_cells, Cell("strict votes on the same pair", role="gold")]))
    ordered = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    return Table(
        ["between", "agree", "source"], ordered, "Plain agreement on pairs, compared with published human agreement"
    )


def _plus_minus(each: PublishedAgreement) -> str:
    return percent(each.share) + (f" ± {100 * each.plus_minus:g}" if each.plus_minus else "")


def role_of(labeler: LabelerQuality) -> str:
    """The colour of a labeler in charts, by standing."""
    return {IN_LINE: "gold", GROUP: "reward", **dict.fromkeys(SILENT, "reference")}.get(labeler.standing, "alarm")


def _bar(name: str, share: Share, role: str) -> Bar:
    low, high = (math.nan if end is None else end for end in (share.low, share.high))
    value = share.value or 0.0
    return Bar(name, value, role, low, high, best_value(asdict(share), percent))
