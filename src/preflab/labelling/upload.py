"""What is to be judged, from a file: prompts with their completions, as rows of JSONL, JSON or CSV.

    {"prompt": "Where is my parcel?", "completions": ["It left on Monday.", "No idea."]}       one row per prompt
    {"prompt": "Where is my parcel?", "completion": "It left on Monday.", "model": "a"}        one row per completion
    prompt,completion_1,completion_2,completion_3                                              CSV, one row per prompt

Other columns stay with the prompt. An empty completion, or null in its place, is a bad row in each of the three; empty
columns at the end of a row of numbered ones say that this prompt has fewer. A bad row is named by its line, and nothing
half-loads.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

from preflab.errors import PreflabError
from preflab.labelling.errors import Invalid
from preflab.labelling.gold_file import Gold, read_gold
from preflab.labelling.options import CampaignOptions
from preflab.records import Completion, Prompt
from preflab.store.formats.asked import Words, completion_of, spans_of
from preflab.store.formats.fields import imported, kind_of, others, prompt_of
from preflab.store.formats.json_rows import STRICT, BadRow, Numbered, Row
from preflab.store.formats.reading import numbered_rows, unit_of
from preflab.words import count

Found = TypeVar("Found")
KINDS = (".jsonl", ".json", ".csv")
NUMBERED = re.compile(r"completion_(\d+)")
MAX_COMPLETIONS = 20
"""More than a person can rank at once."""


@dataclass(frozen=True)
class Uploaded:
    """The records of a file, and which completions are judged together."""

    prompts: tuple[Prompt, ...]
    completions: tuple[Completion, ...]
    groups: tuple[tuple[str, ...], ...]
    """Completion ids, one tuple per task."""


def uploaded_groups(name: str, data: bytes, least: int = 1) -> Uploaded:
    """Read an uploaded file.

    Args:
        name: its name, whose ending says what it is.
        data: its bytes.
        least: completions that a prompt has at least (`least` of the way of judging).

    Raises:
        Invalid: another kind of file, a bad row (by line), a prompt with too few completions or too many, no rows.
    """
    return _from_file(name, data, lambda path: groups_of_rows(numbered_rows(path), name, unit_of(path), least=least))


def uploaded_gold(name: str, data: bytes, options: CampaignOptions) -> Gold:
    """Read an uploaded file of gold tasks (see `gold_file`).

    Raises:
        Invalid: another kind of file, or a row whose answer does not fit the way of judging, by line.
    """
    return _from_file(name, data, lambda path: read_gold(path, options))


def groups_of_rows(
    rows: Iterable[Numbered], name: str, unit: str = "line", named: Callable[[str], str] = str, least: int = 1
) -> Uploaded:
    """Rows → records; rows of one prompt are one task, in the order of the file.

    Args:
        rows: of the file.
        name: of the file, for errors.
        unit: what a row is called there.
        named: text of a completion → the text that is stored; of images, path → name in the workspace.
        least: completions that a prompt has at least.
    """
    prompts: dict[str, Prompt] = {}
    completions: dict[str, dict[str, Completion]] = {}
    for numbered in rows:
        where = f"{name}, {unit} {numbered.line}"
        try:
            prompt, contents, models, columns = _parsed(numbered.row, where)
            contents = [words if words.turns else Words(named(words.text)) for words in contents]
        except BadRow as bad:
            raise Invalid(f"{where}: {bad.found}", bad.expected, "nothing was loaded; mend it") from None
        except PreflabError as error:
            raise Invalid(f"{where}: {error.found}", error.expected, "nothing was loaded; mend it") from None
        prompts.setdefault(prompt.id, prompt)
        known = completions.setdefault(prompt.id, {})
        for words, model in zip(contents, models, strict=True):
            completion = imported(prompt, spans_of(words), model or PurePath(name).stem, len(known), columns)
            known[completion.id] = completion
    _check(prompts, completions, name, least)
    groups = tuple(tuple(known) for known in completions.values())
    return Uploaded(tuple(prompts.values()), tuple(c for known in completions.values() for c in known.values()), groups)


def _from_file(name: str, data: bytes, read: Callable[[Path], Found]) -> Found:
    """What `read` makes of the bytes as a file; its errors name the file that was uploaded."""
    suffix = PurePath(name).suffix.lower()
    if suffix not in KINDS:
        raise Invalid(
            f"{name or 'no file'}: a file of kind {suffix or 'unknown'}", f"a file ending in {', '.join(KINDS)}"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(data)
        try:
            return read(path)
        except PreflabError as error:
            raise Invalid(error.found.replace(str(path), name), error.expected, error.do) from error


def _parsed(row: Row | BadRow, where: str) -> tuple[Prompt, list[Words], Sequence[str], Row]:
    """Prompt, completions, models, and the columns that belong to the completion."""
    if isinstance(row, BadRow):
        raise row
    if "completion" in row:
        columns = others(row, "prompt", "completion", "model")
        words = _said(row["completion"], "completion")
        return _asked(row, where, [words]), [words], [str(row.get("model") or "")], columns
    if "completions" in row:
        completions, models = _listed(row)
        rest = others(row, "prompt", "completions", "models")
    elif numbered := sorted((int(m[1]), name) for name in row if (m := NUMBERED.fullmatch(name))):
        names = [name for _, name in numbered]
        completions = [_said(row[name], name) for name in _filled(row, names)]
        models, rest = [""] * len(completions), others(row, "prompt", *names)
    else:
        raise BadRow(
            f"only the columns {', '.join(row) or 'none'}", "prompt and completions, completion_1 …, or completion"
        )
    return _asked(row, where, completions, rest), completions, models, {}


def _filled(row: Row, names: list[str]) -> list[str]:
    """The numbered columns without the empty ones at their end: a table's prompts may differ in how many they have."""
    while names and _is_blank(row[names[-1]]):
        names = names[:-1]
    return names


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _said(value: object, name: str) -> Words:
    """One completion, the same of every format.

    Raises:
        BadRow: there is nothing in it.
    """
    if _is_blank(value):
        content = "null" if value is None else "an empty completion"
        raise BadRow(f"{name}: {content}", "a completion with something in it; leave the place out where there is none")
    return completion_of(value, name.partition("[")[0])


def _asked(row: Row, where: str, said: Sequence[Words], columns: Row | None = None) -> Prompt:
    """The prompt; a text is one user's turn where a completion is turns."""
    return prompt_of(row, "prompt", where, columns, chat=any(words.turns for words in said))


def _listed(row: Row) -> tuple[list[Words], Sequence[str]]:
    """The column `completions`: a list, or (in CSV) a list written as JSON; `models` beside it names who wrote them."""
    completions = [_said(each, f"completions[{place}]") for place, each in enumerate(_list(row, "completions"))]
    if row.get("models") is None:
        return completions, [""] * len(completions)
    names = _list(row, "models")
    if len(names) != len(completions):
        raise BadRow(count(len(names), "model"), f"one for each of {count(len(completions), 'completion')}")
    return completions, [str(each) for each in names]


def _list(row: Row, name: str) -> list[object]:
    value = row[name]
    if isinstance(value, str):
        try:
            value = json.loads(value, **STRICT)
        except ValueError:
            raise BadRow(f"the column {name!r} holds text that is no JSON list", '["one", "another"]') from None
    if not isinstance(value, list):
        raise BadRow(f"the column {name!r} holds {kind_of(value)}", "a list of texts")
    return value


def _check(
    prompts: Mapping[str, Prompt], completions: Mapping[str, Mapping[str, Completion]], name: str, least: int
) -> None:
    if not prompts:
        raise Invalid(
            f"{name}: no rows", "at least one prompt with its completions", "see whether it is the right file"
        )
    for prompt_id, known in completions.items():
        num_known = len(known)
        if not least <= num_known <= MAX_COMPLETIONS:
            raise Invalid(
                f"{prompts[prompt_id].source}: {count(num_known, 'completion')} of one prompt",
                f"{least} to {MAX_COMPLETIONS} for each prompt",
                "nothing was loaded; mend the file, or judge by thumbs or scores where one is enough",
            )  # fmt: skip
