"""Files of votes on two completions: Stiennon's summary comparisons and Chatbot Arena's battles.

Votes on the same two completions of one prompt are counted together into one group.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from preflab.records import Completion, PairOutcome, Preference, Prompt
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.fields import Turns, column, imported, kind_of, prompt_of_turns, text, turns
from preflab.store.formats.reading import BadRow, Row

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
    """One group per two completions; both are F when most votes call both bad."""
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


def _voted(prompt: Prompt, first: Completion, second: Completion, outcome: Outcome, source: str) -> Parsed:
    if first.id == second.id:
        raise BadRow("two equal completions", "two different completions")
    vote = Vote(prompt.id, first.id, second.id, outcome, source)
    return Parsed((prompt, first, second), items=(vote,))


def _stiennon(row: Row, source: str) -> Parsed:
    prompt = Prompt.make(text=_post(column(row, "info")), columns=_kept(row["info"]), source=source)
    summaries, choice = column(row, "summaries"), column(row, "choice")
    if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(s, dict) for s in summaries):
        raise BadRow(f"the column 'summaries' holds {kind_of(summaries)}", "a list of two summaries")
    if choice not in (0, 1) or isinstance(choice, bool):
        raise BadRow(f"the choice {choice!r}", "0 or 1, the better one of the two summaries")
    first, second = (
        imported(prompt, text(summary, "text"), str(summary.get("policy") or "stiennon"), index=0)
        for summary in summaries
    )
    return _voted(prompt, first, second, "first" if choice == 0 else "second", "stiennon")


def _post(info: Any) -> str:
    """The query of Stiennon et al. 2020, appendix B, for Reddit posts and for news articles."""
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
    "tie": "tie",
    "tie (bothbad)": "both_bad",
    "both_bad": "both_bad",
}


def _arena(row: Row, source: str) -> Parsed:
    winner = column(row, "winner")
    if winner not in WINNERS:
        raise BadRow(f"the winner {winner!r}", f"one of {', '.join(WINNERS)}")
    sides = [turns(column(row, f"conversation_{side}"), f"conversation_{side}") for side in "ab"]
    return _battle(row, source, sides[0], sides[1], WINNERS[winner])


def _arena_wide(row: Row, source: str) -> Parsed:
    """The 55k file: prompt and answers as JSON lists, the winner in three columns of 0 and 1."""
    columns: dict[str, Outcome] = {"winner_model_a": "first", "winner_model_b": "second", "winner_tie": "tie"}
    won = [outcome for name, outcome in columns.items() if str(column(row, name)) in ("1", "1.0", "True")]
    if len(won) != 1:
        raise BadRow(f"{len(won)} winners", f"a 1 in exactly one of {', '.join(columns)}")
    asked, first, second = (_listed(row, name) for name in ("prompt", "response_a", "response_b"))
    if not len(asked) == len(first) == len(second):
        raise BadRow(f"{len(asked)} prompts and {len(first)} and {len(second)} answers", "as many answers as prompts")
    sides = [_talk(asked, answers) for answers in (first, second)]
    return _battle(row, source, sides[0], sides[1], won[0])


def _listed(row: Row, name: str) -> list[str]:
    value = text(row, name)
    try:
        listed = json.loads(value)
    except json.JSONDecodeError:
        listed = None
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise BadRow(f"the column {name!r} is no JSON list of texts", '["…"]')
    return listed


def _talk(asked: list[str], answers: list[str]) -> Turns:
    both = zip(asked, answers, strict=True)
    messages = [turn for q, a in both for turn in ({"role": "user", "content": q}, {"role": "assistant", "content": a})]
    return turns(messages, "prompt")


def _battle(row: Row, source: str, first: Turns, second: Turns, outcome: Outcome) -> Parsed:
    if first[:-1] != second[:-1] or {first[-1].role, second[-1].role} != {"assistant"}:
        raise BadRow(
            "the conversations differ before the last turn", "conversations that differ in the last turn alone"
        )
    prompt = prompt_of_turns(first[:-1], "conversation_a", source)
    answers = [
        imported(prompt, side[-1].content, str(row.get(f"model_{name}") or "arena"))
        for name, side in (("a", first), ("b", second))
    ]
    return _voted(prompt, answers[0], answers[1], outcome, "chatbot-arena")


STIENNON = Format(
    "stiennon",
    "comparisons of two summaries: info, summaries, choice; equal pairs are counted together",
    _stiennon,
    lambda row: {"info", "summaries", "choice"} <= set(row),
    finish=_count,
)
ARENA = Format(
    "chatbot-arena",
    "battles: conversation_a, conversation_b, winner; equal pairs are counted together",
    _arena,
    lambda row: {"conversation_a", "conversation_b", "winner"} <= set(row),
    finish=_count,
)
ARENA_WIDE = Format(
    "chatbot-arena-55k",
    "battles: prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie",
    _arena_wide,
    lambda row: {"prompt", "response_a", "response_b", "winner_tie"} <= set(row),
    finish=_count,
)
