"""The quality of a campaign's labels and of each labeler: applies `feedback/` to the stored judgments.

Everything is computed from the labels that count (`counting.labels_of`) and cached until new ones come in; intervals
are over tasks. A standing tells a lead whom to look at; nothing here blocks a labeler.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from sqlalchemy import select

from preflab.feedback.agreement import Share, fail_counts, share, strict_agreements, tie_counts
from preflab.feedback.coefficients import coefficients
from preflab.feedback.estimates import Estimate
from preflab.feedback.labeler_groups import LabelerGroup, find_groups
from preflab.feedback.pair_votes import Vote
from preflab.feedback.reading import USUAL, Reading
from preflab.feedback.readout import LabelerReadout, readouts
from preflab.feedback.standing import GROUP
from preflab.feedback.with_people import agreement_with_people
from preflab.labelling.campaigns import campaign_view
from preflab.labelling.counting import cached, labels_of
from preflab.labelling.reading import campaign_reading
from preflab.labelling.tables import TURNS
from preflab.records import Judgment, Labeler
from preflab.store.database import reading
from preflab.store.workspace import Workspace

MIN_WINDOW = 8
"""Smallest number of tasks in one point of the agreement over time."""
MAX_WINDOWS = 10


@dataclass(frozen=True)
class LabelerQuality:
    """The quality of one labeler compared with the others."""

    name: str
    """The pseudonym."""
    kind: str
    numbers: LabelerReadout
    num_flagged: int
    confirmed_reversed: bool

    @property
    def labeler_id(self) -> str:
        """Id of the labeler."""
        return self.numbers.labeler_id

    @property
    def standing(self) -> str:
        """`in line`, `careless?`, `reversed?`, `group`, or `too few tasks to say`."""
        return self.numbers.standing


@dataclass(frozen=True)
class AgreementPoint:
    """Strict agreement over consecutive tasks, in the order in which they got their last label."""

    first_task: int
    """From 1."""
    last_task: int
    until: str
    """Time of the last label of these tasks, ISO 8601."""
    share: Share


@dataclass(frozen=True)
class CampaignAgreement:
    """Agreement over all labelers, without gold tasks, which are easy and given to everybody."""

    num_judgments: int
    num_tasks: int
    num_common: int
    """Tasks with two or more labels; labels with ties and F count too."""
    strict: Share
    """Share of agreeing votes, over all couples of labelers with strict votes on the same pair."""
    ties: Share
    fails: Share


@dataclass(frozen=True)
class CampaignQuality:
    """The quality figures of a campaign."""

    agreement: CampaignAgreement
    labelers: tuple[LabelerQuality, ...]
    """Least reliable first."""
    over_time: tuple[AgreementPoint, ...]
    groups: tuple[LabelerGroup, ...]
    """Labelers who agree among themselves but not with the others."""

    @property
    def median_reliability(self) -> float:
        """The median over labelers."""
        return float(median(labeler.numbers.reliability for labeler in self.labelers))

    @property
    def median_seconds(self) -> float | None:
        """The median over labelers of their median times per task."""
        medians = (labeler.numbers.median_seconds for labeler in self.labelers)
        times = [seconds for seconds in medians if seconds is not None]
        return float(median(times)) if times else None


@dataclass(frozen=True)
class AiJudge:
    """An AI judge whose labels do not count, compared with the people."""

    name: str
    num_tasks: int
    with_people: Share
    """Share of people's strict votes that agree with the judge, over the pairs that it decides."""


@dataclass(frozen=True)
class Turns:
    """Counts of what a labeler submitted and skipped."""

    num_submitted: int
    num_skipped: int
    num_as_shown: int
    """Rankings exactly in the order shown."""
    reasons: str
    """Reasons for skipping, the most frequent first."""


@dataclass(frozen=True)
class Note:
    """A labeler's note on a task."""

    task_id: str
    text: str


def campaign_quality(ws: Workspace, campaign_id: str) -> CampaignQuality:
    """The quality of a campaign, cached until new judgments come in."""
    read, count_ai = campaign_reading(ws, campaign_id), campaign_view(ws, campaign_id).options.count_ai

    def compute() -> CampaignQuality:
        judgments = labels_of(ws, campaign_id, exact=True).counted
        ids = sorted({judgment.labeler_id for judgment in judgments})
        labelers = {labeler.id: labeler for labeler in ws.labelers(ids)}
        return quality_of(judgments, labelers, read)

    return cached(ws, campaign_id, "quality", compute, read, count_ai)


def campaign_coefficients(ws: Workspace, campaign_id: str) -> Mapping[str, Estimate]:
    """Name → agreement coefficient (alpha, kappa, tau-b, W), without gold tasks.

    Only those that fit the way of judging are computed (`feedback.coefficients`).
    """
    read, count_ai = campaign_reading(ws, campaign_id), campaign_view(ws, campaign_id).options.count_ai

    def compute() -> Mapping[str, Estimate]:
        asked = read.asked(labels_of(ws, campaign_id, exact=True).counted)
        return coefficients(asked) if asked else {}

    return cached(ws, campaign_id, "coefficients", compute, read, count_ai)


def ai_judges(ws: Workspace, campaign_id: str) -> list[AiJudge]:
    """The AI judges whose labels do not count, compared with the people, sorted by name."""
    labels = labels_of(ws, campaign_id)
    by_judge: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in labels.ai:
        by_judge[judgment.labeler_id].append(judgment)
    names = {each.id: each.name for each in ws.labelers(sorted(by_judge))} if by_judge else {}
    judges = [
        AiJudge(names[labeler_id], len(own_labels), agreement_with_people(own_labels, labels.counted)[1])
        for labeler_id, own_labels in by_judge.items()
    ]
    return sorted(judges, key=lambda judge: judge.name)


def quality_of(
    judgments: Sequence[Judgment], labelers: Mapping[str, Labeler], read: Reading = USUAL
) -> CampaignQuality:
    """The quality of judgments that count (one per labeler and task).

    Args:
        judgments: judgments of one campaign.
        labelers: id → labeler, for everyone with a judgment.
        read: the reading of the campaign.
    """
    flagged = Counter(judgment.labeler_id for judgment in judgments if judgment.flagged)
    rows = readouts(judgments, read)
    table = [
        LabelerQuality(
            labelers[row.labeler_id].name, labelers[row.labeler_id].kind, row, flagged[row.labeler_id],
            row.labeler_id in read.confirmed_reversed,
        )
        for row in rows
    ]  # fmt: skip
    asked = read.asked(judgments)
    votes, num_labels = read.votes(asked), Counter(judgment.task_id for judgment in asked)
    whole = CampaignAgreement(
        num_judgments=len(asked),
        num_tasks=len(num_labels),
        num_common=sum(num > 1 for num in num_labels.values()),
        strict=share(strict_agreements(votes)),
        ties=share(tie_counts(votes)),
        fails=share(fail_counts(asked)),
    )
    # The search for groups takes as long as everything else together, so it runs only if a labeler belongs to one.
    in_group = any(row.standing == GROUP for row in rows)
    groups = find_groups(read.votes(judgments)) if in_group else []
    return CampaignQuality(whole, tuple(table), tuple(over_time(asked, votes)), tuple(groups))


def over_time(judgments: Sequence[Judgment], votes: Sequence[Vote]) -> list[AgreementPoint]:
    """Strict agreement in up to 10 consecutive sections of at least 8 tasks that have two or more labels."""
    last: dict[str, str] = {}
    num_labels: dict[str, int] = defaultdict(int)
    for judgment in judgments:
        last[judgment.task_id] = max(last.get(judgment.task_id, ""), judgment.created_at)
        num_labels[judgment.task_id] += 1
    tasks = sorted((task for task in last if num_labels[task] > 1), key=lambda task: (last[task], task))
    counts = strict_agreements(votes)
    num = max(1, min(MAX_WINDOWS, len(tasks) // MIN_WINDOW))
    edges = [round(len(tasks) * place / num) for place in range(num + 1)]
    points = []
    for start, end in pairwise(edges):
        agreement = share({task: counts[task] for task in tasks[start:end] if task in counts})
        if agreement.value is not None:
            points.append(AgreementPoint(start + 1, end, last[tasks[end - 1]], agreement))
    return points


def labeler_turns(ws: Workspace, campaign_id: str, labeler_id: str) -> Turns:
    """Count the tasks that a labeler submitted, skipped, or ranked exactly in the order shown."""
    query = select(TURNS.c.state, TURNS.c.skip_reason, TURNS.c.as_shown).where(
        TURNS.c.labeler_id == labeler_id, TURNS.c.campaign_id == campaign_id
    )
    with reading(ws.engine) as connection:
        rows = connection.execute(query).all()
    reasons = Counter(row.skip_reason for row in rows if row.state == "skipped" and row.skip_reason)
    return Turns(
        num_submitted=sum(row.state == "submitted" for row in rows),
        num_skipped=sum(row.state == "skipped" for row in rows),
        num_as_shown=sum(row.state == "submitted" and row.as_shown for row in rows),
        reasons=", ".join(f"{reason} ({num})" for reason, num in reasons.most_common(5)),
    )


def labeler_notes(ws: Workspace, campaign_id: str, labeler_id: str, limit: int = 50) -> list[Note]:
    """A labeler's notes, latest first."""
    judgments = [j for j in labels_of(ws, campaign_id).counted if j.labeler_id == labeler_id and j.note]
    ordered = sorted(judgments, key=lambda judgment: judgment.created_at, reverse=True)
    return [Note(judgment.task_id, judgment.note) for judgment in ordered[:limit]]
