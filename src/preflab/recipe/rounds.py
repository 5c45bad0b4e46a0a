"""Expand a recipe into the stages of every round; `preflab.recipe` explains how names are resolved."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from preflab.errors import PreflabError, nearest
from preflab.recipe.stage_names import rename_stages
from preflab.settings.base import StageSettings
from preflab.settings.recipe import RecipeSettings


def name_in_round(stage: str, round_: int) -> str:
    """The stage's name in a round: `ppo`, `ppo@2`, `ppo@3`."""
    return stage if round_ == 1 else f"{stage}@{round_}"


def expand_rounds(settings: RecipeSettings, path: Path) -> dict[str, StageSettings]:
    """Every stage of every round by name: all stages in the file's order, then the repeated ones of each later round.

    Raises:
        PreflabError: `rounds.repeat` names an unknown stage, or is empty although there are several rounds.
    """
    num, repeat = settings.rounds.num, settings.rounds.repeat
    for name in repeat:
        if name not in settings.stages:
            known = list(settings.stages)
            raise PreflabError(
                f"{path}, rounds.repeat: no stage `{name}`",
                f"near it: {near}" if (near := nearest(name, known)) else f"known: {', '.join(known)}",
                "correct the name",
            )
    if num > 1 and not repeat:
        raise PreflabError(
            f"{path}, rounds.num: {num}, but rounds.repeat is empty", "stages in rounds.repeat", "name them there"
        )
    repeated = [name for name in settings.stages if name in repeat]
    expanded = {}
    for name, stage in settings.stages.items():
        resolved_in = 1 if name in repeat else num
        expanded[name] = rename_stages(stage, partial(_resolve_name, resolved_in, repeat))
    for round_ in range(2, num + 1):
        for name in repeated:
            stage = _from_last_policy(settings, name, round_)
            expanded[name_in_round(name, round_)] = rename_stages(stage, partial(_resolve_name, round_, repeat))
    return expanded


def _resolve_name(round_: int, repeat: tuple[str, ...], word: str) -> tuple[str]:
    """The name of the stage that `word` means in a stage of this round."""
    if word.endswith("@1"):
        return (word.removesuffix("@1"),)
    return (name_in_round(word, round_) if word in repeat else word,)


def _from_last_policy(settings: RecipeSettings, name: str, round_: int) -> StageSettings:
    """The stage of this round; a `sample` stage whose model is not repeated gets the previous round's last policy."""
    stage, repeat = settings.stages[name], settings.rounds.repeat
    policies = [other for other, s in settings.stages.items() if other in repeat and type(s).makes == "model"]
    model = getattr(stage, "model", None)
    if type(stage).makes != "completions" or model in repeat or "@" in str(model) or not policies:
        return stage
    last = name_in_round(policies[-1], round_ - 1)
    return stage.model_copy(update={"model": last if round_ > 2 else f"{last}@1"})
