"""Make the files of a first recipe from a model and a file of data, with sentences that explain every choice."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.starter.choices import Fit, Pace, Split, fit_into_memory, held_out_split, plan_pace, rows_to_read
from preflab.starter.criteria import choose_weights
from preflab.starter.data_look import DataLook, look_at_data
from preflab.starter.kind_of_learning import Kind, choose_kind
from preflab.starter.learnable import JUDGED, drop_constant, parts_of, refuse_no_room, refuse_unlearnable
from preflab.starter.lengths import Lengths, measure_lengths
from preflab.starter.machine import Machine, this_machine
from preflab.starter.model_look import ModelLook, look_at_model
from preflab.starter.recipe_text import recipe_text
from preflab.starter.reward_file import MODULE, answer_functions, are_numbers
from preflab.starter.sentences import sentences
from preflab.starter.stages_of import Given, verdicts_of

NAMES = {
    "pairs": "pairs", "ratings": "ratings", "thumbs": "verdicts", "demonstrations": "demonstrations", "texts": "texts",
    "answers": "prompts",
}  # fmt: skip
"""Type of the data → their name in the recipe."""


@dataclass(frozen=True)
class Wanted:
    """The arguments of `preflab init`."""

    model: str
    data: str
    kind: str | None = None
    split: str | None = None
    format: str | None = None
    """Format of the rows; None: guessed from the columns."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the file → the format's name for it."""
    memory: float | None = None
    """Memory of the machine that will train, GiB; None: the free memory of this machine."""
    changes: tuple[str, ...] = ()
    """`key=value` from --set, applied to the recipe when it is written."""


@dataclass(frozen=True)
class FirstRecipe:
    """A first recipe: the inspected model and data, the choices, and the files."""

    kind: Kind
    data: DataLook
    model: ModelLook
    lengths: Lengths
    machine: Machine
    split: Split
    fit: Fit
    pace: Pace
    sentences: tuple[tuple[str, str], ...]
    """(topic, sentence) pairs that explain the choices."""
    text: str
    """The recipe file."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Further files in the recipe's folder, by name."""


def make_first_recipe(wanted: Wanted, recipe: Path) -> FirstRecipe:
    """Inspect model and data, make the choices, and compose the files; nothing is written.

    Args:
        wanted: the model, the data, and further arguments.
        recipe: path of the recipe; paths in it are relative to its folder.

    Raises:
        PreflabError: the model or the data cannot be read, do not fit the machine or one another, or would not run.
    """
    model = look_at_model(wanted.model)
    look = partial(look_at_data, wanted.data, chat=model.has_template, format=wanted.format, columns=wanted.columns)
    data = look(split=wanted.split)
    kind = choose_kind(data, model, wanted.kind)
    weights = choose_weights(data, kind, wanted.changes, recipe)
    lengths = measure_lengths(data, model)
    machine = this_machine(wanted.memory)
    limit = rows_to_read(kind, data, model, lengths, machine)
    read = data if limit is None else look(split=data.split, limit=limit)
    split = held_out_split(read, judge=data.sort in ("pairs", "ratings") and kind != "reward")
    fit = fit_into_memory(kind, model, lengths, machine)
    parts = parts_of(kind, read, split, lengths, fit) if data.sort in JUDGED else []
    weights = drop_constant(parts, weights, data) if data.sort == "ratings" and kind != "dpo" else weights
    pace = plan_pace(kind, read, model, lengths, machine, split)
    given = Given(
        kind, _relative_path(recipe, wanted.model), NAMES[data.sort], data, lengths, limit, split, fit, pace, weights
    )
    refuse_unlearnable(data, parts, verdicts_of(given) if data.sort == "ratings" and kind == "dpo" else None)
    refuse_no_room(kind, read, split, lengths, fit)
    explained = sentences(given, model, machine, kind_asked=bool(wanted.kind))
    text = recipe_text(
        given, [sentence for _, sentence in explained], _data_settings(given, wanted, recipe), machine.num_threads
    )
    files = {}
    if data.sort == "answers":
        numbers = are_numbers(data.prompts, data.answer)
        files[f"{MODULE}.py"] = answer_functions(data.answer, numbers=numbers, recipe=recipe.name)
    return FirstRecipe(kind, data, model, lengths, machine, split, fit, pace, tuple(explained), text, files)


def described(made: FirstRecipe) -> dict[str, Any]:
    """The first recipe as JSON content: model, data, memory, and the sentences."""
    heaviest = made.fit.heaviest
    return {
        "kind": made.kind,
        "model": {
            "name": made.model.ref, "architecture": made.model.architecture,
            "parameters": made.model.sizes.num_parameters,
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
    """Write the files and load the recipe as `preflab run` will; if that fails, the files are removed again.

    Args:
        made: the first recipe.
        recipe: path of the recipe file.
        changes: `key=value` from --set, applied to the file; its comments are then lost.

    Raises:
        PreflabError: a file exists already, or the recipe cannot be loaded.
    """
    from preflab.files import write_text
    from preflab.recipe import load_recipe

    text = _overridden(made.text, changes, recipe) if changes else made.text
    contents = {recipe.parent / name: content for name, content in made.files.items()} | {recipe: text}
    existing = next((path for path in contents if path.exists()), None)
    if existing is not None:
        raise PreflabError(
            f"{existing} exists already", "a name that is not taken",
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
    """The settings of the recipe's entry under `data`."""
    data = given.data
    settings: dict[str, Any] = {"path": _relative_path(recipe, wanted.data), "format": data.format}
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


def _relative_path(recipe: Path, name: str) -> str:
    """An existing path relative to the recipe's folder (absolute from three levels up); any other name unchanged."""
    place = Path(name).expanduser()
    if not place.exists():
        return name
    folder = recipe.parent.resolve()
    relative = os.path.relpath(place.resolve(), folder)
    if relative.startswith(os.path.join("..", "..", "..")):
        return str(place.resolve())
    return relative if not place.is_dir() or relative.startswith(".") else f"./{relative}"
