"""One recipe file (YAML) → typed settings: strict, complete, inherited from nothing.

Rounds (R24). `rounds: {num: 2, repeat: [answers, labels, prefs, rm, ppo]}` repeats those stages; in round n they are
called `answers@n`, and round 1 keeps the plain names. What a name means:

- in a repeated stage, the name of a repeated stage is this round's; any other name is the one stage there is;
- a repeated `sample` stage whose model is not repeated reads the previous round's last policy from round 2 on: the
  last repeated stage that makes a model. Everything else keeps its start and its reference;
- a repeated `reward` stage learns from this round's preferences;
- outside, the name of a repeated stage is the last round's;
- `ppo@1` (the plain `ppo` of round 1) and `ppo@2` always mean exactly that round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflab.recipe.checking import validated
from preflab.recipe.overrides import apply_overrides
from preflab.recipe.references import check_references, in_order, inputs_of, references
from preflab.recipe.renamed import with_new_names, with_new_paths
from preflab.recipe.rounds import expand_rounds
from preflab.settings.base import StageSettings
from preflab.settings.feedback import PanelSettings
from preflab.settings.recipe import HUB, HUB_ID, DataSettings, DeviceSettings, RecipeSettings, RoundsSettings
from preflab.yaml_files import read_yaml

__all__ = ["Recipe", "load_recipe", "references"]


@dataclass(frozen=True)
class Recipe:
    """A recipe as it was read, with its stages in every round.

    Raises (on loading): PreflabError for anything unknown, missing, doubled or of the wrong type.
    """

    path: Path
    settings: RecipeSettings
    stages: Mapping[str, StageSettings]
    """Name → settings, in the order of the file and of the rounds; names in them are stages of this mapping."""

    @property
    def folder(self) -> Path:
        """The folder of the recipe file, from which its paths are read."""
        return self.path.parent

    @property
    def data(self) -> Mapping[str, DataSettings]:
        """Data by name."""
        return self.settings.data

    @property
    def labelers(self) -> Mapping[str, PanelSettings]:
        """Panels of labelers by name."""
        return self.settings.labelers

    @property
    def device(self) -> DeviceSettings:
        """What the stages compute on."""
        return self.settings.device

    @property
    def seed(self) -> int:
        """The seed from which the stages' seeds follow."""
        return self.settings.seed

    @property
    def rounds(self) -> RoundsSettings:
        """How often what is repeated."""
        return self.settings.rounds

    def resolve(self, path: str) -> Path:
        """A path of the recipe, read from the recipe's folder."""
        return (self.folder / Path(path).expanduser()).absolute()

    def data_path(self, name: str) -> Path:
        """Where a data name leads: a path seen from the recipe's folder, or `hub:` and a data set's id."""
        path = self.data[name].path
        place = self.resolve(path)
        return Path(f"{HUB}{path}") if HUB_ID.fullmatch(path) and not place.exists() else place

    def stage_seed(self, name: str) -> int:
        """The stage's own seed, or one from SHA-256 of the recipe's seed and the stage's name, below 2^31."""
        seed = self.stages[name].seed
        if seed is not None:
            return seed
        return int(hashlib.sha256(f"{self.seed}/{name}".encode()).hexdigest()[:8], 16) >> 1

    def kind(self, name: str) -> str:
        """The kind of a stage."""
        return str(type(self.stages[name]).model_fields["kind"].default)

    def inputs(self, name: str) -> list[str]:
        """The stages this one reads, each once, in the order of its settings."""
        return inputs_of(self.stages[name], self.stages)

    def in_order(self) -> list[str]:
        """Stage names, each after what it reads, otherwise as the file has them."""
        return in_order({name: self.inputs(name) for name in self.stages}, self.path)

    def resolved(self) -> dict[str, Any]:
        """The recipe with every default written out; loading it again gives the same recipe."""
        whole: dict[str, Any] = self.settings.model_dump(mode="json")
        whole["stages"] = {name: {"kind": s["kind"], **s} for name, s in whole["stages"].items()}
        return whole


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe file.

    Args:
        path: the YAML file.
        overrides: `stages.ppo.kl_coef=0.1`, the value written as in YAML; they win over the file.

    Raises:
        PreflabError: naming the file and the setting, what was expected and what to do.
    """
    path = Path(path)
    raw = apply_overrides(with_new_names(read_yaml(path), path), with_new_paths(overrides), path)
    raw = with_new_names(raw, path)  # of a whole section in an override
    settings = validated(raw, path)
    stages = expand_rounds(settings, path)
    recipe = Recipe(path.absolute(), settings, stages)
    check_references(recipe.settings, stages, path)
    return recipe
