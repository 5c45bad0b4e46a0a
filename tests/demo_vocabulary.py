"""The words of the demo's grammar."""

from __future__ import annotations

import re

from preflab.demo.grammar import COURTESY, FLATTERY, RUDE, SLOTS, TOPICS, words


def vocabulary() -> list[str]:
    """Every word and mark that the grammar can generate, sorted."""
    templates = [text for topic in TOPICS for text in (*topic.questions, *topic.full, *topic.short)]
    templates += [text for group in COURTESY.values() for text in group] + [*FLATTERY, *RUDE]
    known = {word for text in templates for word in words(re.sub(r"{\w+}", " ", text))}
    return sorted(known | {word for kind in SLOTS.values() for word in kind})
