"""Read one recipe file (YAML) into typed settings: strict, complete, without includes.

Rounds: `rounds: {num: 2, repeat: [answers, labels, prefs, rm, ppo]}` repeats those stages. In round n they are called
`answers@n` and so on; round 1 keeps the plain names. Stage names are resolved as follows:

- In a repeated stage, the name of a repeated stage means the stage of the same round.
- From round 2 on, a repeated `sample` stage whose model is not repeated reads the previous round's last policy: the
  last repeated stage that makes a model. Every other stage keeps its starting model and its reference.
- A repeated `reward` stage learns from the preferences of the same round.
- In a stage that is not repeated, the name of a repeated stage means the last round's.
- `ppo@1` (the plain `ppo` of round 1) and `ppo@2` always mean exactly that round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflab.recipe.checking import validate_recipe
from preflab.recipe.overrides import apply_overrides
from preflab.recipe.packaged import packaged_path
from preflab.recipe.references import check_references, inputs_of, references, sort_stages
from preflab.recipe.renamed import replace_old_names, replace_old_paths
from preflab.recipe.rounds import expand_rounds
from preflab.settings.base import StageSettings
from preflab.settings.feedback import PanelSettings
from preflab.settings.recipe import HUB, HUB_ID, DataSettings, DeviceSettings, RecipeSettings, RoundsSettings
from preflab.yaml_files import read_yaml

__all__ = ["Recipe", "load_recipe", "references"]


@dataclass(frozen=True)
class Recipe:
    """A recipe with the stages of every round; `load_recipe` makes it."""

    path: Path
    settings: RecipeSettings
    stages: Mapping[str, StageSettings]
    """Name → settings, in the order of the file, then of the rounds; stage names in them are resolved to these keys."""

    @property
    def folder(self) -> Path:
        """The folder of the recipe file; relative paths of the recipe start there."""
        return self.path.parent

    @property
    def data(self) -> Mapping[str, DataSettings]:
        """Data settings by name."""
        return self.settings.data

    @property
    def labelers(self) -> Mapping[str, PanelSettings]:
        """Panels of labelers by name."""
        return self.settings.labelers

    @property
    def device(self) -> DeviceSettings:
        """The settings of device and precision."""
        return self.settings.device

    @property
    def seed(self) -> int:
        """The seed from which the stages' seeds are derived."""
        return self.settings.seed

    @property
    def rounds(self) -> RoundsSettings:
        """The number of rounds and the repeated stages."""
        return self.settings.rounds

    def resolve(self, path: str) -> Path:
        """The absolute path for a path of the recipe, which may be relative to the recipe's folder."""
        return (self.folder / Path(path).expanduser()).absolute()

    def data_path(self, name: str) -> Path:
        """The location of a data name: an absolute path, or `hub:` and the id of a data set."""
        path = self.data[name].path
        place = packaged_path(path) or self.resolve(path)
        return Path(f"{HUB}{path}") if HUB_ID.fullmatch(path) and not place.exists() else place

    def stage_seed(self, name: str) -> int:
        """The stage's own seed, else one derived by SHA-256 from the recipe's seed and the stage's name, below 2^31."""
        seed = self.stages[name].seed
        if seed is not None:
            return seed
        return int(hashlib.sha256(f"{self.seed}/{name}".encode()).hexdigest()[:8], 16) >> 1

    def kind(self, name: str) -> str:
        """The kind of a stage."""
        return str(type(self.stages[name]).model_fields["kind"].default)

    def inputs(self, name: str) -> list[str]:
        """The stages that this one reads, each once, in the order of its settings."""
        return inputs_of(self.stages[name], self.stages)

    def in_order(self) -> list[str]:
        """Stage names sorted so that inputs come first; otherwise in the order of the file."""
        return sort_stages({name: self.inputs(name) for name in self.stages}, self.path)

    def resolved(self) -> dict[str, Any]:
        """The recipe with every default written out; loading it again gives the same recipe."""
        whole: dict[str, Any] = self.settings.model_dump(mode="json")
        whole["stages"] = {name: {"kind": s["kind"], **s} for name, s in whole["stages"].items()}
        return whole


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file.

    Args:
        path: the YAML file.
        overrides: settings that replace those of the file, such as `stages.ppo.kl_coef=0.1`; the value is YAML.

    Raises:
        PreflabError: something in it is unknown, missing, given twice or of the wrong type; it names file and setting.
    """
    path = Path(path)
    raw = apply_overrides(replace_old_names(read_yaml(path), path), replace_old_paths(overrides), path)
    raw = replace_old_names(raw, path)  # an override may set a whole section with old names
    settings = validate_recipe(raw, path)
    stages = expand_rounds(settings, path)
    recipe = Recipe(path.absolute(), settings, stages)
    check_references(recipe.settings, stages, path)
    return recipe
