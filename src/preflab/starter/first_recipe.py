"""A model and a file of data → the files of a first recipe, and every sentence of what was found and assumed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.starter.choices import Fit, Pace, Split, fitted, held_out_split, paced, rows_to_read
from preflab.starter.criteria import chosen_weights
from preflab.starter.data_look import DataLook, look_at_data
from preflab.starter.functions import MODULE, answer_functions, are_numbers
from preflab.starter.kinds import Kind, chosen_kind
from preflab.starter.learnable import JUDGED, parts_of, refuse_no_room, refuse_unlearnable, varying
from preflab.starter.lengths import Lengths, measure_lengths
from preflab.starter.machine import Machine, this_machine
from preflab.starter.model_look import ModelLook, look_at_model
from preflab.starter.recipe_text import recipe_text
from preflab.starter.sentences import sentences
from preflab.starter.stages_of import Given, verdicts_of

NAMES = {
    "pairs": "pairs", "ratings": "ratings", "thumbs": "verdicts", "demonstrations": "demonstrations", "texts": "texts",
    "answers": "prompts",
}  # fmt: skip
"""What the data are → what the recipe calls them."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for."""

    model: str
    data: str
    kind: str | None = None
    split: str | None = None
    format: str | None = None
    """Of the rows; None: what the columns say."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the file → the name that the format knows."""
    memory: float | None = None
    """GiB of the machine that the recipe is for; None: what is free here."""
    changes: tuple[str, ...] = ()
    """`key=value` as of --set, put into the recipe when it is written."""


@dataclass(frozen=True)
class FirstRecipe:
    """What was found, what was chosen, and the files."""

    kind: Kind
    data: DataLook
    model: ModelLook
    lengths: Lengths
    machine: Machine
    split: Split
    fit: Fit
    pace: Pace
    sentences: tuple[tuple[str, str], ...]
    """(what it is about, the sentence)."""
    text: str
    """The recipe."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files to lie beside it, by name."""


def make_first_recipe(wanted: Wanted, recipe: Path) -> FirstRecipe:
    """Looks at model and data, chooses, and puts the files together; nothing is written.

    Args:
        wanted: the model, the data, and what else was said.
        recipe: where the recipe will lie; paths in it are seen from there.

    Raises:
        PreflabError: what cannot be read, does not fit, or would not run, with the reason.
    """
    model = look_at_model(wanted.model)
    look = partial(look_at_data, wanted.data, chat=model.has_template, format=wanted.format, columns=wanted.columns)
    data = look(split=wanted.split)
    kind = chosen_kind(data, model, wanted.kind)
    weights = chosen_weights(data, kind, wanted.changes, recipe)
    lengths = measure_lengths(data, model)
    machine = this_machine(wanted.memory)
    limit = rows_to_read(kind, data, model, lengths, machine)
    read = data if limit is None else look(split=data.split, limit=limit)
    split = held_out_split(read, judge=data.sort in ("pairs", "ratings") and kind != "reward")
    fit = fitted(kind, model, lengths, machine)
    parts = parts_of(kind, read, split, lengths, fit) if data.sort in JUDGED else []
    weights = varying(parts, weights, data) if data.sort == "ratings" and kind != "dpo" else weights
    pace = paced(kind, read, model, lengths, machine, split)
    given = Given(kind, _from(recipe, wanted.model), NAMES[data.sort], data, lengths, limit, split, fit, pace, weights)
    refuse_unlearnable(data, parts, verdicts_of(given) if data.sort == "ratings" and kind == "dpo" else None)
    refuse_no_room(kind, read, split, lengths, fit)
    said = sentences(given, model, machine, kind_asked=bool(wanted.kind))
    text = recipe_text(
        given, [sentence for _, sentence in said], _data_settings(given, wanted, recipe), machine.num_threads
    )
    files = {}
    if data.sort == "answers":
        numbers = are_numbers(data.prompts, data.answer)
        files[f"{MODULE}.py"] = answer_functions(data.answer, numbers=numbers, recipe=recipe.name)
    return FirstRecipe(kind, data, model, lengths, machine, split, fit, pace, tuple(said), text, files)


def described(made: FirstRecipe) -> dict[str, Any]:
    """The recipe for programs: what was found and chosen, and the sentences."""
    heaviest = made.fit.heaviest
    return {
        "kind": made.kind,
        "model": {
            "name": made.model.ref, "architecture": made.model.architecture, "parameters": made.model.num_parameters,
            "dtype": made.model.dtype, "context": made.model.context, "chat_template": made.model.has_template,
            "stops": list(made.model.stops),
        },
        "data": {
            "path": made.data.path, "format": made.data.format, "holds": made.data.sort, "rows": made.data.num_rows,
            "whole": made.data.whole, "bad_rows": made.data.num_bad, "prompts": len(made.data.prompts),
            "conversations": made.data.num_conversations, "pairs": made.data.num_pairs, "ties": made.data.num_ties,
            "criteria": list(made.data.scales), "answer": made.data.answer, "held_out": made.split.num_held_out,
        },
        "memory": {
            "stage": heaviest.load.kind, "needed": heaviest.total, "parts": dict(heaviest.parts),
            "free": made.machine.free,
        },
        "assumptions": [{"about": topic, "said": sentence} for topic, sentence in made.sentences],
    }  # fmt: skip


def write_first_recipe(made: FirstRecipe, recipe: Path, changes: Sequence[str] = ()) -> list[Path]:
    """Writes the files, and loads the recipe as `preflab run` will; nothing stays where that fails.

    Args:
        made: the recipe.
        recipe: where it goes.
        changes: `key=value` as of --set; they are put into the file, whose comments then go.

    Raises:
        PreflabError: a file that is there already, or a recipe that cannot be loaded.
    """
    from preflab.files import write_text
    from preflab.recipe import load_recipe

    text = _overridden(made.text, changes, recipe) if changes else made.text
    contents = {recipe.parent / name: content for name, content in made.files.items()} | {recipe: text}
    there = next((path for path in contents if path.exists()), None)
    if there is not None:
        raise PreflabError(
            f"{there}: there is a file already", "a new name, or no such file",
            "name another with --recipe, or move the old one away",
        )  # fmt: skip
    for path, text in contents.items():
        write_text(path, text)
    try:
        load_recipe(recipe)
    except PreflabError:
        for path in contents:
            path.unlink()
        raise
    return list(contents)


def _overridden(text: str, overrides: Sequence[str], recipe: Path) -> str:
    import yaml

    from preflab.recipe.overrides import apply_overrides
    from preflab.yaml_files import parse

    return yaml.safe_dump(apply_overrides(parse(text, str(recipe)), list(overrides), recipe), sort_keys=False)


def _data_settings(given: Given, wanted: Wanted, recipe: Path) -> dict[str, Any]:
    """The entry of `data`."""
    data = given.data
    settings: dict[str, Any] = {"path": _from(recipe, wanted.data), "format": data.format}
    if wanted.columns:
        settings["columns"] = dict(wanted.columns)
    if data.split is not None:
        settings["split"] = data.split
    if data.num_bad:
        settings["skip_bad"] = True
    if data.as_turns:
        settings["as_turns"] = True
    if given.limit is not None:
        settings["limit"] = given.limit
    return settings | {"held_out": given.split.share}


def _from(recipe: Path, name: str) -> str:
    """A path as the recipe's folder sees it; what is no path here stays as it is."""
    place = Path(name).expanduser()
    if not place.exists():
        return name
    folder = recipe.parent.resolve()
    seen = os.path.relpath(place.resolve(), folder)
    if seen.startswith(os.path.join("..", "..", "..")):
        return str(place.resolve())
    return seen if not place.is_dir() or seen.startswith(".") else f"./{seen}"
