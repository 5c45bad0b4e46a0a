"""Which prompts are held out, by the rule as it is written down and without preflab's code for it."""

from __future__ import annotations

import hashlib
import json

from preflab.records import Prompt


def place(prompt: Prompt) -> float:
    """The hash of a prompt's text and turns, as a number in [0, 1): below the share, the prompt is held out.

    System turns do not count, and a user's turn alone is its text.
    """
    turns = [[turn.role, turn.content] for turn in prompt.messages if turn.role != "system"]
    roles = [role for role, _ in turns]
    asked = [turns[0][1], []] if roles == ["user"] else [prompt.text, turns]
    canonical = json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
    return int(hashlib.sha256(canonical.encode()).hexdigest()[:12], 16) / 16**12
