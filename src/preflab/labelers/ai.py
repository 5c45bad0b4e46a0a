"""AI judges: every pair is compared in both orders, and every completion is rated on one criterion at a time.

Two verdicts on a pair that disagree count as a tie. `EndpointJudge` parses the text that a chat model writes.
`LocalJudge` compares the log-probabilities of the labels, which needs no parsing and works for small models.
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
    combine_orders,
    pair_question,
    rank_by_choices,
    rating_question,
    read_reasons,
    read_score,
    read_verdict,
)
from preflab.words import count

MAX_UNREAD = 0.2
"""Largest share of answers that may stay unreadable; a judge above it is refused."""


@dataclass(frozen=True)
class PairAsked:
    """A question about two completions of one prompt, in the order shown."""

    question: str
    prompt: str
    first: str
    second: str


@dataclass(frozen=True)
class RatingAsked:
    """A question about one completion: how well it meets one criterion."""

    criterion: str
    prompt: str
    completion: str
    ends: tuple[str, str] | None = None
    """The meanings of 1 and of 5; None: the usual ones."""


@dataclass(frozen=True)
class JudgeAnswer:
    """One answer of a judge."""

    choice: Choice | None = None
    """The verdict on a pair; None where it could not be read."""
    score: float | None = None
    """The score of a rating, 1 to 5; None where it could not be read."""
    reasons: str = ""
    confidence: float | None = None
    """P(first) for judges that compare label probabilities."""


class Judge(Protocol):
    """Answers questions and returns the answers in the order of the questions."""

    def compare(self, asked: Sequence[PairAsked], on_done: Callable[[int], None] | None = None) -> list[JudgeAnswer]:
        """Say of each pair whether the completion shown first or the one shown second is better."""
        ...

    def rate(self, asked: Sequence[RatingAsked], on_done: Callable[[int], None] | None = None) -> list[JudgeAnswer]:
        """Score each completion by its criterion, from 1 to 5."""
        ...


class EndpointJudge:
    """A chat model that writes its reasons and, as the last line, its verdict; asked once more if that is unreadable.

    Raises:
        PreflabError: more than a fifth of the answers are unreadable after the second attempt.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.num_asked = self.num_unread = 0

    def compare(self, asked: Sequence[PairAsked], on_done: Callable[[int], None] | None = None) -> list[JudgeAnswer]:
        """See `Judge`."""
        questions = [pair_question(a.question, a.prompt, a.first, a.second) for a in asked]
        replies = self._ask(questions, lambda text: read_verdict(text) is not None, on_done)
        return [JudgeAnswer(choice=read_verdict(reply.text), reasons=read_reasons(reply.text)) for reply in replies]

    def rate(self, asked: Sequence[RatingAsked], on_done: Callable[[int], None] | None = None) -> list[JudgeAnswer]:
        """See `Judge`."""
        questions = [rating_question(a.criterion, a.prompt, a.completion, a.ends) for a in asked]
        replies = self._ask(questions, lambda text: read_score(text) is not None, on_done)
        return [JudgeAnswer(score=read_score(reply.text), reasons=read_reasons(reply.text)) for reply in replies]

    def _ask(
        self, questions: Sequence[Messages], readable: Callable[[str], bool], on_done: Callable[[int], None] | None
    ) -> list[Reply]:
        """Ask every question, and once more where the reply is unreadable or was cut at the length limit."""
        replies = self.endpoint.ask_many(questions, on_done)
        unread = [i for i, reply in enumerate(replies) if not readable(reply.text) or reply.finish_reason == "length"]
        repeated_questions = [
            [*questions[i], {"role": "assistant", "content": replies[i].text}, {"role": "user", "content": AGAIN}]
            for i in unread
        ]
        for i, second in zip(unread, self.endpoint.ask_many(repeated_questions), strict=True):
            text = f"{read_reasons(replies[i].text) or replies[i].text.strip()}\n{second.text.strip()}"
            replies[i] = Reply(text, second.finish_reason, 0, 0, 0.0)
        self.num_asked += len(replies)
        self.num_unread += sum(not readable(reply.text) for reply in replies)
        if self.num_asked >= 5 and self.num_unread > MAX_UNREAD * self.num_asked:
            example = next(reply.text for reply in replies if not readable(reply.text))
            raise PreflabError(
                f"the judge {self.endpoint.model}: {self.num_unread:,} of {count(self.num_asked, 'answer')} "
                "cannot be read"
                f" (the first of them ends with {example[-80:]!r})",
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
    """Compare every pair of completions in both orders, and return (first, second, verdict, reasons) for each pair.

    `first` and `second` are indices of `texts`. A pair whose two verdicts disagree is a tie. A pair is left out if
    one of its two answers is unreadable.
    """
    pairs = list(combinations(range(len(texts)), 2))
    forward = [PairAsked(question, prompt, texts[i], texts[j]) for i, j in pairs]
    swapped = [PairAsked(question, prompt, texts[j], texts[i]) for i, j in pairs]
    replies = judge.compare([*forward, *swapped], on_done)
    choices = []
    for (i, j), reply, reply_swapped in zip(pairs, replies[: len(pairs)], replies[len(pairs) :], strict=True):
        if reply.choice is not None and reply_swapped.choice is not None:
            why = "\n---\n".join(text for text in (reply.reasons, reply_swapped.reasons) if text)
            choices.append((i, j, combine_orders(reply.choice, reply_swapped.choice), why))
    return choices


def judge_ranking(
    judge: Judge, question: str, prompt: str, texts: Sequence[str], on_done: Callable[[int], None] | None = None
) -> tuple[tuple[int, ...], str] | None:
    """Compare every pair, and return the ranks of the completions and the reasons; None if any pair is unreadable."""
    choices = judge_pairs(judge, question, prompt, texts, on_done)
    if len(choices) < len(texts) * (len(texts) - 1) // 2:
        return None
    ranks = rank_by_choices(len(texts), [(i, j, choice) for i, j, choice, _ in choices])
    return ranks, "\n\n".join(f"{i + 1} against {j + 1}: {choice}\n{why}".strip() for i, j, choice, why in choices)


def judge_ratings(
    judge: Judge,
    criteria: Sequence[str],
    prompt: str,
    texts: Sequence[str],
    ends: Callable[[str], tuple[str, str] | None] = lambda criterion: None,
    on_done: Callable[[int], None] | None = None,
) -> tuple[dict[str, tuple[float | None, ...]], str]:
    """Rate every completion on each criterion separately.

    Returns (criterion → the score of each completion, None where unreadable; the reasons).
    """
    asked = [RatingAsked(name, prompt, text, ends(name)) for name in criteria for text in texts]
    replies = judge.rate(asked, on_done)
    num = len(texts)
    scores = {name: tuple(r.score for r in replies[c * num : (c + 1) * num]) for c, name in enumerate(criteria)}
    why = "\n\n".join(f"{a.criterion}: {r.reasons}" for a, r in zip(asked, replies, strict=True) if r.reasons)
    return scores, why
