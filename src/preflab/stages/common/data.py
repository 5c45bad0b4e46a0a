"""Reads the recipe's data files (rows, prompts, demonstrations) and splits them into train and held-out parts.

Files are read by `store.formats`, so a recipe reads the same records that `preflab import` stores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab import progress
from preflab.errors import PreflabError, nearest
from preflab.recipe import Recipe
from preflab.words import count

if TYPE_CHECKING:
    from preflab.records import Completion, Prompt
    from preflab.store.formats import Imported

SPLIT_RULE = 3
"""Increase this when `split_share` assigns prompts differently: every stage that read a split becomes stale."""


class Row(dict[str, Any]):
    """One row of a data file: a dictionary of its columns; `source` names its file and line."""

    def __init__(self, columns: Mapping[str, Any], source: str, defaulted: frozenset[str] = frozenset()) -> None:
        super().__init__(columns)
        self.source = source
        self.defaulted = defaulted
        """Columns whose value comes from the `defaults` of the data."""

    def column(self, name: str) -> Any:
        """The value of a column; a missing column is an error that names the line."""
        if name not in self:
            near = nearest(name, list(self))
            raise PreflabError(
                f"{self.source}: no column `{name}`",
                f"columns found: {', '.join(self) or 'none'}" + (f"; near it: {near}" if near else ""),
                f"add `{name}` to the row, or use other data in the recipe",
            )
        return self[name]


def read_data(recipe: Recipe, name: str) -> list[Row]:
    """The rows of `name` (all of them), `name.train` or `name.held_out` of the recipe's data.

    Raises:
        PreflabError: the file has no rows, or a row cannot be read (unless `skip_bad` is set); names the line.
    """
    base, _, split = name.partition(".")
    settings = recipe.data[base]
    path, columns = recipe.data_path(base), settings.columns
    without_defaults = read_rows(
        path, skip_bad=settings.skip_bad, columns=columns, split=settings.split, limit=settings.limit
    )
    rows = [_with_defaults(_with_prompt(row, settings.template), settings.defaults) for row in without_defaults]
    return [row for row in rows if in_split(split_share(row), split, settings.held_out)]


def read_rows(
    path: Path,
    *,
    skip_bad: bool = False,
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The rows of a file (the first `limit`), each with its line; `columns` maps the file's names to preflab's.

    Raises:
        PreflabError: there is no such file, it has no rows, or a row cannot be read (unless `skip_bad`); names the
            line.
    """
    from preflab.store.formats.json_rows import BadRow
    from preflab.store.formats.row_reading import numbered_rows, unit_of

    rows, unit = [], unit_of(path)
    for number, row in islice(numbered_rows(path, split), limit):
        where = f"{path}, {unit} {number}"
        if not isinstance(row, BadRow):
            rows.append(Row({(columns or {}).get(key, key): value for key, value in row.items()}, where))
        elif not skip_bad:
            raise PreflabError(f"{where}: {row.found}", row.expected, "correct or delete the row") from row
    if not rows:
        raise PreflabError(f"{path}: no rows", "at least one row", "add rows to the file")
    return rows


def _with_prompt(row: Row, template: str | None) -> Row:
    """The row with the prompt that the template makes.

    Raises:
        PreflabError: a column of the template is missing or empty; names the line.
    """
    from preflab.store.formats.json_rows import BadRow
    from preflab.store.formats.prompt_template import with_prompt

    try:
        return Row(with_prompt(row, template), row.source)
    except BadRow as bad:
        raise PreflabError(f"{row.source}: {bad.found}", bad.expected, "mend the row or the template") from bad


def _with_defaults(row: Row, defaults: Mapping[str, Any]) -> Row:
    from preflab.store.formats.columns import with_defaults

    whole = with_defaults(row, defaults)
    return Row(whole, row.source, whole.defaulted)


def in_split(share: float, split: str, held_out: float) -> bool:
    """Whether a row with this `split_share` belongs to the split `train`, `held_out`, or "" (all rows)."""
    return not split or (share < held_out) == (split == "held_out")


def split_share(row: Mapping[str, Any]) -> float:
    """A number in [0, 1) from a hash of the beginning of the row's prompt; it decides the row's split.

    All rows of a prompt get the same number, in every file: a prompt is held out of all files or of none. Only the
    prompt counts, no other column.

    Of a conversation only the turns up to the first user turn are hashed. Pairs, demonstrations and prompts are cut
    from a conversation at different turns, and later turns repeat the earlier ones, so the whole conversation must be
    held out together. System turns are ignored, and a single user turn gets the number of its text, because files
    give the same question as a text, as a turn, and under different system turns.
    """
    asked = row.get("prompt", row.get("messages", row.get("text")))
    if isinstance(asked, list):
        asked = _beginning([turn for turn in asked if isinstance(turn, dict)])
    canonical = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return int(hashlib.sha256(canonical.encode()).hexdigest()[:12], 16) / 16**12


def _beginning(turns: Sequence[Mapping[str, Any]]) -> Any:
    """The turns up to the first user turn, without system turns; only its content if no other turn precedes it."""
    bare = [{key: turn.get(key) for key in ("role", "content")} for turn in turns]
    spoken = [turn for turn in bare if turn["role"] != "system"] or bare  # system turns alone must still differ
    first = next((place for place, turn in enumerate(spoken) if turn["role"] == "user"), len(spoken))
    return spoken[0]["content"] if spoken and first == 0 else spoken[: first + 1]


def prompt_share(prompt: Prompt) -> float:
    """The `split_share` of a prompt."""
    turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return split_share({"prompt": prompt.text or turns})


def demonstration_share(prompt: Prompt, completion: Completion) -> float:
    """The `split_share` of a demonstration: that of its prompt, or of its completion if the prompt is empty."""
    if prompt.text or prompt.messages:
        return prompt_share(prompt)
    return split_share({"text": completion.text})


def prompt_of(row: Row, without: Sequence[str] = ()) -> Prompt:
    """The prompt of a row, from its `prompt` as text or turns, with the other columns except those in `without`.

    Raises:
        PreflabError: the prompt is missing or empty; names the line.
    """
    from preflab.store.formats.fields import prompt_of as parsed
    from preflab.store.formats.json_rows import BadRow

    columns = {name: value for name, value in row.items() if name != "prompt" and name not in without}
    try:
        return parsed(row, "prompt", row.source, columns)
    except BadRow as bad:
        raise PreflabError(f"{row.source}: {bad.found}", bad.expected, "correct or delete the row") from bad


@contextmanager
def said_of_recipe(data: str) -> Iterator[None]:
    """Rewrites errors of reading so that they name the recipe's settings, not the options of `preflab import`."""
    from preflab.store.formats.advice import in_a_recipe

    try:
        yield
    except PreflabError as error:
        raise PreflabError(error.found, in_a_recipe(error.expected, data), in_a_recipe(error.do, data)) from error


def say_of_file(read: Imported) -> None:
    """Prints how a file's columns were used and which rows are repeated."""
    for line in read.lines():
        progress.say(f"{read.path.name}: {line}")


def in_part(recipe: Recipe, name: str, prompt: Prompt) -> bool:
    """Whether a prompt belongs to the part that `name` names: `data`, `data.train` or `data.held_out`."""
    return _falls_into(recipe, name, prompt_share(prompt))


def _falls_into(recipe: Recipe, name: str, share: float) -> bool:
    base, _, split = name.partition(".")
    return in_split(share, split, recipe.data[base].held_out)


def read_records(recipe: Recipe, data: str, *, for_prompts: bool = False) -> Imported:
    """The records of a data entry of the recipe, read with the settings of that entry.

    Args:
        recipe: the recipe.
        data: the entry's name, without a split.
        for_prompts: read for the prompts, with every column; see `format_of_prompts`.

    Raises:
        PreflabError: there is no such file, or rows cannot be used (unless `skip_bad`); names the lines.
    """
    from preflab.store.formats import read_file
    from preflab.store.formats.as_turns import with_turns

    settings, path = recipe.data[data], recipe.data_path(data)
    how: dict[str, Any] = {
        "rename": settings.columns,
        "defaults": settings.defaults,
        "split": settings.split,
        "template": settings.template,
    }
    with said_of_recipe(data):
        format = settings.format or (format_of_prompts(path, **how) if for_prompts else None)
        read = read_file(path, format, limit_rows=settings.limit, skip_bad=settings.skip_bad, **how)
    say_of_file(read)
    return with_turns(read) if settings.as_turns else read


def read_demonstrations(recipe: Recipe, name: str) -> list[tuple[Prompt, Completion]]:
    """The demonstrations of `name`, `name.train` or `name.held_out`; repeated rows are kept.

    The `source` of each prompt names the file and line of its row.

    Raises:
        PreflabError: rows cannot be used (unless `skip_bad`), the file holds other records, or no demonstration is
            left.
    """
    base = name.partition(".")[0]
    read = read_records(recipe, base)
    pairs = demonstrations_of(read, guessed=recipe.data[base].format is None)
    falling = [pair for pair in pairs if _falls_into(recipe, name, demonstration_share(*pair))]
    if not falling:
        raise PreflabError(
            f"{name}: no demonstrations among {len(pairs)} of {read.path.name}",
            "at least one row",
            "add rows, or choose another share for `held_out`",
        )
    return falling


def demonstrations_in(path: Path, format: str | None = None, **how: Any) -> list[tuple[Prompt, Completion]]:
    """Reads the demonstrations of a file; `how` is passed to `store.formats.read_file`."""
    from preflab.store.formats import read_file

    return demonstrations_of(read_file(path, format, **how), guessed=format is None)


def demonstrations_of(read: Imported, *, guessed: bool = False) -> list[tuple[Prompt, Completion]]:
    """The demonstrations among the records read from a file; `guessed`: its format was detected, not set.

    Raises:
        PreflabError: the file holds other records: pairs, ratings, prompts without completions, or images.
    """
    from dataclasses import replace

    from preflab.store.image_texts import refuse_images

    if not read.demonstrations:
        kind = f"; it looks like {read.format}" if guessed else ""
        raise PreflabError(
            f"{read.path}: {count(read.num_rows, 'row')} without a demonstration{kind}",
            "rows with `prompt` and `completion`, or with `messages` that end with the assistant's turn",
            _learned_instead(read),
        )
    prompts = {prompt.id: prompt for prompt in read.prompts}
    completions = {completion.id: completion for completion in read.completions}
    refuse_images([completions[id_].text for id_ in read.demonstrations], read.path.name)
    pairs = [(completions[id_], source) for id_, source in zip(read.demonstrations, read.sources, strict=True)]
    return [(replace(prompts[completion.prompt_id], source=source), completion) for completion, source in pairs]


def _learned_instead(read: Imported) -> str:
    """Advice for a file without demonstrations; for pairs it includes how to learn the chosen completions."""
    if read.format.startswith("trl-") and any(each.chosen_rejected() for each in read.preferences):
        return (
            "use other data, train on the pairs with `dpo`, or to train on the chosen completions set "
            "`format: demonstrations, columns: {chosen: completion}` (`{chosen: messages}` if they are turns)"
        )
    return "use other data, or set `format: demonstrations` if these are completions to train on"


def format_of_prompts(path: Path, **how: Any) -> str:
    """The format in which to read a file for its prompts, so that all stages get the same prompts from it.

    Usually `prompts`, which keeps every column for reward functions. The detected format is used instead if the first
    rows give other prompts in it (judged rows with the prompt inside chosen and rejected), or if they are
    demonstrations without a separate prompt.
    """
    from preflab.store.formats import read_file
    from preflab.store.formats.detect import FIRST_ROWS, detect

    plain = "prompts"
    try:
        guess = detect(path, rename=how["rename"], split=how["split"], template=how["template"]).format
        if guess in (plain, "text"):
            return plain
        asked = [
            {(prompt.text, prompt.messages) for prompt in read.prompts}
            for format in (guess, plain)
            for read in [read_file(path, format, limit_rows=FIRST_ROWS, skip_bad=True, **how)]
        ]
    except PreflabError:
        return plain
    reads_all = bool(asked[1]) if guess == "demonstrations" else asked[0] <= asked[1]
    return plain if reads_all else guess


def read_prompts(recipe: Recipe, name: str) -> list[Prompt]:
    """The prompts of `name`, `name.train` or `name.held_out`, from a file of any format that has prompts.

    Raises:
        PreflabError: a prompt is empty (unless `skip_bad`; names the line), or there are no prompts.
    """
    from preflab.store.formats.gathered import gather_columns

    base = name.partition(".")[0]
    read = read_records(recipe, base, for_prompts=True)
    prompts = gather_columns(read.prompts, recipe.data[base].gather)
    falling = [prompt for prompt in prompts if in_part(recipe, name, prompt)]
    if not falling:
        raise PreflabError(
            f"{name}: no prompts among {count(read.num_rows, 'row')} of {read.path.name}",
            "at least one row with a `prompt` column",
            "add rows, or choose another share for `held_out`",
        )
    return falling
