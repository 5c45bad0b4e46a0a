"""The bodies of the API's requests and responses, from which OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from preflab.labelling.accounts import Account
from preflab.labelling.assignment import Turn
from preflab.labelling.campaigns import CampaignView
from preflab.labelling.checks import answer_json
from preflab.labelling.members import Member
from preflab.records import Message, Prompt, Span
from preflab.storable import unstorable
from preflab.ways.registry import WAYS
from preflab.web.api.shown_order import as_shown

AnswerJSON = dict[str, Any]
ANSWER = (
    f"By the campaign's way of judging: {', '.join(way.shape for way in WAYS.values())}; all but "
    'rankings may add {"failed": [false, true]}. In the order of `completions` as they were sent to you.'
)


class Shape(BaseModel):
    """A body that refuses unknown keys, and true and false in place of a number."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError(f"{value}, expected a number")
        return value


class MeShape(Shape):
    """Your account."""

    id: str
    labeler_id: str
    name: str
    role: str

    @classmethod
    def of(cls, account: Account) -> MeShape:
        """The account without its address."""
        return cls(id=account.id, labeler_id=account.labeler_id, name=account.name, role=account.role)


class CampaignShape(Shape):
    """A campaign as its labelers may see it."""

    id: str
    name: str
    question: str
    polarity: int = Field(description="1: the question asks for the better completion; −1: for the worse one")
    way: str
    criteria: list[str]
    scale_ends: dict[str, tuple[str, str]]
    content: str
    ask_note: bool
    allow_fail: bool = Field(description="whether a completion can be marked F")
    state: str
    num_tasks: int
    guideline_version: int

    @classmethod
    def of(cls, view: CampaignView) -> CampaignShape:
        """The campaign without gold share, other labelers and costs, which labelers may not see."""
        campaign = view.campaign
        return cls(
            id=campaign.id, name=campaign.name, question=campaign.question, polarity=campaign.polarity,
            way=campaign.way, criteria=list(campaign.criteria),
            scale_ends={name: (ends[0], ends[1]) for name, ends in campaign.scale_ends.items()},
            content=campaign.content, ask_note=campaign.ask_note, allow_fail=view.options.allow_fail,
            state=view.state, num_tasks=view.num_tasks, guideline_version=view.guideline.version,
        )  # fmt: skip


class CampaignMadeShape(CampaignShape):
    """A campaign that was just created."""

    warning: str = Field(description="what this number of labels per task cannot decide; empty if it is suitable")


class CallShape(Shape):
    """A tool call."""

    name: str
    arguments: str = Field(description="a JSON object as text")
    id: str


class MessageShape(Shape):
    """One turn of a conversation."""

    role: str
    content: str
    reasoning: str = Field("", description="the assistant's reasoning before its answer")
    tool_calls: list[CallShape] = []
    name: str = Field(
        "", description="the speaker, or the tool that answers; empty for the assistant, whose name may be a model's"
    )
    tool_call_id: str = Field("", description="for a tool's turn: the id of the call that it answers")

    @classmethod
    def of(cls, message: Message) -> MessageShape:
        """The message without the assistant's name, which labelers may not see."""
        return cls(
            role=message.role, content=message.content, reasoning=message.reasoning,
            tool_calls=[CallShape(name=call.name, arguments=call.arguments, id=call.id) for call in message.tool_calls],
            name="" if message.role == "assistant" else message.name, tool_call_id=message.tool_call_id,
        )  # fmt: skip


class SpanShape(Shape):
    """A part of a completion."""

    role: str
    text: str
    message: MessageShape | None = Field(None, description="the turn, if plain text cannot represent it")


class TurnShape(Shape):
    """A task reserved for you. It names neither models nor ids of completions, which could reveal the model."""

    task_id: str
    campaign_id: str
    question: str
    way: str
    content: str
    prompt: str = Field(description="plain text, or the turns of the conversation one below the other")
    messages: list[MessageShape]
    tools: list[dict[str, Any]] = Field(description="JSON schemas of the functions that may be called")
    completions: list[list[SpanShape]] = Field(
        description="in the order drawn for you, the same in every call; a dialogue has one span per turn of both sides"
    )
    state: str
    expires_at: str
    revision: int = Field(description="your latest revision, 0 before the first; send it as `based_on` of the next")
    answer: AnswerJSON | None = Field(description="your latest answer")
    draft: Mapping[str, Any] | None
    draft_unreadable: bool = Field(False, description="a draft of an older version cannot be read and is left out")
    guideline_version: int

    @classmethod
    def of(cls, turn: Turn) -> TurnShape:
        """The parts of a turn that a labeler may see."""
        return cls(
            task_id=turn.task.id, campaign_id=turn.campaign.id, question=turn.campaign.question, way=turn.campaign.way,
            content=turn.campaign.content, prompt=turn.prompt.shown,
            messages=[MessageShape.of(each) for each in turn.prompt.messages],
            tools=_tools(turn.prompt),
            completions=[[_span(span) for span in turn.completions[index].shown_spans] for index in turn.shown_order],
            state=turn.state, expires_at=str(turn.expires_at or ""),
            revision=turn.revision, draft=turn.draft, draft_unreadable=turn.draft_unreadable,
            answer=_own_answer(turn),
            guideline_version=turn.guideline_version,
        )  # fmt: skip


def _tools(prompt: Prompt) -> list[dict[str, Any]]:
    tools = prompt.columns.get("tools")
    objects = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return [tool for tool in objects if unstorable(tool) is None]  # JSON cannot hold a tool that is nested too deeply


def _span(span: Span) -> SpanShape:
    message = MessageShape.of(span.message) if span.message else None
    return SpanShape(role=span.role, text=span.text, message=message)


def _own_answer(turn: Turn) -> AnswerJSON | None:
    if turn.answer is None:
        return None
    return answer_json(as_shown(turn.answer, turn.shown_order), turn.campaign.way)


class NextShape(Shape):
    """The next task, or the reason why there is none."""

    turn: TurnShape | None
    reason: str = Field(default="", description="why there is none: paused, closed, all_done, all_held, you_did_all")
    num_left: int = Field(default=0, description="tasks of the campaign that still need labels")
    must_read: int | None = Field(default=None, description="version of the instructions to read before the first task")


class JudgmentIn(Shape):
    """A submission."""

    key: str = Field(
        "", max_length=100, description="made by the client, once per submission; or the header Idempotency-Key"
    )
    based_on: int = Field(0, ge=0, description="the revision it is based on; status 409 if there is a newer one")
    answer: AnswerJSON = Field(description=ANSWER)
    active_ms: int = Field(0, ge=0, description="time spent on the task, milliseconds")
    shown_ms: int = Field(0, ge=0, description="time the task was on the screen, milliseconds")
    note: str = Field("", max_length=20_000)
    flagged: bool = False
    guideline_version: int = Field(0, ge=0, description="version of the instructions that was read; 0: the turn's")


class ReceiptShape(Shape):
    """The receipt of a stored submission."""

    judgment_id: str
    revision: int
    surplus: bool = Field(description="stored, but not counted among the labels wanted")
    repeated: bool = Field(description="this key was stored before; nothing was added")


class DraftIn(Shape):
    """An answer in progress, which is stored unchanged."""

    draft: dict[str, Any]
    based_on: int = Field(0, ge=0)


class SkipIn(Shape):
    """The reason for skipping a task."""

    reason: str = Field("", max_length=2000)


class ReadIn(Shape):
    """The version of the instructions that was read."""

    version: int = Field(ge=1)


class GuidelineShape(Shape):
    """Instructions, in Markdown."""

    version: int
    text: str


class DoneShape(Shape):
    """A task that you submitted or skipped."""

    task_id: str
    revision: int
    at: str


class ProgressShape(Shape):
    """Your own progress."""

    num_done: int
    num_skipped: int
    median_seconds: float | None
    tie_rate: float | None
    as_shown_rate: float | None


class CampaignIn(Shape):
    """A new campaign."""

    options: dict[str, Any] = Field(description="the options of `preflab campaign`; unknown keys are refused")
    groups: list[list[str]] = Field(default=[], description="completion ids of each task; each task has one prompt")
    rows: list[dict[str, Any]] = Field(
        default=[],
        description='instead of `groups`: new texts, {"prompt": "…", "completions": ["…", "…"], "models": ["a", "b"]}',
    )
    instructions: str = Field("", max_length=200_000, description="Markdown")
    gold: dict[int, AnswerJSON] = Field(
        default_factory=dict, description="index in `groups` or `rows` → the known answer"
    )


class ChangeIn(Shape):
    """Changed options."""

    revision: int = Field(description="revision of the options it is based on; status 409 if there is a newer one")
    changes: dict[str, Any]


class StateIn(Shape):
    """Open, pause or close a campaign."""

    state: Literal["open", "paused", "closed"]


class InstructionsIn(Shape):
    """A new version of the instructions."""

    text: str = Field(max_length=200_000)


class SummaryShape(Shape):
    """The progress and quality of a campaign, for leads."""

    campaign: CampaignShape
    options: dict[str, Any]
    revision: int = Field(description="revision of the options, which the next change must name")
    num_done: int = Field(description="tasks that have all the wanted labels")
    num_labels: int
    warning: str = Field(description="what this number of labels per task cannot decide; empty if it is suitable")
    agreement: dict[str, Any] = Field(description="shares with intervals over tasks; null if nothing was counted")
    labelers: list[dict[str, Any]] = Field(
        description="reliability, agreement, gold, ties, F, pace of each labeler, by pseudonym"
    )


class InviteIn(Shape):
    """An invitation that can be used once."""

    role: Literal["lead", "adjudicator", "labeler", "ai"] = "labeler"
    campaign_ids: list[str] = Field(
        default=[], description="campaigns it gives access to; empty: all campaigns, including later ones"
    )
    hours: float = Field(72, ge=1 / 60, le=24 * 90, allow_inf_nan=False)


class InviteShape(Shape):
    """The link of an invitation, which cannot be read again later."""

    url: str
    expires_at: str


class ReachIn(Shape):
    """Whether an account may judge in campaigns it was not let into by name."""

    everywhere: bool = Field(
        description="in all campaigns, including later ones, except those open to named people only"
    )


class AccountShape(Shape):
    """An account, for leads."""

    id: str
    labeler_id: str
    name: str = Field(description="empty once erased")
    role: str
    state: str = Field(description="active, revoked or erased")
    everywhere: bool = Field(description="may judge in all campaigns, including later ones")

    @classmethod
    def of(cls, account: Account) -> AccountShape:
        """The account without its address."""
        return cls(
            id=account.id, labeler_id=account.labeler_id, name=account.name, role=account.role, state=account.state,
            everywhere=account.everywhere,
        )  # fmt: skip


class MemberShape(Shape):
    """A person or labeler of a campaign, for leads."""

    account_id: str = Field(description="empty for simulated or imported labelers, which have no account")
    labeler_id: str
    name: str
    role: str
    state: str
    judges: bool = Field(description="may judge in the campaign")
    place: str | None = Field(description="the decision about them in this campaign: in, settles or out; null: none")

    @classmethod
    def of(cls, member: Member) -> MemberShape:
        """The member as leads may see them."""
        return cls(
            account_id=member.account_id, labeler_id=member.labeler_id, name=member.name, role=member.role,
            state=member.state, judges=member.judges, place=member.place,
        )  # fmt: skip
