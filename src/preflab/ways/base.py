"""The base classes of all ways of judging: `Answer`, an answer given by a labeler, and `Way`, the way of judging.

Every module of this folder that defines `WAY` is a way of judging (`registry`). Other code never branches on the name
of a way: it reads answers through the properties of `Answer`, and gets checks, texts and forms from `Way`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

from preflab.errors import PreflabError
from preflab.ways.form import Asked, Fields, Group
from preflab.words import count

Json = Mapping[str, Any]
Ranks = tuple[int | None, ...]
Scores = Mapping[str, tuple[int | None, ...]]
"""Criterion → one score per completion."""
Outcome = tuple[int, int, int]
"""(first, second, outcome), first < second: +1 where `first` is preferred, −1 where `second` is, 0 for a tie."""
Letters = Mapping[int, str]
"""Index of a completion → its letter on the page."""
T = TypeVar("T")


class WrongAnswer(PreflabError):
    """An answer that does not fit its completions or its way of judging."""


@dataclass(frozen=True)
class Answer(ABC):
    """A labeler's answer about the completions of one task, aligned with the judgment's `completion_ids`.

    If a subclass has a field `failed` (True where a completion is F; () = none), `failures` returns it.
    """

    @property
    @abstractmethod
    def stored_as(self) -> str:
        """The name of the way under which the answer is stored."""

    @property
    def way(self) -> str:
        """The name of the way of judging, as far as the answer alone reveals it."""
        return self.stored_as

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The fields as they are stored, without `way`; empty fields may be left out."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: Json) -> Self:
        """The answer that `to_json` wrote; KeyError or TypeError if a field is missing or not a list."""

    @abstractmethod
    def reordered(self, places: Sequence[int]) -> Self:
        """The same answer for the completions in another order: the new entry i is the old entry `places[i]`."""

    @abstractmethod
    def levels(self, num: int) -> list[float | None]:
        """One number per completion, higher = preferred; a completion with None gets no votes."""

    def votes(self, num: int, criterion: str | None = None) -> list[Outcome]:
        """The votes on pairs as given; the caller applies fail marks and polarity.

        Args:
            num: number of completions of the task.
            criterion: the criterion to vote by, for answers that order the completions by several (`criteria`).

        Raises:
            WrongAnswer: the answer does not fit this number of completions.
        """
        return votes_of_levels(self.levels(num))

    @abstractmethod
    def words(self, letters: Letters) -> str:
        """The answer in one line, with the letters that the page shows for the completions."""

    # The properties below can be read of any answer, whatever the way of judging.

    @property
    def failures(self) -> tuple[bool, ...]:
        """True where a completion was marked F; () = none."""
        return tuple(getattr(self, "failed", ()))

    @property
    def ranks_given(self) -> Ranks | None:
        """The ranking, 1 for the completion that fits the question best; None if the way does not rank."""
        return None

    @property
    def ratings(self) -> Scores:
        """The scores per criterion and completion; {} if the way does not score."""
        return {}

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria, each of which orders the completions; () if the answer gives a single order."""
        return ()

    @property
    def verdicts(self) -> tuple[bool | None, ...]:
        """True (good) or False (bad) for each completion; () if the way does not ask for it."""
        return ()

    def with_ratings(self, scores: Mapping[str, Sequence[float | None]]) -> Self:
        """The same answer with other scores in place of its `ratings`."""
        return self

    def turned(self) -> Self:
        """The same answer with scores and verdicts reversed; rankings and choices stay as they are."""
        return self

    def marks(self, num: int) -> tuple[bool, ...]:
        """Whether each of the `num` completions is marked F.

        Raises:
            WrongAnswer: the answer has another number of marks.
        """
        failed = self.failures or (False,) * num
        check_length("fail marks", failed, num)
        return failed


class Rules(Protocol):
    """The options of a campaign that its answers must follow."""

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria that are scored."""

    @property
    def allow_fail(self) -> bool:
        """Whether a completion can be marked F."""


class Seen(Protocol):
    """The completions of a task as a simulated labeler perceives them, with the polarity of the campaign applied.

    Noise is drawn when a method is called, so call each method at most once per answer.
    """

    def ranks(self) -> Ranks:
        """Ranks; 1 is the completion that fits the question best, equal ranks are a tie, None is F."""

    def scores(self, top: int, *, own_noise: bool = False) -> Ranks:
        """Scores from 1 to `top`, None for F; `own_noise` adds noise, so that criteria differ slightly."""

    def ranks_by_scores(self) -> Ranks:
        """Ranks consistent with the scores."""

    def verdicts(self) -> tuple[bool | None, ...]:
        """True (good) or False (bad) for each completion; None for F."""

    def failed(self) -> tuple[bool, ...]:
        """True where a completion is F, for ways that score or give verdicts; () = none."""


A = TypeVar("A", bound=Answer)


class Way(ABC, Generic[A]):
    """A way of judging: its questions, its answers, and its form on the labelling page."""

    name: ClassVar[str]
    place: ClassVar[int]
    """Position in lists; smaller comes first."""
    answer: type[Answer]

    about: ClassVar[str]
    """What labelers do, in a lead's list of ways."""
    questions: ClassVar[tuple[str, str]]
    """The default questions: for the better completion, and for the worse one."""
    task: ClassVar[str]
    """First sentences of the instructions; ends with a space."""
    ties: ClassVar[str]
    """The sentences about ties in the instructions."""

    fields: ClassVar[frozenset[str]]
    """Keys that the JSON of an answer may have."""
    example: ClassVar[str]
    """An answer as JSON, for error messages."""
    shape: ClassVar[str]
    """The form of an answer's JSON, for the documentation of the API."""

    least: ClassVar[int] = 2
    """Smallest number of completions of a task; 1 if a completion can be judged alone."""
    most: ClassVar[int | None] = None
    """Largest number of completions of a task; every subset of this size of a prompt's completions is a task."""
    by_criteria: ClassVar[bool] = False
    """Whether a campaign needs criteria; the answers then order the completions by each of them."""
    asked_of_ai: ClassVar[Literal["pairs", "points"] | None] = None
    """How an AI judge answers: `pairs`: compares every pair; `points`: rates each criterion; None: not at all."""

    hint: ClassVar[str]
    """An instruction in one sentence, shown under the question; `{first}` is replaced by the meaning of rank 1."""
    keys: ClassVar[tuple[tuple[str, str], ...]]
    """Number keys and their meanings, for the table of keys; `{num}` is K, `{last}` the last letter."""
    fail_box: ClassVar[bool] = True
    """Whether each completion has a box that marks it F."""
    num_steps: ClassVar[int] = 1
    next_words: ClassVar[str] = ""
    """For a form in two steps: the label of the button that leads to the second."""

    @property
    def stored_as(self) -> str:
        """The name under which answers of this way are stored."""
        return self.name

    @property
    def template(self) -> str:
        """Name of the template of the form, among the web's templates."""
        return f"label/ways/{self.name}.html.j2"

    @property
    def script(self) -> str:
        """Name of the script of the form, among the web's static files."""
        return f"way-{self.name}.js"

    def scales(self, criteria: Sequence[str]) -> tuple[str, ...]:
        """The scales whose ends a campaign may name (`scale_ends`)."""
        return tuple(criteria)

    def groups_of(self, completion_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Split the completions of one prompt into the groups that are judged together; too few stay one group."""
        if self.most is None:
            return [tuple(completion_ids)]
        return list(combinations(completion_ids, min(self.most, len(completion_ids))))

    def check_size(self, num: int) -> None:
        """Refuse a task of too few or too many completions.

        Raises:
            WrongAnswer: there are fewer than `least` or more than `most`.
        """
        if num < self.least:
            raise WrongAnswer(count(num, "completion"), f"at least {self.least} where they are judged by {self.name}")
        if self.most is not None and num > self.most:
            raise WrongAnswer(count(num, "completion"), f"{self.most} where they are judged by {self.name}")

    @abstractmethod
    def check(self, rules: Rules, num: int, json: Json) -> A:
        """Check the JSON of an answer to a task of `num` completions, and return the answer.

        The caller has checked that all keys are in `fields`.

        Raises:
            WrongAnswer: a field is missing or out of range; the message names it.
        """

    def to_json(self, answer: A) -> dict[str, Any]:
        """The JSON that `check` turns into this answer."""
        return {name: value for name, value in answer.to_json().items() if name in self.fields}

    @abstractmethod
    def groups(self, asked: Asked) -> list[Group]:
        """The questions of the form, in their order on the page."""

    @abstractmethod
    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """Turn the fields of the form into the answer's JSON in the task's order, for `check`."""

    @abstractmethod
    def to_form(self, answer: A, asked: Asked) -> dict[str, str]:
        """Turn an answer into the fields of the form, to open it again for a change."""

    @abstractmethod
    def simulated(self, seen: Seen, criteria: Sequence[str]) -> A:
        """The answer of a simulated labeler."""


def votes_of_levels(levels: Sequence[float | None]) -> list[Outcome]:
    """The votes on every pair, from one level per completion, higher = preferred; None gets no votes."""
    levelled = [(i, level) for i, level in enumerate(levels) if level is not None]
    return [(i, j, (a > b) - (a < b)) for (i, a), (j, b) in combinations(levelled, 2)]


def one_against_all(chosen: int, num: int, outcome: int) -> list[Outcome]:
    """K − 1 votes: the chosen completion is better (`outcome` 1) or worse (−1) than each of the others."""
    others = [i for i in range(num) if i != chosen]
    return [(chosen, i, outcome) if chosen < i else (i, chosen, -outcome) for i in others]


def check_length(what: str, values: Sized, num: int) -> None:
    """Refuse a sequence that does not have one entry per completion.

    Raises:
        WrongAnswer: there is another number of entries.
    """
    if len(values) != num:
        raise WrongAnswer(f"{len(values)} {what}", f"one for each of its {count(num, 'completion')}")


def reorder(values: Sequence[T], places: Sequence[int]) -> tuple[T, ...]:
    """Reorder values: entry i of the result is `values[places[i]]`; () stays ()."""
    return tuple(values[place] for place in places) if values else ()


def reorder_scores(scores: Mapping[str, Sequence[T]], places: Sequence[int]) -> dict[str, tuple[T, ...]]:
    """`reorder` for each criterion."""
    return {name: reorder(values, places) for name, values in scores.items()}


def scores_to_json(scores: Mapping[str, Sequence[T]]) -> dict[str, list[T]]:
    """Scores as JSON."""
    return {name: list(values) for name, values in scores.items()}


def scores_from_json(scores: Mapping[str, Sequence[T]]) -> dict[str, tuple[T, ...]]:
    """Scores from JSON."""
    return {name: tuple(values) for name, values in scores.items()}


def add_failed(data: dict[str, Any], failed: Sequence[bool]) -> dict[str, Any]:
    """The JSON of an answer with its fail marks added, if there are any."""
    return data | ({"failed": list(failed)} if failed else {})


def add_failed_words(sentence: str, failed: Sequence[bool], letters: Letters) -> str:
    """The sentence with the completions marked F added: `A is better · F: B`."""
    names = sorted(letters[i] for i, mark in enumerate(failed) if mark)
    return sentence + (f" · F: {', '.join(names)}" if names else "")


def marks_of(ranks: Sequence[int | None]) -> tuple[bool, ...]:
    """True where a completion has no rank (F); () if all have one."""
    marks = tuple(rank is None for rank in ranks)
    return marks if any(marks) else ()
