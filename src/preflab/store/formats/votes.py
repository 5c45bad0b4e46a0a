"""Reads votes on two completions: Stiennon's summary comparisons and Chatbot Arena's battles.

All votes on the same two completions of one prompt are counted into one preference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from preflab.records import Completion, PairOutcome, Preference, Prompt
from preflab.store.formats.asked import Words, completion_of, question_of_turns, read_question, spans_of
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import PROMPTS, blank, column, first, has, number, peek
from preflab.store.formats.fields import imported, kind_of, text
from preflab.store.formats.json_rows import STRICT, BadRow, Row
from preflab.store.formats.pairs import split_dialogues
from preflab.store.formats.turns import Conversation, conversation, is_conversation
from preflab.words import count

TURN = "turn"
"""MT-bench: the number of the judged exchange; Chatbot Arena: the number of exchanges."""
Outcome = Literal["first", "second", "tie", "both_bad"]


@dataclass(frozen=True)
class Vote:
    """One vote on two completions of a prompt."""

    prompt_id: str
    first: str
    second: str
    outcome: Outcome
    source: str


def _count(votes: list[Vote]) -> list[Preference]:
    """One preference per two completions; both are F if more than half of the votes call both bad."""
    groups: dict[tuple[str, str, str, str], list[Outcome]] = {}
    for vote in votes:
        first, second, outcome = vote.first, vote.second, vote.outcome
        if first > second:
            first, second = second, first
            swapped: dict[Outcome, Outcome] = {"first": "second", "second": "first"}
            outcome = swapped.get(outcome, outcome)
        groups.setdefault((vote.prompt_id, first, second, vote.source), []).append(outcome)
    return [_group(*key, outcomes) for key, outcomes in groups.items()]


def _group(prompt_id: str, first: str, second: str, source: str, outcomes: list[Outcome]) -> Preference:
    num_for, num_against, num_tie = (float(outcomes.count(each)) for each in ("first", "second", "tie"))
    if outcomes.count("both_bad") * 2 > len(outcomes):
        return Preference.make(prompt_id, (first, second), (None, None), source=source)
    margin = num_for - num_against
    ranks = (1, 2) if margin > 0 else (2, 1) if margin < 0 else (1, 1)
    pairs = (PairOutcome(0, 1, num_for, num_against, num_tie),)
    return Preference.make(prompt_id, (first, second), ranks, pairs=pairs, source=source)


def _voted(
    prompt: Prompt, first: Completion, second: Completion, outcome: Outcome, source: str, left_out: tuple[str, ...] = ()
) -> Parsed:
    if first.id == second.id:
        raise BadRow("two equal completions", "two different completions")
    vote = Vote(prompt.id, first.id, second.id, outcome, source)
    return Parsed((prompt, first, second), items=(vote,), left_out=left_out)


def _stiennon(row: Row, source: str) -> Parsed:
    prompt = Prompt.make(text=_post(column(row, "info")), columns=_kept(row["info"]), source=source)
    summaries, choice = column(row, "summaries"), number(column(row, "choice"))
    if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(s, dict) for s in summaries):
        raise BadRow(f"the column 'summaries' holds {kind_of(summaries)}", "a list of two summaries")
    if choice not in (0, 1):
        raise BadRow(f"the choice {row['choice']!r}", "0 or 1, the better one of the two summaries")
    first, second = (
        imported(prompt, text(summary, "text"), str(summary.get("policy") or "stiennon"), index=0)
        for summary in summaries
    )
    return _voted(prompt, first, second, "first" if choice == 0 else "second", "stiennon")


def _post(info: Any) -> str:
    """The prompt text of Stiennon et al. 2020, appendix B, for a Reddit post or a news article."""
    if not isinstance(info, dict) or not (info.get("post") or info.get("article")):
        raise BadRow("no post and no article in 'info'", "info with a post (Reddit) or an article (news)")
    if info.get("article"):
        return f"Article: {info['article']}\n\nTL;DR:"
    return (
        f"SUBREDDIT: r/{info.get('subreddit', '')}\n\nTITLE: {info.get('title', '')}\n\nPOST: {info['post']}\n\nTL;DR:"
    )


def _kept(info: Row) -> Row:
    return {name: info[name] for name in ("id", "subreddit", "site") if info.get(name) is not None}


WINNERS: dict[str, Outcome] = {
    "model_a": "first",
    "model_b": "second",
    "response_a": "first",
    "response_b": "second",
    "a": "first",
    "b": "second",
    "tie": "tie",
    "both_good": "tie",
    "tie (bothbad)": "both_bad",
    "both_bad": "both_bad",
    "bothbad": "both_bad",
}
"""The row's value of `winner`, in lower case → outcome; "both good" is a tie."""


def _winner(row: Row) -> Outcome:
    winner = column(row, "winner")
    outcome = WINNERS.get(winner.strip().lower()) if isinstance(winner, str) else None
    if outcome is None:
        raise BadRow(f"the winner {winner!r:.40}", f"one of {', '.join(WINNERS)}")
    return outcome


def _arena(row: Row, source: str) -> Parsed:
    """A vote on two conversations, up to the exchange that the column `turn` names."""
    outcome, num = _winner(row), _num_exchanges(row)
    names = [f"conversation_{side}" for side in "ab"]
    sides = [_up_to(conversation(column(row, name), name), num) for name in names]
    return _battle(row, source, sides[0], sides[1], outcome)


def _num_exchanges(row: Row) -> int | None:
    """The number of exchanges judged, None if not stated: MT-bench's votes on turn 1 are about the first one alone.

    Raises:
        BadRow: not a whole number from 1.
    """
    turn = row.get(TURN)
    if blank(turn):
        return None
    num = number(turn)
    if num is None or num < 1 or num != int(num):
        raise BadRow(f"the turn {turn!r:.40}", "1, 2, …: the number of the exchange that was judged, from 1")
    return int(num)


def _up_to(talk: Conversation, num: int | None) -> Conversation:
    """The first `num` exchanges of a conversation; all of it if None."""
    asked_at = [n for n, turn in enumerate(talk.turns) if turn.role == "user"]
    if num is None or num >= len(asked_at):
        return talk
    cut = asked_at[num]
    return replace(talk, turns=talk.turns[:cut], learned=talk.learned[:cut])


def _arena_rows(row: Row, source: str) -> Parsed:
    """A prompt, two answers and the winner, each a text or turns."""
    outcome = _winner(row)
    words = [completion_of(column(row, name), name) for name in ("response_a", "response_b")]
    question = read_question(row)
    prompt = question.prompt(source, chat=any(each.turns for each in words))
    answers = [imported(prompt, spans_of(each), _model(row, side)) for each, side in zip(words, "ab", strict=True)]
    left_out = (*question.words.left_out, *(reason for each in words for reason in each.left_out))
    return _voted(prompt, answers[0], answers[1], outcome, "chatbot-arena", left_out)


def _arena_wide(row: Row, source: str) -> Parsed:
    """A row of the 55k file: prompt and answers as JSON lists, the winner in three columns of 0 and 1."""
    columns: dict[str, Outcome] = {"winner_model_a": "first", "winner_model_b": "second", "winner_tie": "tie"}
    won = [outcome for name, outcome in columns.items() if str(column(row, name)) in ("1", "1.0", "True", "true")]
    if len(won) != 1:
        raise BadRow(count(len(won), "winner"), f"a 1 in exactly one of {', '.join(columns)}")
    asked_all, first, second = (_listed(row, name) for name in ("prompt", "response_a", "response_b"))
    if not len(asked_all) == len(first) == len(second):
        raise BadRow(
            f"{count(len(asked_all), 'prompt')} and {len(first):,} and {count(len(second), 'answer')}",
            "as many answers as prompts",
        )
    sides = [_talk(asked_all, answers) for answers in (first, second)]
    return _battle(row, source, sides[0], sides[1], won[0])


def _listed(row: Row, name: str) -> list[str]:
    """A list of texts, which may be written as JSON text."""
    value = column(row, name)
    try:
        listed = json.loads(value, **STRICT) if isinstance(value, str) else value
    except json.JSONDecodeError:
        listed = None
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise BadRow(f"the column {name!r} is no JSON list of texts", '["…"]')
    return listed


def _talk(asked_all: list[str], answers: list[str]) -> Conversation:
    both = zip(asked_all, answers, strict=True)
    messages = [turn for q, a in both for turn in ({"role": "user", "content": q}, {"role": "assistant", "content": a})]
    return conversation(messages, "prompt")


def _battle(row: Row, source: str, first: Conversation, second: Conversation, outcome: Outcome) -> Parsed:
    """A vote on two conversations: their common beginning is the prompt, the rest of each is a completion."""
    words = [Words("", side.turns, side.learned, side.left_out) for side in (first, second)]
    shared, one, other = split_dialogues(words[0], words[1], ("conversation_a", "conversation_b"))
    prompt = question_of_turns(row, shared, "conversation_a").prompt(source)
    answers = [imported(prompt, spans_of(each), _model(row, side)) for side, each in (("a", one), ("b", other))]
    return _voted(prompt, answers[0], answers[1], outcome, "chatbot-arena", (*first.left_out, *second.left_out))


def _model(row: Row, side: str) -> str:
    return str(row.get(f"model_{side}") or "arena")


STIENNON = Format(
    "stiennon",
    "comparisons of two summaries: info, summaries, choice; equal pairs are counted together",
    _stiennon,
    lambda row: has(row, "info", "summaries", "choice"),
    finish=_count,
    repeats="votes",
    needs=("info", "summaries", "choice"),
    holds_objects={"info", "summaries", "extra"}.__contains__,
    columns="`info`, `summaries`, `choice`",
    becomes="a group of two, votes counted",
)
ARENA = Format(
    "chatbot-arena",
    "battles: conversation_a, conversation_b, winner; equal pairs are counted together",
    _arena,
    lambda row: has(row, "conversation_a", "conversation_b", "winner") and is_conversation(peek(row, "conversation_a")),
    finish=_count,
    repeats="votes",
    needs=("conversation_a", "conversation_b", "winner"),
    columns="`conversation_a`, `conversation_b`, `winner`",
    becomes="a group of two, votes counted; both bad: two F",
)
ARENA_ROWS = Format(
    "comparisons",
    "prompt, response_a, response_b, winner (model_a, model_b, a, b, tie, both_bad); equal pairs are counted together",
    _arena_rows,
    lambda row: has(row, "response_a", "response_b", "winner") and first(row, PROMPTS) is not None,
    finish=_count,
    repeats="votes",
    needs=("prompt", "response_a", "response_b", "winner"),
    columns="`prompt`, `response_a`, `response_b`, `winner`",
    becomes="a group of two, votes counted; both bad: two F",
)
ARENA_WIDE = Format(
    "chatbot-arena-55k",
    "battles: prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie",
    _arena_wide,
    lambda row: has(row, "prompt", "response_a", "response_b", "winner_tie"),
    finish=_count,
    repeats="votes",
    needs=("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"),
    columns="`prompt`, `response_a`, `response_b`, `winner_…`",
    becomes="a group of two, votes counted",
)
