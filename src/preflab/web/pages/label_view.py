"""Builds the data of the labelling page from a turn: the parts of the form, its values, the table of keys."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from preflab.labelling.campaigns import CampaignView, Guideline
from preflab.labelling.options import CampaignOptions
from preflab.labelling.shown_tasks import Turn
from preflab.labelling.submissions import OwnProgress
from preflab.records import Campaign, Completion, Content, Prompt
from preflab.ways.base import Way
from preflab.ways.form import Asked, Group, hint_line
from preflab.ways.registry import way_named
from preflab.web.pages.label_words import progress_words, tie_nudge

SKIP_REASONS = (
    "I do not know enough to judge it",
    "The prompt makes no sense",
    "It upsets me",
    "It does not display properly",
    "Another reason",
)


@dataclass(frozen=True)
class Card:
    """One completion on the page, with its questions."""

    letter: str
    place: int
    completion: Completion
    groups: tuple[Group, ...]
    same_as: str = ""
    """Letter of an earlier completion with the same text; "" if there is none."""


@dataclass(frozen=True)
class TaskView:
    """All data that the labelling page shows for one turn."""

    campaign: Campaign
    options: CampaignOptions
    task_id: str
    labeler_id: str
    prompt: Prompt
    cards: tuple[Card, ...]
    wide: tuple[Group, ...]
    """The questions about all completions together."""
    fields: Mapping[str, str]
    """Field → value: the draft, or the answer that is to be changed."""
    hidden: Mapping[str, str]
    revision: int
    guideline: Guideline
    hint: str
    way: Way[Any]
    """The way of judging, whose template and script make the form."""
    step: int
    fail_box: bool
    keys: tuple[tuple[tuple[str, ...], str], ...]
    progress: tuple[str, ...] = ()
    nudge: str = ""
    last_done: str = ""
    notice: str = ""
    ask_confirm: bool = False
    other_url: str = ""
    status: str = ""
    skip_reasons: tuple[str, ...] = SKIP_REASONS
    submit_words: str = field(default="Submit")


def form_of(turn: Turn) -> Asked:
    """The parts of a turn that its form depends on."""
    options = turn.options
    return Asked(
        options.way, turn.shown_order, options.criteria, options.scale_ends, options.allow_fail, options.polarity > 0
    )  # fmt: skip


def task_view(
    turn: Turn, seen: CampaignView, own: OwnProgress, *, last_done: str = "", back: str = "",
    sent: Mapping[str, str] | None = None, **notes: Any,
) -> TaskView:  # fmt: skip
    """Build the data of the page of one turn.

    Args:
        turn: the task with its shown order.
        seen: the current state of the campaign.
        own: the labeler's own progress.
        last_done: id of the task that "undo" opens again.
        back: `done` if the labeler came from the list of own answers.
        sent: fields of a form that was refused; they stay on the page.
        notes: `notice`, `ask_confirm`, `other_url`, `status` of the page.
    """
    asked = form_of(turn)
    way = way_named(asked.way)
    fields = dict(sent) if sent is not None else initial_fields(turn, asked)
    groups = way.groups(asked)
    draft = turn.draft or {}
    return TaskView(
        campaign=turn.campaign, options=turn.options, task_id=turn.task.id, labeler_id=turn.labeler_id,
        prompt=turn.prompt, cards=make_cards(turn, asked, groups),
        wide=tuple(group for group in groups if group.place is None),
        fields=fields, hidden=hidden_fields(turn, fields, draft, back), revision=turn.revision,
        guideline=seen.guideline, hint=hint_line(way.hint, asked),
        way=way, step=1 if draft.get("step") == 1 else 0,
        fail_box=way.fail_box and asked.allow_fail, keys=make_keys(asked, turn.options.content),
        progress=progress_words(own, seen.num_tasks),
        nudge=tie_nudge(own, turn.options.max_tie_rate_nudge), last_done="" if turn.revision else last_done,
        submit_words="Submit the change" if turn.revision else "Submit", **notes,
    )  # fmt: skip


def make_cards(turn: Turn, asked: Asked, groups: list[Group]) -> tuple[Card, ...]:
    """The completions in the order shown, each with its questions."""
    shown = asked.by_place(turn.completions)
    first: dict[str, str] = {}
    cards = []
    for place, (letter, completion) in enumerate(zip(asked.letters, shown, strict=True)):
        placed = tuple(group for group in groups if group.place == place)
        cards.append(Card(letter, place, completion, placed, first.get(completion.shown, "")))
        first.setdefault(completion.shown, letter)
    return tuple(cards)


def initial_fields(turn: Turn, asked: Asked) -> dict[str, str]:
    """The values of the form: those of the draft, or else of the submitted answer."""
    if turn.draft and isinstance(turn.draft.get("fields"), dict):
        return {str(name): str(value) for name, value in turn.draft["fields"].items()}
    if turn.answer is None:
        return {}
    values = way_named(asked.way).to_form(turn.answer, asked)
    if turn.note:
        values["note"] = turn.note
    if turn.flagged:
        values["flagged"] = "1"
    return values


def hidden_fields(turn: Turn, fields: Mapping[str, str], draft: Mapping[str, Any], back: str) -> dict[str, str]:
    """The hidden fields of the form: the submission's key (the same in every retry), its base revision, the times."""
    return {
        "key": fields.get("key") or secrets.token_hex(16),
        "based_on": fields.get("based_on") or str(turn.revision),
        "guideline_version": str(turn.guideline_version),
        "active_ms": fields.get("active_ms") or read_ms(draft.get("active_ms")),
        "shown_ms": fields.get("shown_ms") or read_ms(draft.get("shown_ms")),
        "back": back,
    }


def read_ms(value: Any) -> str:
    """The number of milliseconds in a draft, as text; "0" for any other value, since browsers can send anything."""
    return str(value) if isinstance(value, int) and value >= 0 else "0"


def make_keys(asked: Asked, content: Content = "plain") -> tuple[tuple[tuple[str, ...], str], ...]:
    """The table of keys of the labelling page: (keys, meaning) per row."""
    last = asked.letters[-1]
    rows: list[tuple[tuple[str, ...], str]] = [
        *(((key.format(num=asked.num),), what.format(last=last)) for key, what in way_named(asked.way).keys),
        (("f",), "F: this completion failed"),
        (tuple(asked.letters[:5].lower()), "go to that completion"),
        (("j", "k"), "next, previous"),
        (("Enter",), "submit, or show what is missing"),
        (("n",), "note (Esc leaves it, Ctrl+Enter submits)"),
        (("g",), "flag for the lead"),
        (("s",), "skip"),
        (("u",), "undo: open the last task again"),
        (("w",), "show all of long texts, or fold them"),
        (("z",), "images at their full size, side by side (Esc leaves them)"),
        (("p",), "play or pause the clip of this completion, or all clips"),
        ((",", "."), "one move back, one move on"),
        (("i",), "instructions"),
        (("?",), "this table"),
    ]
    if asked.num > 5:
        rows.append(((f"Shift + A … {last}",), "go to that completion"))
    clips = content == "playout"
    is_available = {"f": asked.allow_fail, "z": content == "image", "p": clips, ",": clips}
    return tuple(row for row in rows if is_available.get(row[0][0], True))
