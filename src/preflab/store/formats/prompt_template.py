"""Makes prompts from the columns of a row by a template, such as `Summarize:\\n\\n{dialogue}\\n\\nSummary:`."""

from __future__ import annotations

from preflab.errors import nearest
from preflab.settings.prompt_template import template_columns
from preflab.store.formats.json_rows import BadRow, Row

PROMPT = "prompt"


def with_prompt(row: Row, template: str | None) -> Row:
    """The row with `prompt` made by the template, in place of the columns that the template names; unchanged for None.

    Raises:
        BadRow: the row lacks one of these columns, one holds no text, or the row has a prompt already.
    """
    if template is None:
        return row
    names = template_columns(template)
    if PROMPT in row and PROMPT not in names:
        raise BadRow("a column 'prompt', beside a template that makes the prompt", "rows without it, or no `template`")
    for name in names:
        if name not in row:
            near = nearest(name, list(row))
            hint = f" (near it: {near})" if near else ""
            raise BadRow(
                f"no column {name!r} for the template, among {', '.join(row) or 'none'}", f"a column {name!r}{hint}"
            )
        if not isinstance(row[name], str) or not row[name].strip():
            raise BadRow(f"the column {name!r} for the template is empty or no text", "text")
    filled = {PROMPT: template.format(**{name: row[name] for name in names})}
    return {**filled, **{name: value for name, value in row.items() if name not in names}}
