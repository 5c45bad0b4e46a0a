"""Before any stage runs, names all files of the Hub that a recipe needs and this machine lacks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from preflab.errors import PreflabError
from preflab.recipe import Recipe
from preflab.recipe.references import references
from preflab.settings.recipe import HUB, HUB_ID
from preflab.words import count, listed

CONFIG, WEIGHTS, TOKENIZER = "config.json", "the weights", "the tokenizer"
WEIGHT_ENDINGS = (".safetensors", ".bin")


def check_hub_files(recipe: Recipe, names: Sequence[str]) -> None:
    """Check that all models and data sets of the Hub that these stages read are on this machine, or the Hub answers.

    Raises:
        PreflabError: something is missing and the Hub cannot be reached; the error names every repository, its
            missing parts and the settings that name it, and shows how to set local folders instead.
    """
    models, data_sets = _missing_models(recipe, names), _missing_data(recipe, names)
    if not models and not data_sets:
        return
    why = _why_no_hub(next(iter(models), ""))
    if not why:
        return
    lines = [
        *(f"  {ref} lacks {listed(lacking)}: {', '.join(places)}" for ref, (lacking, places) in models.items()),
        *(f"  {ref} lacks its rows: {', '.join(map(_path_of, names))}" for ref, names in data_sets.items()),
    ]
    folders = [
        *(_set(place, f"/path/to/{ref.rpartition('/')[2]}") for ref, (_, places) in models.items() for place in places),
        *(option for names in data_sets.values() for name in names for option in _set_data(recipe, name)),
    ]
    fetched = [
        *(f"hf download {ref}" for ref in models),
        *(f"hf download --repo-type dataset {ref.partition(':')[0]}" for ref in data_sets),
    ]
    num = count(len(models) + len(data_sets), "repository of the Hub is", "repositories of the Hub are")
    raise PreflabError(
        "\n".join([f"{recipe.path.name}: {num} not on this machine, and the Hub cannot be reached ({why})", *lines]),
        "local folders, or the files of these repositories in the cache",
        f"name local folders: {' '.join(folders)}; or run on a machine with a network: {'; '.join(fetched)}",
    )


def _missing_models(recipe: Recipe, names: Iterable[str]) -> dict[str, tuple[list[str], list[str]]]:
    """Hub id of a model → its missing parts, and the settings that name it."""
    from preflab.models.loading import looks_local

    missing: dict[str, tuple[list[str], list[str]]] = {}
    for name in names:
        for refers, word, place in references(recipe.stages[name]):
            named = refers in ("model", "reward") and word not in recipe.stages and "/" in word
            opened = recipe.kind(name) != "sample"  # it opens its model only for prompts without imported completions
            if (
                not (named and opened)
                or recipe.resolve(word).is_dir()
                or not HUB_ID.fullmatch(word)
                or looks_local(word)
            ):
                continue
            lacking = _lacking(word)
            if lacking:
                where = ".".join(str(step) for step in ("stages", name, *place))
                missing.setdefault(word, (lacking, []))[1].append(where)
    return missing


def _missing_data(recipe: Recipe, names: Iterable[str]) -> dict[str, list[str]]:
    """Hub id of a data set → the data names with this path; only data that these stages read."""
    missing: dict[str, list[str]] = {}
    read = dict.fromkeys(
        word.partition(".")[0]
        for name in names
        for refers, word, _ in references(recipe.stages[name])
        if refers in ("data", "demonstrations", "preferences") and word not in recipe.stages
    )
    for name in read:
        path = recipe.data[name].path
        ref = path.removeprefix(HUB)
        if recipe.data_path(name).exists() or not HUB_ID.fullmatch(ref) or _has_rows(ref):
            continue
        missing.setdefault(ref, []).append(name)
    return missing


def _lacking(ref: str) -> list[str]:
    """The parts of a model that the local cache lacks."""
    from huggingface_hub import try_to_load_from_cache

    from preflab.models.loading import TOKENIZERS

    config = try_to_load_from_cache(ref, CONFIG)
    if not isinstance(config, str):
        return [CONFIG, WEIGHTS, TOKENIZER]
    files = [path.name for path in Path(config).parent.iterdir()]
    has_weights = any(name.endswith(WEIGHT_ENDINGS) for name in files)
    has_tokenizer = any(name in TOKENIZERS for name in files)
    return [*([] if has_weights else [WEIGHTS]), *([] if has_tokenizer else [TOKENIZER])]


def _has_rows(ref: str) -> bool:
    """Whether the cache of `datasets` or of the Hub holds files of a data set."""
    from huggingface_hub import constants

    repository = ref.partition(":")[0].replace("/", "___")
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    snapshots = Path(constants.HF_HUB_CACHE) / f"datasets--{ref.partition(':')[0].replace('/', '--')}" / "snapshots"
    return (cache / repository).is_dir() or snapshots.is_dir()


def _why_no_hub(ref: str) -> str:
    """The reason why the Hub cannot be reached; "" if it answers."""
    from huggingface_hub import constants

    from preflab.models.hub_ids import no_retry_lines, why_unreachable

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    with no_retry_lines():
        return why_unreachable(ref or "google/flan-t5-base")


def _path_of(data: str) -> str:
    return f"data.{data}.path"


def _set_data(recipe: Recipe, data: str) -> list[str]:
    """The options that set a file, which has no splits, as the data of this name."""
    split = recipe.data[data].split
    return [
        _set(_path_of(data), f"/path/to/{split or data}.jsonl"),
        *([_set(f"data.{data}.split", "null")] * bool(split)),
    ]


def _set(place: str, value: str) -> str:
    return f"--set {place}={value}"
