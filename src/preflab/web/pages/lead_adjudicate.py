"""Pages for adjudicators: the queue of open tasks, one task to decide, and disagreements. They name no labelers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import ImmutableMultiDict

from preflab.errors import PreflabError
from preflab.labelling.adjudication import Case, decide, disagreements, queue, read_case
from preflab.labelling.campaigns import CampaignView, list_campaigns
from preflab.labelling.errors import NotFound
from preflab.records import PairOutcome, RankingAnswer
from preflab.store.workspace import Workspace
from preflab.ways.ranking import ranks_words
from preflab.web.access import may_adjudicate
from preflab.web.forms import Fields
from preflab.web.identity import Adjudicator, Workspaced
from preflab.web.pages.lead_common import campaign_page, lead_page, prompts_of, to_adjudicate

router = APIRouter(prefix="/lead/c/{campaign_id}", include_in_schema=False)


overview = APIRouter(prefix="/lead/adjudicate", include_in_schema=False)


@dataclass(frozen=True)
class Shown:
    """One completion on the page."""

    letter: str
    index: int
    """Index in the task's order, which the page does not reveal."""
    name: str
    """Name of its field, by the place on the page."""
    rank: str
    """The chosen rank: a number, `F`, or "" if none is chosen."""


@overview.get("")
def campaigns(request: Request, ws: Workspaced, me: Adjudicator) -> Response:
    """The campaigns in which this person may settle tasks, each with the number of open tasks."""
    views = [view for view in list_campaigns(ws) if may_adjudicate(ws, me, view)]
    cards = [(view, len(queue(ws, view.campaign.id).open)) for view in views]
    return lead_page(request, "adjudicate.html.j2", cards=sorted(cards, key=lambda card: -card[1]))


@router.get("/adjudicate")
def adjudicate(request: Request, ws: Workspaced, me: Adjudicator, campaign_id: str, done: str = "") -> Response:
    """The queue of open tasks, and the decisions."""
    view, line = to_adjudicate(ws, me, campaign_id), queue(ws, campaign_id)
    ids = [each.prompt_id for each in line.open] + [each.prompt_id for each in line.decided]
    return campaign_page(
        request, ws, view, "queue.html.j2", queue=line, prompts=prompts_of(ws, ids),
        message="Decided. That was the last one." if done and not line.open else "",
    )  # fmt: skip


@router.get("/disagreements")
def discuss(request: Request, ws: Workspaced, me: Adjudicator, campaign_id: str) -> Response:
    """The tasks on which reliable labelers disagree."""
    view, split = to_adjudicate(ws, me, campaign_id), disagreements(ws, campaign_id)
    return campaign_page(
        request, ws, view, "disagreements.html.j2", disagreements=split,
        prompts=prompts_of(ws, [each.prompt_id for each in split]),
    )  # fmt: skip


@router.get("/adjudicate/{task_id}")
def task_page(request: Request, ws: Workspaced, me: Adjudicator, campaign_id: str, task_id: str) -> Response:
    """One task: prompt, completions, all answers without names, and a form for the adjudicator's ranking."""
    view, case = to_adjudicate(ws, me, campaign_id), _case(ws, campaign_id, task_id)
    return _case_page(request, ws, view, case, _suggested(view, case), "", None)


@router.post("/adjudicate/{task_id}")
def store_decision(
    request: Request, ws: Workspaced, me: Adjudicator, campaign_id: str, task_id: str, fields: Fields
) -> Response:
    """Store the decision and go to the next open task."""
    view, case = to_adjudicate(ws, me, campaign_id), _case(ws, campaign_id, task_id)
    try:
        decide(ws, task_id, me, RankingAnswer(_ranks(case, fields)), fields.get("note", "").strip()[:4000])
    except PreflabError as error:
        chosen = _chosen(case, fields)
        return _case_page(request, ws, view, case, chosen, fields.get("note", ""), error)
    waiting = queue(ws, campaign_id).open
    target = f"/{waiting[0].task_id}" if waiting else "?done=1"
    return RedirectResponse(f"/lead/c/{campaign_id}/adjudicate{target}", 303)


def _case(ws: Workspace, campaign_id: str, task_id: str) -> Case:
    case = read_case(ws, task_id)
    if case.task.campaign_id != campaign_id:
        raise NotFound("the task belongs to another campaign", "a task of this campaign", "go back to the queue")
    return case


def _case_page(
    request: Request, ws: Workspace, view: CampaignView, case: Case, chosen: list[str], note: str,
    problem: PreflabError | None,
) -> Response:  # fmt: skip
    letters = {index: chr(65 + place) for place, index in enumerate(case.shown_order)}
    shown = [
        Shown(letters[index], index, f"rank-{place}", chosen[index]) for place, index in enumerate(case.shown_order)
    ]
    return campaign_page(
        request, ws, view, "case.html.j2", problem=problem, case=case, shown=shown, note=note,
        opinions=[(each, each.answer.words(letters)) for each in case.opinions],
        open=[pair_words(pair, letters) for pair in case.open],
        consensus=ranks_words(case.consensus.preference.ranks, letters) if case.consensus else "",
        decided=case.decision.answer.words(letters) if case.decision else "",
    )  # fmt: skip


def _chosen(case: Case, fields: ImmutableMultiDict[str, str]) -> list[str]:
    """The chosen values of the form in the task's order; "" where nothing is chosen."""
    place_of = {index: place for place, index in enumerate(case.shown_order)}
    return [fields.get(f"rank-{place_of[index]}", "") for index in range(len(case.completions))]


def _ranks(case: Case, fields: ImmutableMultiDict[str, str]) -> tuple[int | None, ...]:
    """The chosen ranks in the task's order; None for F.

    Raises:
        PreflabError: a completion has no rank.
    """
    num = len(case.completions)
    allowed = {str(rank): rank for rank in range(1, num + 1)} | {"F": None}
    chosen = _chosen(case, fields)
    missing = [chr(65 + place) for place, index in enumerate(case.shown_order) if chosen[index] not in allowed]
    if missing:
        raise PreflabError(f"no rank for {', '.join(missing)}", "a rank or F for each completion", "choose one")
    return tuple(allowed[each] for each in chosen)


def _suggested(view: CampaignView, case: Case) -> list[str]:
    """The values with which the form starts: the earlier decision, or else the ranks that the labels settle.

    Completions in open pairs are left empty. So are all completions if the question asks for the worse one.
    """
    if case.decision is not None and case.decision.answer.ranks_given is not None:
        return ["F" if rank is None else str(rank) for rank in case.decision.answer.ranks_given]
    if case.consensus is None or view.options.polarity < 0:
        return [""] * len(case.completions)
    in_open = {index for pair in case.open for index in (pair.first, pair.second)}
    ranks = case.consensus.preference.ranks
    return ["" if i in in_open else "F" if rank is None else str(rank) for i, rank in enumerate(ranks)]


def pair_words(pair: PairOutcome, letters: Mapping[int, str]) -> str:
    """The weighted votes on an open pair in one line, the earlier letter first."""
    one, other, num_for, num_against = letters[pair.first], letters[pair.second], pair.num_for, pair.num_against
    if one > other:
        one, other, num_for, num_against = other, one, num_against, num_for
    if not (num_for or num_against or pair.num_tie):
        return f"{one} or {other}: all votes on it have weight 0"
    words = f"{one} or {other}: weighted votes {num_for:.2f} to {num_against:.2f}"
    return words + (f", {pair.num_tie:.2f} for a tie" if pair.num_tie else "")
