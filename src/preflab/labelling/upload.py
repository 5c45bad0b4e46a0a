"""Reads the prompts and completions of a campaign from a file of JSONL, JSON or CSV rows.

    {"prompt": "Where is my parcel?", "completions": ["It left on Monday.", "No idea."]}       one row per prompt
    {"prompt": "Where is my parcel?", "completion": "It left on Monday.", "model": "a"}        one row per completion
    {"prompt": "start", "completion": "up right", "clip": {"frames": …}}                       a playout of a game
    prompt,completion_1,completion_2,completion_3                                              CSV, one row per prompt

Other columns are stored with the prompt. In all three forms an empty completion, or null, is an error. In the third
form, empty columns at the end of a row mean that this prompt has fewer completions. An error names its line, and
nothing is loaded.
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
from preflab.labelling.playout_clips import SeenClips
from preflab.records import Completion, Content, Prompt
from preflab.store.formats.asked import Words, completion_of, spans_of
from preflab.store.formats.fields import imported, kind_of, others, prompt_of
from preflab.store.formats.json_rows import STRICT, BadRow, Numbered, Row
from preflab.store.formats.row_reading import numbered_rows, unit_of
from preflab.words import count

Loaded = TypeVar("Loaded")
KINDS = (".jsonl", ".json", ".csv")
NUMBERED = re.compile(r"completion_(\d+)")
MAX_COMPLETIONS = 20
"""Largest number of completions of one prompt; a person cannot rank more at once."""


@dataclass(frozen=True)
class Uploaded:
    """The records of a file, and the groups of completions that are judged together."""

    prompts: tuple[Prompt, ...]
    completions: tuple[Completion, ...]
    groups: tuple[tuple[str, ...], ...]
    """Completion ids, one tuple per task."""


def uploaded_groups(name: str, data: bytes, least: int = 1, content: Content = "plain") -> Uploaded:
    """Read an uploaded file.

    Args:
        name: name of the file; its ending decides the format.
        data: content of the file.
        least: smallest number of completions of a prompt (`least` of the way of judging).
        content: of the campaign; `playout` asks for a clip of every completion.

    Raises:
        Invalid: an unknown file ending, no rows, a wrong row (its line is named), or a prompt with too few or too many
            completions.
    """

    def read(path: Path) -> Uploaded:
        return groups_of_rows(numbered_rows(path), name, unit_of(path), least=least, content=content)

    return _from_file(name, data, read)


def uploaded_gold(name: str, data: bytes, options: CampaignOptions) -> Gold:
    """Read an uploaded file of gold tasks (see `gold_file`).

    Raises:
        Invalid: an unknown file ending, or a row whose answer does not fit the way of judging (its line is named).
    """
    return _from_file(name, data, lambda path: read_gold(path, options))


def groups_of_rows(
    rows: Iterable[Numbered],
    name: str,
    unit: str = "line",
    named: Callable[[str], str] = str,
    least: int = 1,
    content: Content = "plain",
) -> Uploaded:
    """Turn the rows of a file into records; the completions of one prompt form one group, in the order of the file.

    Args:
        rows: the rows of the file.
        name: name of the file, for errors.
        unit: the word for a row in errors.
        named: maps the text of a completion to the text that is stored (for images, path → name in the workspace).
        least: smallest number of completions of a prompt.
        content: of the campaign; `playout` asks for a clip of every completion.

    Raises:
        Invalid: no rows, a wrong row, a playout without a clip or with a wrong one, or a prompt with too few or too
            many completions.
    """
    clips = SeenClips() if content == "playout" else None
    prompts: dict[str, Prompt] = {}
    completions: dict[str, dict[str, Completion]] = {}
    for numbered in rows:
        where = f"{name}, {unit} {numbered.line}"
        try:
            prompt, contents, models, columns = _parse_row(numbered.row, where)
            contents = [words if words.turns else Words(named(words.text)) for words in contents]
            if clips is not None:
                clips.check(prompt, contents, columns)
        except BadRow as bad:
            raise Invalid(f"{where}: {bad.found}", bad.expected, "nothing was loaded; correct it") from None
        except PreflabError as error:
            raise Invalid(f"{where}: {error.found}", error.expected, "nothing was loaded; correct it") from None
        prompts.setdefault(prompt.id, prompt)
        of_prompt = completions.setdefault(prompt.id, {})
        for words, model in zip(contents, models, strict=True):
            completion = imported(prompt, spans_of(words), model or PurePath(name).stem, len(of_prompt), columns)
            of_prompt[completion.id] = completion
    _check(prompts, completions, name, least)
    groups = tuple(tuple(group) for group in completions.values())
    return Uploaded(tuple(prompts.values()), tuple(c for group in completions.values() for c in group.values()), groups)


def _from_file(name: str, data: bytes, read: Callable[[Path], Loaded]) -> Loaded:
    """The result of `read` on a temporary file with these bytes; its errors name the uploaded file instead."""
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


def _parse_row(row: Row | BadRow, where: str) -> tuple[Prompt, list[Words], Sequence[str], Row]:
    """The prompt, the completions, their models, and the columns that are stored with the completion."""
    if isinstance(row, BadRow):
        raise row
    if "completion" in row:
        columns = others(row, "prompt", "completion", "model")
        words = _read_completion(row["completion"], "completion")
        return _read_prompt(row, where, [words]), [words], [str(row.get("model") or "")], columns
    if "completions" in row:
        completions, models = _read_list(row)
        prompt_columns = others(row, "prompt", "completions", "models")
    elif numbered := sorted((int(m[1]), name) for name in row if (m := NUMBERED.fullmatch(name))):
        names = [name for _, name in numbered]
        completions = [_read_completion(row[name], name) for name in _drop_empty_end(row, names)]
        models, prompt_columns = [""] * len(completions), others(row, "prompt", *names)
    else:
        raise BadRow(
            f"only the columns {', '.join(row) or 'none'}", "prompt and completions, completion_1 …, or completion"
        )
    return _read_prompt(row, where, completions, prompt_columns), completions, models, {}


def _drop_empty_end(row: Row, names: list[str]) -> list[str]:
    """The numbered columns without empty ones at the end, since prompts may differ in the number of completions."""
    while names and _is_blank(row[names[-1]]):
        names = names[:-1]
    return names


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read_completion(value: object, name: str) -> Words:
    """One completion, in any of the formats.

    Raises:
        BadRow: the completion is empty.
    """
    if _is_blank(value):
        content = "null" if value is None else "an empty completion"
        raise BadRow(f"{name}: {content}", "a completion with content; leave it out if there is none")
    return completion_of(value, name.partition("[")[0])


def _read_prompt(row: Row, where: str, completions: Sequence[Words], columns: Row | None = None) -> Prompt:
    """The prompt; plain text becomes a user turn if a completion consists of turns."""
    return prompt_of(row, "prompt", where, columns, chat=any(words.turns for words in completions))


def _read_list(row: Row) -> tuple[list[Words], Sequence[str]]:
    """The column `completions`, a list or (in CSV) a list written as JSON, and the models in the column `models`."""
    values = _list(row, "completions")
    completions = [_read_completion(value, f"completions[{place}]") for place, value in enumerate(values)]
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
        raise Invalid(f"{name}: no rows", "at least one prompt with its completions", "check that it is the right file")
    for prompt_id, of_prompt in completions.items():
        num = len(of_prompt)
        if not least <= num <= MAX_COMPLETIONS:
            raise Invalid(
                f"{prompts[prompt_id].source}: {count(num, 'completion')} of one prompt",
                f"{least} to {MAX_COMPLETIONS} for each prompt",
                "nothing was loaded; correct the file, or judge by thumbs or scores, which need only one completion",
            )  # fmt: skip
