"""Reads the template of a prompt, such as `Summarize this.\\n\\n{dialogue}\\n\\nSummary:`."""

from __future__ import annotations

import re
from string import Formatter


def template_columns(template: str) -> list[str]:
    """The columns that a template names, in order, each once; `{{` and `}}` stand for braces.

    Raises:
        ValueError: a brace without a partner, or a place with anything but a column's name.
    """
    names: dict[str, None] = {}
    for _, name, form, conversion in Formatter().parse(template):
        if name is None:
            continue
        if form or conversion or not re.fullmatch(r"[^\s{}.\[\]]+", name):
            raise ValueError(f"the place {{{name}}} of the template is no column's name: write {{{{ for a brace")
        names[name] = None
    return list(names)
