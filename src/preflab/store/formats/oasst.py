"""Open-Assistant's message trees: people's rankings of all replies to one message.

Every message with at least two ranked replies of the assistant becomes one group: the conversation down to it is the
prompt, the replies are the completions, rank 0 of the file becomes rank 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from preflab.records import Completion, Message, Preference, Prompt
from preflab.store.formats.base import Finished, Format, Parsed
from preflab.store.formats.columns import blank, has, is_true, number, peek
from preflab.store.formats.fields import imported, kind_of, pairs_of_ranks, ranks_of_scores
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.rows import Record

ROLES = {"prompter": "user", "assistant": "assistant"}
DELETED = "deleted messages, with what was said below them"
UNRANKED = "replies without a rank"
SINGLE = "messages with fewer than two ranked replies"
ORPHAN = "messages whose parent is not in the file"
Reply = dict[str, Any]


def _tree(row: Row, source: str) -> Parsed:
    root = row.get("prompt")
    if not isinstance(root, dict) or "replies" not in root:
        raise BadRow(f"the column 'prompt' holds {kind_of(root)}", "a message tree: the first message with its replies")
    records: list[Record] = []
    left_out: list[str] = []
    for turns, replies in _messages(root, (), left_out):
        records += _group(turns, replies, source, left_out)
    return Parsed(tuple(records), key=row.get("message_tree_id"), left_out=tuple(left_out))


def _messages(
    message: Reply, before: tuple[Message, ...], left_out: list[str]
) -> Iterator[tuple[tuple[Message, ...], list[Reply]]]:
    """(conversation down to a message, its replies by assistants) for every message; deleted messages are left out."""
    waiting = [(message, before)]
    while waiting:
        current, above = waiting.pop()
        if current.get("deleted"):
            left_out.append(DELETED)
            continue
        turns = (*above, _turn(current))
        replies = current.get("replies") or []
        yield turns, [reply for reply in replies if reply.get("role") == "assistant"]
        waiting += [(reply, turns) for reply in reversed(replies)]


def _turn(message: Reply) -> Message:
    role, words = message.get("role"), message.get("text")
    if role not in ROLES:
        raise BadRow(f"the role {role!r} of message {message.get('message_id')}", "prompter or assistant")
    if not isinstance(words, str) or not words.strip():
        raise BadRow(f"no text in message {message.get('message_id')}", "a text in every message")
    return Message(ROLES[role], words)  # type: ignore[arg-type]


def _group(turns: tuple[Message, ...], replies: list[Reply], source: str, left_out: list[str]) -> list[Record]:
    if not replies:
        return []
    present = [reply for reply in replies if not reply.get("deleted")]
    ranked = [reply for reply in present if _rank(reply) is not None]
    left_out += [UNRANKED] * (len(present) - len(ranked))
    if len(ranked) < 2:
        left_out.append(SINGLE)
        return []
    prompt = Prompt.make(messages=turns, source=source)
    completions = [_completion(prompt, reply, index) for index, reply in enumerate(ranked)]
    ranks = ranks_of_scores([-rank for reply in ranked if (rank := _rank(reply)) is not None])
    ids = tuple(completion.id for completion in completions)
    group = Preference.make(prompt.id, ids, ranks, pairs=pairs_of_ranks(ranks), source="oasst")
    return [prompt, *completions, group]


def _rank(reply: Reply) -> int | None:
    rank = reply.get("rank")
    value = number(rank)
    if value is not None and value.is_integer():  # 1.0 in a Parquet column with gaps, "1" in a table
        rank = int(value)
    if not blank(rank) and (not isinstance(rank, int) or isinstance(rank, bool) or rank < 0):
        raise BadRow(f"the rank {rank!r} of message {reply.get('message_id')}", "0 for the best, 1, 2, … or null")
    return None if blank(rank) else rank


def _completion(prompt: Prompt, reply: Reply, index: int) -> Completion:
    model = str(reply.get("model_name") or "oasst") if reply.get("synthetic") else "oasst-person"
    columns: Reply = {name: reply[name] for name in ("message_id", "lang", "review_count") if name in reply}
    return imported(prompt, _turn(reply).content, model, index, columns)


def _message(row: Row, source: str) -> Parsed:
    """One message of a flat file; the trees are built once all messages are read."""
    _turn(row)
    _rank(row)
    known = ("message_id", "parent_id", "role", "text", "rank", "deleted", "synthetic", "model_name", "lang")
    message = {name: row.get(name) for name in (*known, "review_count") if name in row}
    message |= {name: is_true(message[name]) for name in ("deleted", "synthetic") if name in message}
    if not message.get("message_id"):
        raise BadRow("a message without message_id", "the id that its replies name as parent_id")
    return Parsed((), key=message["message_id"], items=((message, source),))


def _build_trees(messages: list[tuple[Reply, str]]) -> Finished:
    """The groups of the trees that the messages form by `parent_id`; descendants of a missing message are left out."""
    by_id = {message["message_id"]: {**message, "replies": []} for message, _ in messages}
    sources = {message["message_id"]: source for message, source in messages}
    left_out: list[str] = []
    roots = []
    for message in by_id.values():
        parent = message.get("parent_id")
        if blank(parent):
            roots.append(message)
        elif parent in by_id:
            by_id[parent]["replies"].append(message)
        else:
            left_out.append(ORPHAN)
    records: list[Record] = []
    for root in roots:
        for turns, replies in _messages(root, (), left_out):
            records += _group(turns, replies, sources[root["message_id"]], left_out)
    return Finished(records, left_out)


def _is_flat(row: Row) -> bool:
    return has(row, "message_id", "text", "role") and "parent_id" in row


OASST = Format(
    "oasst",
    "message trees with ranked replies: one group per message with two or more",
    _tree,
    lambda row: isinstance(peek(row, "prompt"), dict) and "replies" in row["prompt"],
    needs=("message_tree_id", "prompt"),
    columns="message trees with `rank`",
    holds_objects={"prompt"}.__contains__,
    becomes="a group of K for every message with two ranked replies",
)
OASST_FLAT = Format(
    "oasst-flat",
    "the same trees, one message per row: message_id, parent_id, text, role, rank",
    _message,
    _is_flat,
    finish=_build_trees,
    needs=("message_id", "parent_id", "text", "role", "rank"),
    columns="`message_id`, `parent_id`, `text`, `role`, `rank`",
    becomes="the same",
)
