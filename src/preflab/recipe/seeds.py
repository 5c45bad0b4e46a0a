"""Expand a recipe into one stage per training seed; `preflab.recipe` explains which stages are repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError, nearest
from preflab.recipe.references import inputs_of
from preflab.recipe.stage_names import rename_stages
from preflab.seeds import name_with_seed, split_seed
from preflab.settings.base import StageSettings
from preflab.settings.recipe import RecipeSettings
from preflab.words import listed
from preflab.yaml_files import kind

LEARNING = ("dpo", "ppo", "grpo", "online_dpo", "ilql")
"""Kinds that `seeds` repeats if `seeds.repeat` names no stages."""
COMPARING = ("evaluate", "probe", "simulate", "report")
"""Kinds that are never repeated: they read the stages of all seeds."""


def write_out_seeds(raw: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The recipe's mapping with `seeds: [0, 1]` written as `seeds: {values: [0, 1]}`.

    Raises:
        PreflabError: `seeds` is neither a mapping nor a list with a seed.
    """
    seeds = raw.get("seeds")
    if seeds is None or isinstance(seeds, Mapping):
        return dict(raw)
    if not isinstance(seeds, list) or not seeds:
        what = "an empty list" if seeds == [] else kind(seeds)
        raise PreflabError(f"{path}, seeds: {what}", "a list of training seeds", "for example `seeds: [0, 1, 2]`")
    return {**raw, "seeds": {"values": seeds}}


def expand_seeds(stages: Mapping[str, StageSettings], settings: RecipeSettings, path: Path) -> dict[str, StageSettings]:
    """Every stage by name; in place of a repeated stage `ppo` those of each seed: `ppo/seed-0`, `ppo/seed-1`.

    Args:
        stages: the stages, names of rounds resolved.
        settings: of the whole recipe.
        path: the recipe file, for errors.

    Raises:
        PreflabError: `seeds` names a seed twice or an unknown stage, or a stage's settings do not fit several seeds.
    """
    values = settings.seeds.values if settings.seeds else ()
    repeated = _repeated(stages, settings, path) if values else ()
    names_of = partial(_names_of, values, repeated)
    expanded: dict[str, StageSettings] = {}
    for name, stage in stages.items():
        where = f"{path}, stages.{name}"
        _check_names(stage, stages, partial(names_of, None), where)
        if name not in repeated:
            expanded[name] = rename_stages(stage, partial(names_of, None), where)
            continue
        for value in values:
            expanded[name_with_seed(name, value)] = rename_stages(stage, partial(names_of, value), where)
    return expanded


def _names_of(values: Sequence[int], repeated: Sequence[str], seed: int | None, word: str) -> Sequence[str]:
    """What `word` means in a stage of this seed; None: in a stage that is not repeated, where it means all seeds."""
    if word not in repeated:
        return (word,)
    return [name_with_seed(word, value) for value in (values if seed is None else (seed,))]


def _repeated(stages: Mapping[str, StageSettings], settings: RecipeSettings, path: Path) -> list[str]:
    """The stages that are repeated, in the order of the recipe."""
    seeds = settings.seeds
    assert seeds is not None
    _check_seeds(stages, settings, path)
    chosen = set(seeds.repeat) or {name for name, stage in stages.items() if _kind(stage) in LEARNING}
    if not chosen:
        raise PreflabError(
            f"{path}, seeds: no stage of kind {', '.join(LEARNING[:-1])} or {LEARNING[-1]}",
            "a stage that learns a policy, or the names of the stages to repeat",
            f"write `seeds: {{values: {list(seeds.values)}, repeat: [STAGE]}}`",
        )
    while more := {name for name, stage in stages.items() if _reads(stage, stages, chosen)} - chosen:
        chosen |= more
    for name, stage in stages.items():
        _check_one_seed(name, stage, chosen, path)
    return [name for name in stages if name in chosen]


def _reads(stage: StageSettings, stages: Mapping[str, StageSettings], chosen: set[str]) -> bool:
    return _kind(stage) not in COMPARING and not chosen.isdisjoint(inputs_of(stage, stages))


def _kind(stage: StageSettings) -> str:
    return str(type(stage).model_fields["kind"].default)


def _check_seeds(stages: Mapping[str, StageSettings], settings: RecipeSettings, path: Path) -> None:
    seeds = settings.seeds
    assert seeds is not None
    for value in seeds.values:
        if seeds.values.count(value) > 1:
            raise PreflabError(f"{path}, seeds: {value} is there twice", "each seed once", "remove one of them")
    if settings.rounds.num > 1:
        raise PreflabError(
            f"{path}: both seeds and rounds.num: {settings.rounds.num}",
            "one of the two",
            "run the recipe once per seed, with --set seed=1 and a --workspace of its own",
        )
    for name in seeds.repeat:
        if name not in stages:
            near = nearest(name, list(stages))
            raise PreflabError(
                f"{path}, seeds.repeat: no stage `{name}`",
                f"near it: {near}" if near else f"known: {', '.join(stages)}",
                "correct the name",
            )
        if _kind(stages[name]) in COMPARING:
            raise PreflabError(
                f"{path}, seeds.repeat: `{name}` is of kind {_kind(stages[name])}, which reads the stages of all seeds",
                "stages that learn or sample",
                "remove it from the list",
            )


def _check_one_seed(name: str, stage: StageSettings, repeated: set[str], path: Path) -> None:
    """Refuse a seed of a repeated stage's own, and a baseline that is repeated."""
    if name in repeated and stage.seed is not None:
        raise PreflabError(
            f"{path}, stages.{name}.seed: {stage.seed}, but `seeds` repeats {name}",
            "a stage without a seed of its own, or one that is made once",
            f"remove stages.{name}.seed, or name other stages in seeds.repeat",
        )
    models = getattr(stage, "models", ())
    if _kind(stage) in COMPARING and models and models[0] in repeated:
        raise PreflabError(
            f"{path}, stages.{name}.models: begins with {models[0]}, which `seeds` repeats",
            "first one model, with which all others are compared",
            "put a model first that is made once, such as the one that training starts from",
        )


def _check_names(stage: StageSettings, stages: Mapping[str, StageSettings], names_of: Any, where: str) -> None:
    """Refuse `ppo/seed-7` if the recipe has a stage `ppo` without this seed; it would be taken for an id on the Hub."""

    def check(word: str) -> Sequence[str]:
        base, value = split_seed(word)
        if value is not None and base in stages and word not in names_of(base):
            made = names_of(base)
            raise PreflabError(
                f"{where}: `{word}`, but the recipe makes {', '.join(made)}",
                f"a seed of {base}" if len(made) > 1 else f"`{base}`, which is made once",
                "correct the name, or add the seed to `seeds`",
            )
        return (word,)

    rename_stages(stage, check)


def describe_seeds(settings: RecipeSettings, repeated: Sequence[str]) -> str:
    """What the recipe's seeds do, as one line for the terminal; "" without seeds."""
    if settings.seeds is None:
        return ""
    values = settings.seeds.values
    made = f"seeds: {listed(list(repeated))} {'is' if len(repeated) == 1 else 'are'} made once per seed"
    told = f"{made} ({listed([str(value) for value in values])}), all other stages once"
    return f"{told}; one seed gives no interval over seeds, add more at any time" if len(values) == 1 else told
