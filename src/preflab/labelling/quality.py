"""How good the labels of a campaign are, and how each labeler stands to the others: `feedback/`, on what is stored.

Everything is computed from the labels that count (`counting.labels_of`) and kept until new ones come in; intervals are
bootstrapped over tasks. A standing is a reason to look, never a verdict, and nothing here blocks anyone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from sqlalchemy import select

from preflab.feedback.agreement import Share, fail_counts, share, strict_agreements, tie_counts
from preflab.feedback.bootstrap import Estimate
from preflab.feedback.coefficients import coefficients
from preflab.feedback.groups import LabelerGroup, find_groups
from preflab.feedback.pairs import Vote
from preflab.feedback.reading import USUAL, Reading
from preflab.feedback.readout import LabelerReadout, readouts
from preflab.feedback.standing import GROUP
from preflab.feedback.with_people import agreement_with_people
from preflab.labelling.campaigns import campaign_view
from preflab.labelling.counting import kept, labels_of
from preflab.labelling.reading import campaign_reading
from preflab.labelling.tables import TURNS
from preflab.records import Judgment, Labeler
from preflab.store.database import reading
from preflab.store.workspace import Workspace

MIN_WINDOW = 8
"""Tasks in one point of the course of agreement, at least."""
MAX_WINDOWS = 10


@dataclass(frozen=True)
class LabelerQuality:
    """One labeler beside the others."""

    name: str
    """The pseudonym."""
    kind: str
    numbers: LabelerReadout
    num_flagged: int
    confirmed_reversed: bool

    @property
    def labeler_id(self) -> str:
        """Whose it is."""
        return self.numbers.labeler_id

    @property
    def standing(self) -> str:
        """`in line`, `careless?`, `reversed?`, `group`, or `too few tasks to say`."""
        return self.numbers.standing


@dataclass(frozen=True)
class AgreementPoint:
    """Strict agreement in a stretch of tasks, in the order in which they got their last label."""

    first_task: int
    """From 1."""
    last_task: int
    until: str
    """When the last label of the stretch came in, ISO 8601."""
    share: Share


@dataclass(frozen=True)
class CampaignAgreement:
    """Agreement over all labelers; gold tasks, which are easy and given to everybody, are not among these."""

    num_judgments: int
    num_tasks: int
    num_common: int
    """Tasks with two labels or more, whatever they say: ties and F count."""
    strict: Share
    """Of two labelers' strict votes on one pair: those that agree, over all couples of labelers."""
    ties: Share
    fails: Share


@dataclass(frozen=True)
class CampaignQuality:
    """The read-out of a campaign."""

    agreement: CampaignAgreement
    labelers: tuple[LabelerQuality, ...]
    """Least reliable first."""
    over_time: tuple[AgreementPoint, ...]
    groups: tuple[LabelerGroup, ...]
    """Labelers who agree among themselves but not with the others."""

    @property
    def median_reliability(self) -> float:
        """The median over labelers."""
        return float(median(each.numbers.reliability for each in self.labelers))

    @property
    def median_seconds(self) -> float | None:
        """The median over labelers of their median times per task."""
        times = [each.numbers.median_seconds for each in self.labelers if each.numbers.median_seconds is not None]
        return float(median(times)) if times else None


@dataclass(frozen=True)
class AiJudge:
    """An AI judge beside the people: it is measured against them and weighs nothing among them."""

    name: str
    num_tasks: int
    with_people: Share
    """Of people's strict votes on pairs it also decides: those that agree with it."""


@dataclass(frozen=True)
class Turns:
    """What a labeler did besides judging."""

    num_submitted: int
    num_skipped: int
    num_as_shown: int
    """Rankings exactly in the order shown."""
    reasons: str
    """Why tasks were skipped, the commonest first."""


@dataclass(frozen=True)
class Note:
    """What a labeler wrote about a task."""

    task_id: str
    text: str


def campaign_quality(ws: Workspace, campaign_id: str) -> CampaignQuality:
    """The whole read-out, kept until new judgments come in."""
    read, count_ai = campaign_reading(ws, campaign_id), campaign_view(ws, campaign_id).options.count_ai

    def compute() -> CampaignQuality:
        judgments = labels_of(ws, campaign_id).counted
        labelers = {each.id: each for each in ws.labelers(sorted({judgment.labeler_id for judgment in judgments}))}
        return quality_of(judgments, labelers, read)

    return kept(ws, campaign_id, "quality", compute, read, count_ai)


def campaign_coefficients(ws: Workspace, campaign_id: str) -> Mapping[str, Estimate]:
    """Name → alpha, kappa, tau-b, W: those that fit the way of judging (`feedback.coefficients`); no gold tasks."""
    read, count_ai = campaign_reading(ws, campaign_id), campaign_view(ws, campaign_id).options.count_ai

    def compute() -> Mapping[str, Estimate]:
        asked = read.asked(labels_of(ws, campaign_id).counted)
        return coefficients(asked) if asked else {}

    return kept(ws, campaign_id, "coefficients", compute, read, count_ai)


def ai_judges(ws: Workspace, campaign_id: str) -> list[AiJudge]:
    """The AI judges whose labels do not count, each beside the people, by name."""
    labels = labels_of(ws, campaign_id)
    by_judge: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in labels.ai:
        by_judge[judgment.labeler_id].append(judgment)
    names = {each.id: each.name for each in ws.labelers(sorted(by_judge))} if by_judge else {}
    judges = [
        AiJudge(names[labeler_id], len(judgments_of), agreement_with_people(judgments_of, labels.counted)[1])
        for labeler_id, judgments_of in by_judge.items()
    ]
    return sorted(judges, key=lambda each: each.name)


def quality_of(
    judgments: Sequence[Judgment], labelers: Mapping[str, Labeler], read: Reading = USUAL
) -> CampaignQuality:
    """The read-out of judgments that count (one per labeler and task).

    Args:
        judgments: of one campaign.
        labelers: id → labeler, of everyone with a judgment.
        read: how the campaign is read.
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
    some_apart = any(row.standing == GROUP for row in rows)  # looking for groups takes as long as all the rest
    groups = find_groups(read.votes(judgments)) if some_apart else []
    return CampaignQuality(whole, tuple(table), tuple(over_time(asked, votes)), tuple(groups))


def over_time(judgments: Sequence[Judgment], votes: Sequence[Vote]) -> list[AgreementPoint]:
    """Strict agreement in up to 10 consecutive stretches of at least 8 tasks with two labels or more."""
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
    """What a labeler submitted, skipped and ranked as shown."""
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
    """A labeler's notes, the latest first."""
    judgments = [each for each in labels_of(ws, campaign_id).counted if each.labeler_id == labeler_id and each.note]
    ordered = sorted(judgments, key=lambda each: each.created_at, reverse=True)
    return [Note(each.task_id, each.note) for each in ordered[:limit]]
