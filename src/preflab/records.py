"""The records that preflab's packages exchange; each names the records it came from.

Frozen dataclasses without torch and without SQLAlchemy; `store/` maps them to tables.
The id of a prompt, completion or snapshot is the hash of its content (`content_id`). Labelers, campaigns, tasks and
judgments have random ids (`random_id`): the hash of an address could be guessed and would outlive its erasure.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from preflab.messages import Message as Message
from preflab.messages import Role as Role
from preflab.messages import ToolCall as ToolCall
from preflab.messages import shown_turns
from preflab.ways.base import Answer as Answer
from preflab.ways.likert import LikertAnswer as LikertAnswer
from preflab.ways.ranking import RankingAnswer as RankingAnswer
from preflab.ways.registry import WayName
from preflab.ways.side_by_side import SideBySideAnswer as SideBySideAnswer
from preflab.ways.thumbs import ThumbsAnswer as ThumbsAnswer

LabelerKind = Literal["person", "ai", "simulated"]
FinishReason = Literal["stop", "length", "imported"]
Way = WayName
"""The name of a way of judging (`ways`)."""
Content = Literal["plain", "markdown", "code", "chat", "image", "playout"]

ENVIRONMENT = "environment"
"""Column of a dialogue's completion: what its environment gave, {"reward", "turn_rewards", "last_turn", "columns"}."""


def content_id(kind: str, content: Any) -> str:
    """An id made from content: the kind, a dash, and 24 hex digits of SHA-256 over canonical JSON.

    Example:
        >>> content_id("prompt", {"text": "Hi"}) == content_id("prompt", {"text": "Hi"})
        True
    """
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"{kind}-{hashlib.sha256(canonical.encode()).hexdigest()[:24]}"


def random_id(kind: str) -> str:
    """A random id, for records whose id must not be guessable from their content."""
    return f"{kind}-{uuid.uuid4().hex[:24]}"


@dataclass(frozen=True)
class Prompt:
    """What the model is asked: plain text, or a conversation that ends with the user's or a tool's turn.

    Three columns of a conversation are passed to the chat template (`conversations`): `tools`, the functions that may
    be called; `chat_template_kwargs`, further arguments of the template; and `continue_final_message`, true where the
    prompt ends with an assistant's turn that the completion continues.

    Example: `Prompt.make(text="Q: where is my parcel? A:", columns={"topic": "parcel"})`
    """

    id: str
    """Content hash over text, messages and all columns."""
    text: str
    """Plain prompt text; "" when the prompt is a conversation."""
    messages: tuple[Message, ...] = ()
    """The conversation, oldest first; () when the prompt is plain text."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Every other column of the source row (JSON values); reward functions receive them."""
    source: str = ""
    """The origin: file name and line, or data set and row. Not part of the id."""

    @classmethod
    def make(
        cls,
        text: str = "",
        messages: tuple[Message, ...] = (),
        columns: Mapping[str, Any] | None = None,
        source: str = "",
    ) -> Prompt:
        """A prompt whose id is the hash of its text, messages and columns."""
        content = {"text": text, "messages": [m.parts for m in messages], "columns": dict(columns or {})}
        return cls(content_id("prompt", content), text, messages, dict(columns or {}), source)

    @property
    def shown(self) -> str:
        """The prompt as a person reads it: its text, or its turns separated by blank lines."""
        return self.text or shown_turns(self.messages)


@dataclass(frozen=True)
class Span:
    """A part of a completion: written by the policy (learned from) or not (a tool's answer, a user's turn)."""

    text: str
    by_policy: bool = True
    role: Role = "assistant"
    message: Message | None = None
    """The turn behind the span, where plain text cannot hold it; `text` is then the turn as people read it."""

    @classmethod
    def of_turn(cls, message: Message, *, by_policy: bool | None = None) -> Span:
        """A whole turn as a span; `by_policy` None: true for the assistant's turns alone."""
        written = message.role == "assistant" if by_policy is None else by_policy
        return cls(message.shown, written, message.role, message)

    @property
    def parts(self) -> list[Any]:
        """The span as JSON: [text, by_policy, role], and the parts of its turn where it has one."""
        return [self.text, self.by_policy, self.role, *([self.message.parts] if self.message else [])]

    @classmethod
    def from_parts(cls, parts: Sequence[Any]) -> Span:
        """The span that a list from `parts` describes."""
        text, by_policy, role, *turn = parts
        return cls(text, by_policy, role, Message.from_parts(turn[0]) if turn else None)


def spans_of_turns(turns: Sequence[Message], learned: Sequence[bool] | None = None) -> tuple[Span, ...]:
    """A completion's turns as spans; a single plain turn of the assistant becomes a span of text without a turn.

    Args:
        turns: the conversation after the prompt, oldest first.
        learned: for each turn, whether it is learned from; None: every turn of the assistant is.
    """
    flags = learned or [turn.role == "assistant" for turn in turns]
    if len(turns) == 1 and turns[0] == Message("assistant", turns[0].content) and flags[0]:
        return (Span(turns[0].content),)
    return tuple(Span.of_turn(turn, by_policy=flag) for turn, flag in zip(turns, flags, strict=True))


@dataclass(frozen=True)
class Completion:
    """What a model wrote for a prompt.

    The id includes model, seed and index, so two equal texts stay two records.
    """

    id: str
    prompt_id: str
    """The parent."""
    spans: tuple[Span, ...]
    model: str
    """Content id of the model's weights, or the name given by an import."""
    seed: int = 0
    index: int = 0
    """Which of the K completions of this prompt, from 0."""
    finish_reason: FinishReason = "stop"
    """`stop`: the model ended it; `length`: cut at the length limit; `imported`: not known."""
    token_ids: tuple[int, ...] = ()
    """The sampled tokens including the stop token; () when imported as text."""
    logps: tuple[float, ...] = ()
    """Log-probability of each token under the sampling temperature, nats; () when not known."""
    temperature: float = 1.0
    columns: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def make(cls, prompt_id: str, text: str, model: str, seed: int = 0, index: int = 0, **other: Any) -> Completion:
        """A completion of one span (or of `spans`), whose id is the hash of its content."""
        spans = other.pop("spans", (Span(text),))
        content = {
            "prompt": prompt_id,
            "spans": [span.parts for span in spans],
            "model": model,
            "seed": seed,
            "index": index,
            "tokens": list(other.get("token_ids", ())),
        }
        return cls(content_id("completion", content), prompt_id, spans, model, seed, index, **other)

    @property
    def turns(self) -> tuple[Message, ...]:
        """The turns, where plain text cannot hold the completion (tool calls, thinking, several turns); else ()."""
        return tuple(span.message for span in self.spans if span.message is not None)

    @property
    def text(self) -> str:
        """All spans as one text; several turns are separated by blank lines, each after its role."""
        return shown_turns(self.turns) if len(self.turns) > 1 else "".join(span.text for span in self.spans)

    @property
    def last_turn(self) -> str:
        """The environment's turn at the end, which the policy neither read nor learns from; "" if there is none."""
        given = self.columns.get(ENVIRONMENT)
        turn = given.get("last_turn") if isinstance(given, Mapping) else None
        return turn if isinstance(turn, str) else ""

    @property
    def shown_spans(self) -> tuple[Span, ...]:
        """The completion as a person judges it: its spans, then the environment's last turn."""
        turn = self.last_turn
        return (*self.spans, Span.of_turn(Message("user", turn))) if turn else self.spans

    @property
    def shown(self) -> str:
        """`shown_spans` as one text; several turns are separated by blank lines, each after its role."""
        if not self.last_turn:
            return self.text
        return shown_turns([span.message or Message(span.role, span.text) for span in self.shown_spans])


@dataclass(frozen=True)
class Labeler:
    """One who judges: a person, an AI judge or a simulated labeler, all handled alike."""

    id: str
    name: str
    """A pseudonym; it must not identify a person."""
    kind: LabelerKind
    settings: Mapping[str, Any] = field(default_factory=dict)
    """For `ai` and `simulated`: model or utility, prompt version, vices, seed."""


@dataclass(frozen=True)
class Campaign:
    """A question about completions that labelers are asked."""

    id: str
    name: str
    way: Way
    question: str = "Which completion is better?"
    """Each way of judging has its own default question (`ways`)."""
    polarity: int = 1
    """+1: the preferred completion is the better one; -1: the question asked for the worse one."""
    instructions: str = ""
    guideline_version: int = 1
    overlap: int = 3
    """Labels wanted per task."""
    criteria: tuple[str, ...] = ()
    content: Content = "plain"
    """The format of the completions, which decides how they are shown."""
    scale_ends: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Criterion → the words at the low and the high end of its scale: `{"kind": ("rude", "warm")}`."""
    ask_note: bool = False
    """Whether labelers are asked for a note with their reasons."""


@dataclass(frozen=True)
class Task:
    """One prompt with the completions to judge together."""

    id: str
    campaign_id: str
    prompt_id: str
    completion_ids: tuple[str, ...]


@dataclass(frozen=True)
class Judgment:
    """One answer of one labeler to one task: what was shown, the answer, the time it took. Append-only."""

    id: str
    campaign_id: str
    task_id: str
    prompt_id: str
    completion_ids: tuple[str, ...]
    """In the task's order; `answer` is aligned with it."""
    shown_order: tuple[int, ...]
    """Position on the page → index into `completion_ids`: (1, 0) showed the second one first."""
    question: str
    polarity: int
    answer: Answer
    labeler_id: str
    labeler_kind: LabelerKind
    revision: int = 1
    """An edit is stored as a new judgment with the next revision; nothing is overwritten."""
    guideline_version: int = 1
    active_ms: int = 0
    """Time spent working on it, milliseconds; 0 for AI and simulated labelers."""
    created_at: str = ""
    """ISO 8601, UTC."""
    note: str = ""
    flagged: bool = False
    surplus: bool = False
    """True if submitted after the quota was met: stored, but not counted."""
    schema_version: int = 1
    decides: bool = False
    """True for an adjudicator's decision: it settles the pairs that the labelers left open, and is not a label."""
    shown_ms: int = 0
    """Time from first display to submission, milliseconds, pauses included; 0 when not known."""


@dataclass(frozen=True)
class PairOutcome:
    """The labelers' votes on two completions of one preference group (indices into `completion_ids`)."""

    first: int
    second: int
    num_for: float
    """Labelers (weighted by reliability where weights are used) who put `first` above `second`."""
    num_against: float
    num_tie: float
    weight: float = 1.0
    """Weight of this pair in training; a ranking's pairs sum to 1."""

    @property
    def margin(self) -> float:
        """num_for − num_against: positive when `first` is preferred, 0 when undecided."""
        return self.num_for - self.num_against

    @property
    def learned(self) -> bool:
        """Whether it is a training pair: its margin is not 0 and its weight is positive (unresolved pairs have 0)."""
        return self.margin != 0 and self.weight > 0


@dataclass(frozen=True)
class Preference:
    """The consensus of one task's judgments, which training uses: one group, never split between train and test."""

    id: str
    prompt_id: str
    completion_ids: tuple[str, ...]
    ranks: tuple[int | None, ...]
    """Consensus ranks from 1; equal ranks are a tie, None is F (failed: nonsense, irrelevant, unreadable)."""
    pairs: tuple[PairOutcome, ...]
    judgment_ids: tuple[str, ...] = ()
    """The parents."""
    scores: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Criterion → one score per completion (Likert, imported ratings)."""
    thumbs: tuple[float | None, ...] = ()
    """Share of thumbs up per completion."""
    source: str = "human"
    """`human`, `ai`, `simulated`, or the name of the import."""

    @classmethod
    def make(
        cls, prompt_id: str, completion_ids: tuple[str, ...], ranks: tuple[int | None, ...], **other: Any
    ) -> Preference:
        """A preference whose id is the hash of its content."""
        pairs = other.pop("pairs", ())
        content = {
            "prompt": prompt_id,
            "completions": list(completion_ids),
            "ranks": list(ranks),
            "pairs": [[p.first, p.second, *map(float, (p.num_for, p.num_against, p.num_tie, p.weight))] for p in pairs],
            "judgments": sorted(other.get("judgment_ids", ())),
            "scores": {criterion: list(values) for criterion, values in other.get("scores", {}).items()},
            "thumbs": list(other.get("thumbs", ())),
        }
        return cls(content_id("preference", content), prompt_id, completion_ids, ranks, pairs, **other)

    def chosen_rejected(self) -> list[tuple[int, int, float]]:
        """(chosen index, rejected index, weight) of every training pair."""
        return [
            (pair.first, pair.second, pair.weight) if pair.margin > 0 else (pair.second, pair.first, pair.weight)
            for pair in self.pairs
            if pair.learned
        ]


@dataclass(frozen=True)
class Evaluation:
    """One measured value of one model on one set of prompts, with its interval and its parent records."""

    id: str
    measure: str
    model: str
    value: float
    low: float
    high: float
    num: int
    """Prompts behind the value."""
    unit: str = ""
    baseline: str = ""
    """The model compared with, when the value is a difference."""
    completion_ids: tuple[str, ...] = ()
    """The parents."""
