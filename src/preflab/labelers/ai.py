"""An AI judge: asked about every pair in both orders, disagreement is a tie; rated one criterion at a time.

Two kinds of judge answer the same two questions: `EndpointJudge` reads a text strictly, `LocalJudge` compares the
log-probabilities of the labels, which needs no parsing and works for small models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from preflab.errors import PreflabError
from preflab.labelers.endpoint import Endpoint, Messages, Reply
from preflab.labelers.questions import (
    AGAIN,
    Choice,
    both_orders,
    pair_question,
    ranks_of_choices,
    rating_question,
    read_score,
    read_verdict,
    reasons,
)
from preflab.words import count

MAX_UNREAD = 0.2
"""Share of answers that may stay unreadable; a judge beyond it is no judge."""


@dataclass(frozen=True)
class PairAsked:
    """Two completions of one prompt, in the order shown."""

    question: str
    prompt: str
    first: str
    second: str


@dataclass(frozen=True)
class RatingAsked:
    """One completion and the criterion it is rated by."""

    criterion: str
    prompt: str
    completion: str
    ends: tuple[str, str] | None = None
    """What 1 and 5 mean."""


@dataclass(frozen=True)
class Said:
    """One answer of a judge."""

    choice: Choice | None = None
    """Of a pair; None: could not be read."""
    score: float | None = None
    """Of a rating, 1 to 5; None: could not be read."""
    reasons: str = ""
    confidence: float | None = None
    """P(first) for judges that compare label probabilities."""


class Judge(Protocol):
    """Answers questions, in their order."""

    def compare(self, asked: Sequence[PairAsked], on_done: Callable[[int], None] | None = None) -> list[Said]:
        """Which of two is better, as shown."""
        ...

    def rate(self, asked: Sequence[RatingAsked], on_done: Callable[[int], None] | None = None) -> list[Said]:
        """How many points one completion gets."""
        ...


class EndpointJudge:
    """A chat model that writes reasons and then a line that can be read; an unreadable one is asked once more.

    Raises:
        PreflabError: more than a fifth of the answers could not be read even then.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.num_asked = self.num_unread = 0

    def compare(self, asked: Sequence[PairAsked], on_done: Callable[[int], None] | None = None) -> list[Said]:
        """See `Judge`."""
        questions = [pair_question(a.question, a.prompt, a.first, a.second) for a in asked]
        replies = self._asked(questions, lambda text: read_verdict(text) is not None, on_done)
        return [Said(choice=read_verdict(reply.text), reasons=reasons(reply.text)) for reply in replies]

    def rate(self, asked: Sequence[RatingAsked], on_done: Callable[[int], None] | None = None) -> list[Said]:
        """See `Judge`."""
        questions = [rating_question(a.criterion, a.prompt, a.completion, a.ends) for a in asked]
        replies = self._asked(questions, lambda text: read_score(text) is not None, on_done)
        return [Said(score=read_score(reply.text), reasons=reasons(reply.text)) for reply in replies]

    def _asked(
        self, questions: Sequence[Messages], readable: Callable[[str], bool], on_done: Callable[[int], None] | None
    ) -> list[Reply]:
        replies = self.endpoint.ask_many(questions, on_done)
        unread = [i for i, reply in enumerate(replies) if not readable(reply.text) or reply.finish_reason == "length"]
        again = [
            [*questions[i], {"role": "assistant", "content": replies[i].text}, {"role": "user", "content": AGAIN}]
            for i in unread
        ]
        for i, second in zip(unread, self.endpoint.ask_many(again), strict=True):
            text = f"{reasons(replies[i].text) or replies[i].text.strip()}\n{second.text.strip()}"
            replies[i] = Reply(text, second.finish_reason, 0, 0, 0.0)
        self.num_asked += len(replies)
        self.num_unread += sum(not readable(reply.text) for reply in replies)
        if self.num_asked >= 5 and self.num_unread > MAX_UNREAD * self.num_asked:
            example = next(reply.text for reply in replies if not readable(reply.text))
            raise PreflabError(
                f"the judge {self.endpoint.model}: {self.num_unread:,} of {count(self.num_asked, 'answer')} "
                "cannot be read"
                f" (one of them ends: {example[-80:]!r})",
                "a last line such as `VERDICT: A` or `SCORE: 4`",
                "take a model that follows instructions, raise max_tokens, or judge by label probabilities",
            )
        return replies


def judge_pairs(
    judge: Judge,
    question: str,
    prompt: str,
    texts: Sequence[str],
    on_done: Callable[[int], None] | None = None,
) -> list[tuple[int, int, Choice, str]]:
    """(first, second, verdict, reasons) of every pair of completions that both orders could be read of.

    Every pair is asked in both orders; verdicts that differ are a tie.
    """
    pairs = list(combinations(range(len(texts)), 2))
    there = [PairAsked(question, prompt, texts[i], texts[j]) for i, j in pairs]
    back = [PairAsked(question, prompt, texts[j], texts[i]) for i, j in pairs]
    replies = judge.compare([*there, *back], on_done)
    choices = []
    for (i, j), one, other in zip(pairs, replies[: len(pairs)], replies[len(pairs) :], strict=True):
        if one.choice is not None and other.choice is not None:
            why = "\n---\n".join(text for text in (one.reasons, other.reasons) if text)
            choices.append((i, j, both_orders(one.choice, other.choice), why))
    return choices


def judge_ranking(
    judge: Judge, question: str, prompt: str, texts: Sequence[str], on_done: Callable[[int], None] | None = None
) -> tuple[tuple[int, ...], str] | None:
    """Ranks of the completions and the reasons; None where a pair could not be read: nothing is made up."""
    choices = judge_pairs(judge, question, prompt, texts, on_done)
    if len(choices) < len(texts) * (len(texts) - 1) // 2:
        return None
    ranks = ranks_of_choices(len(texts), [(i, j, choice) for i, j, choice, _ in choices])
    return ranks, "\n\n".join(f"{i + 1} against {j + 1}: {choice}\n{why}".strip() for i, j, choice, why in choices)


def judge_ratings(
    judge: Judge,
    criteria: Sequence[str],
    prompt: str,
    texts: Sequence[str],
    ends: Callable[[str], tuple[str, str] | None] = lambda criterion: None,
    on_done: Callable[[int], None] | None = None,
) -> tuple[dict[str, tuple[float | None, ...]], str]:
    """Criterion → points of each completion (None: unreadable), each criterion asked by itself; and the reasons."""
    asked = [RatingAsked(name, prompt, text, ends(name)) for name in criteria for text in texts]
    replies = judge.rate(asked, on_done)
    num = len(texts)
    scores = {name: tuple(one.score for one in replies[c * num : (c + 1) * num]) for c, name in enumerate(criteria)}
    why = "\n\n".join(f"{a.criterion}: {one.reasons}" for a, one in zip(asked, replies, strict=True) if one.reasons)
    return scores, why
