"""A stage's key: a hash of everything that determines its result. A stage whose key has changed is stale.

The key covers the kind, the version, the settings (except resumable ones and those of logging), the seed, the
precision, the keys of the input stages, the content of every file, folder, panel and function that the settings name,
and the changes that campaign leads made to how people's answers are read. It does not cover paths, ports, threads and
logs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from preflab.files import canonical_hash
from preflab.pipeline.content_hashes import ContentHashes
from preflab.pipeline.function_files import function_files
from preflab.recipe import Recipe
from preflab.recipe.references import PEOPLE, references
from preflab.settings.base import Settings
from preflab.settings.learning import RunSettings
from preflab.settings.sampling import DecodingSettings
from preflab.stages.base import computed_precision
from preflab.stages.common.data import SPLIT_RULE


def stage_key(
    recipe: Recipe,
    name: str,
    hashes: ContentHashes,
    *,
    inputs: Mapping[str, str],
    version: int,
    left_out: Sequence[str] = (),
    changed: Mapping[str, Any] | None = None,
) -> str:
    """The key of a stage.

    Args:
        recipe: the recipe.
        name: the stage.
        hashes: hashes of the files that the stage reads.
        inputs: name of an input stage → its key.
        version: version of the stage's code.
        left_out: its resumable settings, which are not part of the key.
        changed: settings that leads of a campaign have changed in the app.
    """
    settings = recipe.stages[name]
    content = key_content(settings)
    for field in ("seed", *left_out, *_logging(settings)):
        del content[field]
    read = {}
    for refers, word, place in references(settings):
        content_read = _content(recipe, refers, word, hashes)
        if content_read is not None:
            read[".".join(str(step) for step in place)] = content_read
            _forget(content, place)
    return canonical_hash(
        {
            "settings": content,
            "read": read,
            "inputs": dict(inputs),
            "seed": recipe.stage_seed(name),
            "version": version,
            **({"changed": dict(changed)} if changed else {}),
            **_precision(recipe, settings),
            **_engine(recipe, settings),
        }
    )


def _precision(recipe: Recipe, settings: Settings) -> dict[str, str]:
    """The precision, under its former name `dtype`, so that the keys of older float32 stages stay the same.

    Stages that learn in half precision used to have half-precision weights and now have float32 ones. Their older
    results are stale, so `learning_weights` is added to their keys; the results of frozen models stay valid.
    """
    precision = computed_precision(recipe.device)
    learns = precision != "float32" and "optimiser" in type(settings).model_fields
    return {"dtype": precision} | ({"learning_weights": "float32"} if learns else {})


def _engine(recipe: Recipe, settings: Settings) -> dict[str, str]:
    """The engine of a stage that samples. The default is omitted, so that keys older than this setting stay valid."""
    samples = isinstance(settings, DecodingSettings) or "decoding" in type(settings).model_fields
    default = type(recipe.device).model_fields["engine"].default
    return {"engine": recipe.device.engine} if samples and recipe.device.engine != default else {}


def data_read(recipe: Recipe, num_read: Mapping[str, int], hashes: ContentHashes) -> dict[str, dict[str, Any]]:
    """For a stage's manifest: name of the data → file name, SHA-256 of the file, and number of rows read."""
    counts: dict[str, dict[str, Any]] = {}
    for name, num in num_read.items():
        place = recipe.data_path(name.partition(".")[0])
        there = {"file": place.name, "sha256": hashes.of(place)} if place.exists() else {"data_set": place.as_posix()}
        counts[name] = {**there, "num": num}
    return counts


def key_content(settings: Settings) -> dict[str, Any]:
    """The settings that are part of a key, as JSON values; groups of settings such as `lora` by the same rule."""
    content = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        extra = field.json_schema_extra
        counts = extra.get("counts", "always") if isinstance(extra, dict) else "always"
        if counts == "never" or (counts == "if_set" and getattr(settings, name) == field.default):
            del content[name]
        elif isinstance(group := getattr(settings, name), Settings):
            content[name] = key_content(group)
    return content


def _logging(settings: Any) -> list[str]:
    return [name for name in type(settings).model_fields if isinstance(getattr(settings, name), RunSettings)]


def _forget(content: Any, place: tuple[str | int, ...]) -> None:
    """Remove a name or path from the settings, because the key covers the content behind it instead."""
    for step in place[:-1]:
        content = content[step]
    content[place[-1]] = None


def _content(recipe: Recipe, refers: str, word: str, hashes: ContentHashes) -> Any:
    """The content behind a name that is not a stage; None if only the name can be hashed (a Hub id)."""
    if refers in ("function", "environment"):
        files = function_files(recipe, word)
        if not files:
            return None
        helpers = [[os.path.relpath(file, files[0].parent), hashes.of(file)] for file in files[1:]]
        return [word.partition(":")[2], hashes.of(files[0]), *sorted(helpers)]
    if refers == "file":
        return hashes.of(recipe.resolve(word))
    if refers == "labelers" and word != PEOPLE:
        panel = recipe.labelers[word]
        functions = [_content(recipe, kind, name, hashes) for kind, name, _ in references(panel)]
        return [key_content(panel), functions]
    base, _, split = word.partition(".")
    if refers in ("data", "demonstrations", "preferences") and word not in recipe.stages:
        data = recipe.data[base]
        left_out = {"path"} if split else {"path", "held_out"}
        reading = {name: value for name, value in key_content(data).items() if name not in left_out}
        place = recipe.data_path(base)
        rule = [SPLIT_RULE] if split else []
        return [hashes.of(place) if place.exists() else place.as_posix(), reading, split, *rule]
    if refers in ("model", "reward") and word not in recipe.stages and recipe.resolve(word).is_dir():
        return hashes.of(recipe.resolve(word))
    return None
