"""The sentences of the leads' pages: what the numbers mean, with n and interval, and no more than they support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from preflab.feedback.agreement import Share
from preflab.feedback.published_agreement import HUMAN_HIGH, HUMAN_LOW
from preflab.feedback.standing import CARELESS, GROUP, IN_LINE, REVERSED, SILENT, TOO_FEW, UNTOLD
from preflab.labelling.adjudication import Queue
from preflab.labelling.needs import Cost, Need, Pace, Progress
from preflab.labelling.quality import AgreementPoint, CampaignAgreement, CampaignQuality, LabelerQuality
from preflab.words import amount, best_value, count, hours_text, interval_text, listed, money, percent, plural

HUMAN = "63 to 77\u00a0%"
CONTENTS = {
    "plain": "plain text", "markdown": "Markdown", "code": "code", "chat": "chat turns",
    "image": "names of images in the workspace", "playout": "playouts of a game, with clips",
}  # fmt: skip


def share_text(share: Share) -> str:
    """A share with its interval: `72 % (66 to 78 %)`, or a dash."""
    return interval_text(asdict(share), percent)


def share_value(share: Share) -> str:
    """A share without its interval, with the same digits as `share_text`: `72 %`."""
    return best_value(asdict(share), percent)


def ends(share: Share) -> tuple[float, float]:
    """Both ends of the interval; 0 and 1 if there is none."""
    return 0.0 if share.low is None else share.low, 1.0 if share.high is None else share.high


def is_odd(labeler: LabelerQuality) -> bool:
    """Whether a lead should check this labeler: True for careless and reversed, False for a group."""
    return labeler.standing in (CARELESS, REVERSED)


def trust_sentence(quality: CampaignQuality) -> str:
    """One sentence about whether the labels can be trusted."""
    share = quality.agreement.strict
    if not quality.agreement.num_judgments:
        return "No labels have come in yet."
    if share.value is None or share.num_tasks < 10:
        return f"Too early to say: {common_words(quality.agreement)}."
    low, high = ends(share)
    sentence = f"Any two labelers agree on {share_value(share)} of the pairs both decide"
    if high < HUMAN_LOW:
        return f"{sentence}, less than in published data."
    if low > HUMAN_HIGH:
        return f"{sentence}, more than in published data."
    if not HUMAN_LOW <= share.value <= HUMAN_HIGH:
        return f"{sentence}, at the {'lower' if share.value < HUMAN_LOW else 'upper'} end of published data."
    return f"{sentence}, as is usual among people."


def common_words(agreement: CampaignAgreement) -> str:
    """The number of tasks on which labelers can be compared; ties are labels, but give no strict agreement."""
    num, strict = agreement.num_common, agreement.strict.num_tasks
    if not num:
        return "no task has been judged by two labelers"
    sentence = f"{count(num, 'task')} with two labels or more so far"
    if strict == num:
        return sentence
    return f"{sentence}, on {strict or 'none'} of them two labelers both decide a pair"


def trust_role(quality: CampaignQuality) -> str:
    """The colour of the sentence: red only if agreement is clearly below published human agreement."""
    share = quality.agreement.strict
    if share.value is None or share.num_tasks < 10:
        return ""
    return "alarm" if ends(share)[1] < HUMAN_LOW else "gold"


def trust_details(quality: CampaignQuality) -> list[str]:
    """The figures behind `trust_sentence`."""
    share, labelers = quality.agreement.strict, quality.labelers
    lines = []
    if share.value is not None:
        interval = "" if share.low is None else ", 95\u00a0% interval"
        lines.append(f"{share_text(share)}{interval}, {count(share.num_tasks, 'task')}; published for people: {HUMAN}.")
    ties, fails = quality.agreement.ties, quality.agreement.fails
    if ties.value is not None:
        lines.append(f"Ties: {share_value(ties)} of votes. F: {share_value(fails)} of completions shown.")
    odd = [labeler for labeler in labelers if is_odd(labeler)]
    if odd:
        lines.append("To be checked: " + listed([f"{each.name} ({each.standing})" for each in odd]) + ".")
    if quality.groups:
        lines.append(
            f"{count(len(quality.groups[0].members), 'labeler')} agree among themselves more than with the others."
        )
    early, untold = (sum(labeler.standing == silent for labeler in labelers) for silent in SILENT)
    if early:
        lines.append(f"Too few tasks yet to say anything about {count(early, 'labeler')}.")
    elif untold:
        lines.append(
            f"Nothing can be said about {count(untold, 'labeler')}: that needs three labelers on the same tasks, or "
            "gold tasks."
        )
    elif not odd and not quality.groups:
        lines.append("No labeler stands out.")
    return lines


def enough_sentence(progress: Progress, pace: Pace | None, when: datetime | None, now: datetime, state: str) -> str:
    """One sentence about when all wanted labels will be there."""
    if not progress.num_tasks:
        return "This campaign has no tasks."
    if progress.num_left == 0:
        return "It is enough: every task has the labels wanted."
    left = count(progress.num_left, "label")
    if state == "closed":
        return f"Never: the campaign is closed, and {left} {plural(progress.num_left, 'is', 'are')} missing."
    if pace is None or when is None:
        return f"{left} {plural(progress.num_left, 'is', 'are')} missing, and none came in during the last seven days."
    if state == "paused":
        return f"{left} {plural(progress.num_left, 'is', 'are')} missing, and the campaign is paused."
    return f"{when_words(when, now)}, at the pace of {pace_words(pace)}."


def pace_words(pace: Pace) -> str:
    """A pace as text: `54 labels a day`, `12 labels an hour`."""
    if pace.days < 1:
        return f"{amount(pace.per_day / 24, 'label')} an hour"
    return f"{amount(pace.per_day, 'label')} a day"


def when_words(when: datetime, now: datetime) -> str:
    """The time until a moment as text, rounded as an estimate should be."""
    hours = (when - now).total_seconds() / 3600
    if hours < 1:
        return "In less than an hour"
    if hours < 20:
        return f"In about {count(round(hours), 'hour')}"
    if hours < 24 * 14:
        return f"In about {count(max(1, round(hours / 24)), 'day')}, on {when:%A, %-d %B}"
    if hours < 24 * 90:
        return f"In about {count(round(hours / 24 / 7), 'week')}"
    return "In more than three months"


def enough_details(progress: Progress, queue: Queue, pace: Pace | None) -> list[str]:
    """The figures behind `enough_sentence`."""
    lines = [
        f"{progress.num_labels:,} of {count(progress.num_wanted, 'label')}; "
        f"{progress.num_done:,} of {count(progress.num_tasks, 'task')} complete."
    ]
    if pace is not None:
        hours = pace.days * 24
        span = amount(hours, "hour") if hours < 48 else amount(pace.days, "day")
        lines.append(f"Pace: {count(pace.num, 'label')} in the last {span.removeprefix('1 ')}.")
    if queue.open:
        pairs = sum(len(each.pairs) for each in queue.open)
        lines.append(f"{count(pairs, 'pair')} in {count(len(queue.open), 'complete task')} to adjudicate.")
    return lines


def cost_sentence(cost: Cost) -> str:
    """One sentence about the cost so far."""
    if not cost.num_timed:
        return "No labelling time has been measured."
    hours = hours_text(cost.hours)
    if cost.money_per_pair is not None:
        spent, each = (money(value, cost.currency) for value in (cost.money or 0.0, cost.money_per_pair))
        return f"{hours} of labelling, {spent} so far: {each} a preference."
    if cost.pairs_per_hour is not None and cost.num_pairs:
        return f"{hours} of labelling so far: {amount(cost.pairs_per_hour, 'preference')} an hour."
    return f"{hours} of labelling so far."


def cost_details(cost: Cost) -> list[str]:
    """The figures behind `cost_sentence`."""
    lines = [f"{count(cost.num_pairs, 'pair')} decided by the consensus; a preference is one such pair."]
    if cost.num_timed:
        lines.append(f"Active time measured in {cost.num_timed:,} of {count(cost.num_judgments, 'judgment')}.")
    if cost.pairs_per_hour is not None and cost.money is not None:
        lines.append(f"{amount(cost.pairs_per_hour, 'preference')} an hour.")
    if cost.money is None:
        lines.append("Set the cost of an hour in the settings to see money.")
    return lines


def course_sentence(points: Sequence[AgreementPoint]) -> str:
    """The title of the chart of agreement: it names a change only if the first and last intervals do not overlap."""
    first, last = points[0].share, points[-1].share
    if len(points) == 1:
        return f"The labelers agree on {share_value(last)} of pairs so far"
    low, high = ends(last)
    if high < ends(first)[0]:
        return f"Agreement fell from {share_value(first)} to {share_value(last)}"
    if low > ends(first)[1]:
        return f"Agreement rose from {share_value(first)} to {share_value(last)}"
    return "Agreement shows no clear change over time"


def need_sentence(num_pairs: int, need: Need) -> str:
    """One sentence about the labels that a number of preferences needs, from the preferences per label so far."""
    wanted = count(num_pairs, "preference")
    if need.labels is None or need.rate is None:
        return f"Nothing can be said about {wanted} yet: no label has decided a pair."
    if need.labels == 0:
        return f"{wanted} are there already."
    rate, _, ends_or_note = interval_text(asdict(need.rate)).partition(" (")
    so_far = f"{rate} preferences a label so far" + (f" ({ends_or_note}" if ends_or_note else "")
    sentence = f"{wanted} need about {count(need.labels, 'more label')}, at {so_far}"
    if need.num_tasks:
        return f"{sentence}; this campaign has fewer to give, so that is about {count(need.num_tasks, 'further task')}."
    return f"{sentence}."


def standing_words(labelers: Sequence[LabelerQuality]) -> str:
    """The title of the chart and the table of labelers: it names the labelers that should be checked."""
    odd = [labeler.name for labeler in labelers if is_odd(labeler)]
    if odd:
        names = listed(odd)
        return f"{names[0].upper()}{names[1:]} {plural(len(odd), 'stands', 'stand')} apart from the others"
    if any(labeler.standing == TOO_FEW for labeler in labelers):
        return "Too few tasks yet to say who stands apart"
    if any(labeler.standing == UNTOLD for labeler in labelers):
        return "Too few labelers on the same tasks to say who stands apart"
    return "No labeler stands apart from the others"


STANDINGS = {
    REVERSED: "May have read the scale backwards",
    CARELESS: "The answers agree with the others’ little more than by chance",
    GROUP: "One of several labelers who agree among themselves but not with the others",
    IN_LINE: "In line with the others",
    TOO_FEW: "Too few tasks to say",
    UNTOLD: "With two labelers nobody can say which is right: that needs a third one on the same tasks, or gold tasks",
}


COEFFICIENTS = {
    "tau_b": ("Kendall’s tau-b, mean over couples of labelers", "0 by chance"),
    "w": ("Kendall’s W, mean over tasks", "about one over the number of labelers by chance"),
    "pair_alpha": ("Krippendorff’s alpha of pairs (ordinal: worse, tie, better)", "0 by chance"),
    "pair_fleiss": ("Fleiss’ kappa of pairs", "0 by chance"),
    "alpha": ("Krippendorff’s alpha of thumbs (nominal)", "0 by chance"),
    "fail_alpha": ("Krippendorff’s alpha of the fail marks (nominal)", "0 by chance"),
    "alpha_ordinal": ("Krippendorff’s alpha (ordinal)", "0 by chance"),
    "alpha_interval": ("Krippendorff’s alpha (interval)", "0 by chance"),
}


def coefficient_words(name: str) -> tuple[str, str]:
    """The title of a coefficient, and its value by chance."""
    kind, _, criterion = name.partition(":")
    title, chance = COEFFICIENTS[kind]
    return (f"{criterion}: {title}" if criterion else title), chance
