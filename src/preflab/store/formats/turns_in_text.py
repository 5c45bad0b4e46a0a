"""Parses turns in a text, in JSON or in Python's notation; turns that cannot be parsed are refused.

`DataFrame.to_csv` writes a column of turns as Python's `repr`, or as numpy prints an array, without commas.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from preflab.store.formats.json_rows import STRICT, BadRow, plain

BEGINS = re.compile(r"\s*(?P<list>\[)?\s*\{\s*(?P<quote>['\"])\w+['\"]\s*:")
"""The beginning of a text with a turn or a list of turns."""
SPOKEN = re.compile(
    r"['\"](?:role|from)['\"]\s*:\s*['\"](?:system|developer|user|human|prompter|assistant|gpt|model|tool)['\"]"
)
"""A role, which distinguishes turns from other objects."""
LONGEST = 2**20
"""The most characters of a list in Python's notation, since its parser needs many times as much memory."""
WRITE_JSON = 'turns as JSON; pandas writes them so with df.to_json(FILE, orient="records", lines=True)'


def object_of(text: str) -> Any:
    """The object or list that a text contains in JSON or in Python's notation; None for any other text.

    Python's notation is parsed as literals; no code is evaluated.
    """
    begin = BEGINS.match(text)
    if begin is None:
        return None
    try:
        parsed = json.loads(text, **STRICT) if begin["quote"] == '"' else _python(text)
        if "\\u" in text:
            json.dumps(parsed, ensure_ascii=False).encode()  # fails for a lone surrogate, which cannot be stored
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return parsed


def _python(text: str) -> Any:
    if len(text) > LONGEST or SPOKEN.search(text) is None:
        return None
    parsed = plain(ast.literal_eval(text.strip()), "turns")
    json.dumps(parsed)  # fails for keys that JSON does not allow
    return parsed


def begins_like_turns(text: str) -> bool:
    """Whether a text begins like a list of turns, or a turn in Python's notation, and contains a role."""
    begin = BEGINS.match(text)
    return begin is not None and bool(begin["list"] or begin["quote"] == "'") and SPOKEN.search(text) is not None


def refuse_unread(text: str, name: str) -> None:
    """Refuse a text that begins like turns, called for texts that could not be parsed as turns.

    Raises:
        BadRow: the text begins like turns.
    """
    if begins_like_turns(text):
        python = text.lstrip("[{ \t\r\n").startswith("'")
        how = "turns as Python or numpy writes them, not JSON" if python else "turns in a text, cut off or not in JSON"
        raise BadRow(f"the column {name!r} holds {how}", WRITE_JSON)
