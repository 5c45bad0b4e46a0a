"""What every way of judging has: the answer that is given in it (`Answer`), and the way itself (`Way`).

A file beside this one that defines `WAY` is a way of judging (`registry`). Nobody else asks which way it is: an answer
is read through the views below, and a way is asked for its check, its words and its form.
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
    """What a labeler said of the completions of one task, aligned with the judgment's `completion_ids`.

    A subclass with a field `failed` (true where a completion is F; () = none) has its marks read from it.
    """

    @property
    @abstractmethod
    def stored_as(self) -> str:
        """The `way` that it is stored under."""

    @property
    def way(self) -> str:
        """The way of judging that it comes from, as far as the answer itself tells."""
        return self.stored_as

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Its fields as they are stored, without `way`; what is empty is left out."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: Json) -> Self:
        """The answer that `to_json` wrote; KeyError or TypeError where a field is missing or no list."""

    @abstractmethod
    def reordered(self, places: Sequence[int]) -> Self:
        """The answer about the completions in another order: entry i is the one that was at `places[i]`."""

    @abstractmethod
    def levels(self, num: int) -> list[float | None]:
        """One number per completion, higher = preferred; None takes part in no pair."""

    def votes(self, num: int, criterion: str | None = None) -> list[Outcome]:
        """Its votes on pairs, as they were given, F and polarity left to the reader.

        Args:
            num: completions of the task.
            criterion: which one, for answers that have a vote for each (`criteria`).

        Raises:
            WrongAnswer: an answer that does not fit so many completions.
        """
        return votes_of_levels(self.levels(num))

    @abstractmethod
    def words(self, letters: Letters) -> str:
        """The answer in one line, in the letters of the page."""

    # Views: what a reader may find in an answer, whatever the way of judging.

    @property
    def failures(self) -> tuple[bool, ...]:
        """True where a completion was marked F; () = none."""
        return tuple(getattr(self, "failed", ()))

    @property
    def ranks_given(self) -> Ranks | None:
        """The ranking, from 1 for what was asked for most; None where completions are not ranked."""
        return None

    @property
    def ratings(self) -> Scores:
        """Scores of each completion by itself; {} where none were asked for."""
        return {}

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria by each of which it orders the completions; () where it gives one order."""
        return ()

    @property
    def verdicts(self) -> tuple[bool | None, ...]:
        """Good or bad of each completion by itself; () where it was not asked."""
        return ()

    def with_ratings(self, scores: Mapping[str, Sequence[float | None]]) -> Self:
        """The same with other scores in place of its `ratings`."""
        return self

    def turned(self) -> Self:
        """The same with scores and verdicts read from the other end of their scales; orders stay as they are."""
        return self

    def marks(self, num: int) -> tuple[bool, ...]:
        """One mark for each of the `num` completions: whether it is F.

        Raises:
            WrongAnswer: another number of marks.
        """
        failed = self.failures or (False,) * num
        check_length("fail marks", failed, num)
        return failed


class Rules(Protocol):
    """What a campaign says about its answers."""

    @property
    def criteria(self) -> tuple[str, ...]:
        """What scores are given for."""

    @property
    def allow_fail(self) -> bool:
        """Whether a completion can be marked F."""


class Seen(Protocol):
    """The completions of a task as a simulated labeler sees them, the better or the worse one being asked for.

    Each is asked at most once per answer: what a labeler sees is drawn when it is asked for.
    """

    def ranks(self) -> Ranks:
        """A ranking from 1 for what is asked for most; equal = tie, None = F."""

    def scores(self, top: int, *, own_noise: bool = False) -> Ranks:
        """Scores from 1 to `top`, None for F; with `own_noise` those of two criteria differ a little."""

    def ranks_by_scores(self) -> Ranks:
        """The ranking of one who has scored before."""

    def verdicts(self) -> tuple[bool | None, ...]:
        """Good or bad of each; None for F."""

    def failed(self) -> tuple[bool, ...]:
        """Which are F, of one who scores or says good or bad; () = none."""


A = TypeVar("A", bound=Answer)


class Way(ABC, Generic[A]):
    """A way of judging: what is asked, what an answer is, and how the page asks for it."""

    name: ClassVar[str]
    place: ClassVar[int]
    """Where it stands in lists; smaller first."""
    answer: type[Answer]

    about: ClassVar[str]
    """What labelers do, as a lead reads it in a list."""
    questions: ClassVar[tuple[str, str]]
    """What is asked where nobody wrote a question: for the better completion, and for the worse one."""
    task: ClassVar[str]
    """First sentences of the instructions; ends with a blank."""
    ties: ClassVar[str]
    """What the instructions say of ties."""

    fields: ClassVar[frozenset[str]]
    """Keys that an answer may have as JSON."""
    example: ClassVar[str]
    """An answer as JSON, for errors."""
    shape: ClassVar[str]
    """The answer's JSON, as the API describes it."""

    least: ClassVar[int] = 2
    """Completions a task has at least; 1: one can be judged without another."""
    most: ClassVar[int | None] = None
    """Completions a task has at most, and then exactly; more of a prompt make a task of every so many."""
    by_criteria: ClassVar[bool] = False
    """Whether a campaign names criteria, by each of which the answers order the completions."""
    asked_of_ai: ClassVar[Literal["pairs", "points"] | None] = None
    """How an AI judge is asked: every pair, for a ranking; or points on each criterion; None: it cannot be asked."""

    hint: ClassVar[str]
    """What to do, in a sentence under the question; `{first}` says what rank 1 is."""
    keys: ClassVar[tuple[tuple[str, str], ...]]
    """Number keys and what they say, for the table of keys; `{num}` is K, `{last}` its letter."""
    fail_box: ClassVar[bool] = True
    """Whether a box per completion marks it as failed."""
    num_steps: ClassVar[int] = 1
    next_words: ClassVar[str] = ""
    """With two steps: what leads to the second."""

    @property
    def stored_as(self) -> str:
        """The `way` that its answers are stored under."""
        return self.name

    @property
    def template(self) -> str:
        """What the page shows of it, among the web's templates."""
        return f"label/ways/{self.name}.html.j2"

    @property
    def script(self) -> str:
        """The script that the page starts with, among the web's static files."""
        return f"way-{self.name}.js"

    def scales(self, criteria: Sequence[str]) -> tuple[str, ...]:
        """The scales whose ends a campaign may put into words."""
        return tuple(criteria)

    def groups_of(self, completion_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """The completions of one prompt as they are judged together; too few of them stay one group."""
        if self.most is None:
            return [tuple(completion_ids)]
        return list(combinations(completion_ids, min(self.most, len(completion_ids))))

    def check_size(self, num: int) -> None:
        """Refuse a task of too few or too many completions.

        Raises:
            WrongAnswer: fewer than `least`, or more than `most`.
        """
        if num < self.least:
            raise WrongAnswer(count(num, "completion"), f"at least {self.least} where they are judged by {self.name}")
        if self.most is not None and num > self.most:
            raise WrongAnswer(count(num, "completion"), f"{self.most} where they are judged by {self.name}")

    @abstractmethod
    def check(self, rules: Rules, num: int, json: Json) -> A:
        """The answer of this JSON, whose keys are among `fields`, to a task of `num` completions.

        Raises:
            WrongAnswer: a field that is missing or out of range, by name.
        """

    def to_json(self, answer: A) -> dict[str, Any]:
        """The JSON that `check` turns into this answer."""
        return {name: value for name, value in answer.to_json().items() if name in self.fields}

    @abstractmethod
    def groups(self, asked: Asked) -> list[Group]:
        """The questions of the form, in the order of the page."""

    @abstractmethod
    def from_form(self, asked: Asked, fields: Fields) -> dict[str, Any]:
        """What the form sent → the answer's JSON in the task's order, for `check`."""

    @abstractmethod
    def to_form(self, answer: A, asked: Asked) -> dict[str, str]:
        """An answer → the form's fields, to open it again for a change."""

    @abstractmethod
    def simulated(self, seen: Seen, criteria: Sequence[str]) -> A:
        """What a simulated labeler answers."""


def votes_of_levels(levels: Sequence[float | None]) -> list[Outcome]:
    """Votes on every pair from a level per completion, higher = preferred; None takes no part."""
    levelled = [(i, level) for i, level in enumerate(levels) if level is not None]
    return [(i, j, (a > b) - (a < b)) for (i, a), (j, b) in combinations(levelled, 2)]


def one_against_all(chosen: int, num: int, outcome: int) -> list[Outcome]:
    """K − 1 votes: the chosen one is better (`outcome` 1) or worse (−1) than each other one."""
    others = [i for i in range(num) if i != chosen]
    return [(chosen, i, outcome) if chosen < i else (i, chosen, -outcome) for i in others]


def check_length(what: str, values: Sized, num: int) -> None:
    """Refuse what does not have one entry per completion.

    Raises:
        WrongAnswer: another number of entries.
    """
    if len(values) != num:
        raise WrongAnswer(f"{len(values)} {what}", f"one for each of its {count(num, 'completion')}")


def moved(values: Sequence[T], places: Sequence[int]) -> tuple[T, ...]:
    """Entry i is `values[places[i]]`; () stays ()."""
    return tuple(values[place] for place in places) if values else ()


def moved_scores(scores: Mapping[str, Sequence[T]], places: Sequence[int]) -> dict[str, tuple[T, ...]]:
    """`moved` for each criterion."""
    return {name: moved(values, places) for name, values in scores.items()}


def listed_scores(scores: Mapping[str, Sequence[T]]) -> dict[str, list[T]]:
    """Scores as JSON."""
    return {name: list(values) for name, values in scores.items()}


def tupled_scores(scores: Mapping[str, Sequence[T]]) -> dict[str, tuple[T, ...]]:
    """Scores out of JSON."""
    return {name: tuple(values) for name, values in scores.items()}


def with_failed(data: dict[str, Any], failed: Sequence[bool]) -> dict[str, Any]:
    """The JSON with its fail marks, where there are any."""
    return data | ({"failed": list(failed)} if failed else {})


def failed_words(said: str, failed: Sequence[bool], letters: Letters) -> str:
    """`A is better · F: B`: what was said, and what was marked F."""
    names = sorted(letters[i] for i, mark in enumerate(failed) if mark)
    return said + (f" · F: {', '.join(names)}" if names else "")


def marks_of(ranks: Sequence[int | None]) -> tuple[bool, ...]:
    """Which have no rank (F); () where none is without."""
    marks = tuple(rank is None for rank in ranks)
    return marks if any(marks) else ()
