"""The stages of every round; what a name means in which round stands at the head of `preflab.recipe`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from preflab.errors import PreflabError, nearest
from preflab.settings.base import Settings, StageSettings
from preflab.settings.recipe import RecipeSettings

S = TypeVar("S", bound=Settings)
NOT_STAGES = ("data", "labelers", "function", "file")


def named(stage: str, round_: int) -> str:
    """The stage's name in a round: `ppo`, `ppo@2`, `ppo@3`."""
    return stage if round_ == 1 else f"{stage}@{round_}"


def expand_rounds(settings: RecipeSettings, path: Path) -> dict[str, StageSettings]:
    """Every stage of every round by name: round 1 in the file's order, then the repeated ones again."""
    num, repeat = settings.rounds.num, settings.rounds.repeat
    for name in repeat:
        if name not in settings.stages:
            known = list(settings.stages)
            raise PreflabError(
                f"{path}, rounds.repeat: no stage `{name}`",
                f"near it: {near}" if (near := nearest(name, known)) else f"known: {', '.join(known)}",
                "mend the name",
            )
    if num > 1 and not repeat:
        raise PreflabError(
            f"{path}, rounds.num: {num}, but nothing is repeated", "stages in rounds.repeat", "name them"
        )
    repeated = [name for name in settings.stages if name in repeat]
    expanded = {}
    for name, stage in settings.stages.items():
        own_round = 1 if name in repeat else num
        expanded[name] = renamed(stage, partial(_in_round, own_round, repeat))
    for round_ in range(2, num + 1):
        for name in repeated:
            stage = _from_last_policy(settings, name, round_)
            expanded[named(name, round_)] = renamed(stage, partial(_in_round, round_, repeat))
    return expanded


def _in_round(round_: int, repeat: tuple[str, ...], word: str) -> str:
    if word.endswith("@1"):
        return word.removesuffix("@1")
    return named(word, round_) if word in repeat else word


def _from_last_policy(settings: RecipeSettings, name: str, round_: int) -> StageSettings:
    """A `sample` stage whose model is not repeated reads the previous round's last policy instead."""
    stage, repeat = settings.stages[name], settings.rounds.repeat
    policies = [other for other, s in settings.stages.items() if other in repeat and type(s).makes == "model"]
    model = getattr(stage, "model", None)
    if type(stage).makes != "completions" or model in repeat or "@" in str(model) or not policies:
        return stage
    last = named(policies[-1], round_ - 1)
    return stage.model_copy(update={"model": last if round_ > 2 else f"{last}@1"})


def renamed(settings: S, rename: Callable[[str], str]) -> S:
    """The same settings with every name of a stage replaced."""
    update: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        extra = field.json_schema_extra
        refers = extra.get("refers") if isinstance(extra, dict) else None
        update[name] = _renamed(
            getattr(settings, name), rename if refers and refers not in NOT_STAGES else None, rename
        )
    return settings.model_copy(update=update)


def _renamed(value: Any, here: Callable[[str], str] | None, below: Callable[[str], str]) -> Any:
    if isinstance(value, Settings):
        return renamed(value, below)
    if isinstance(value, tuple):
        return tuple(_renamed(item, here, below) for item in value)
    return here(value) if here and isinstance(value, str) else value
