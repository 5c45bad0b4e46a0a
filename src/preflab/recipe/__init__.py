"""Read one recipe file (YAML) into typed settings: strict, complete, without includes.

Rounds: `rounds: {num: 2, repeat: [answers, labels, prefs, rm, ppo]}` repeats those stages. In round n they are called
`answers@n` and so on; round 1 keeps the plain names. Stage names are resolved as follows:

- In a repeated stage, the name of a repeated stage means the stage of the same round.
- From round 2 on, a repeated `sample` stage whose model is not repeated reads the previous round's last policy: the
  last repeated stage that makes a model. Every other stage keeps its starting model and its reference.
- A repeated `reward` stage learns from the preferences of the same round.
- In a stage that is not repeated, the name of a repeated stage means the last round's.
- `ppo@1` (the plain `ppo` of round 1) and `ppo@2` always mean exactly that round.

Seeds: `seeds: [0, 1, 2]` makes the stages that learn a policy (kinds dpo, ppo, grpo, online_dpo and ilql) once per
seed, with every stage that reads them, except evaluate, probe, simulate and report; `seeds: {values: [0, 1, 2], repeat:
[sft]}` starts at the named stages instead. All other stages are made once. The stages of a seed are called `ppo/seed-0`
and so on:

- In a repeated stage, the name of a repeated stage means the stage of the same seed.
- In an evaluate, probe, simulate or report stage it means the stages of all seeds; `ppo/seed-1` means exactly that
  one.
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
from preflab.recipe.seeds import describe_seeds, expand_seeds, write_out_seeds
from preflab.seeds import split_seed
from preflab.settings.base import StageSettings
from preflab.settings.feedback import PanelSettings
from preflab.settings.recipe import HUB, HUB_ID, DataSettings, DeviceSettings, RecipeSettings, RoundsSettings
from preflab.yaml_files import read_yaml

__all__ = ["Recipe", "load_recipe", "recipe_at", "references"]


@dataclass(frozen=True)
class Recipe:
    """A recipe with the stages of every round and every seed; `load_recipe` makes it."""

    path: Path
    settings: RecipeSettings
    stages: Mapping[str, StageSettings]
    """Name → settings, in the order of the file, then of rounds and seeds; stage names in them are keys of this."""

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
        """The stage's own seed, else one derived by SHA-256 from the recipe's seed and the stage's name, below 2^31.

        A stage that is repeated for training seed 2 has the seed of a recipe whose `seed` is 2.
        """
        seed = self.stages[name].seed
        if seed is not None:
            return seed
        stage, value = split_seed(name)
        of_recipe = self.seed if value is None else value
        return int(hashlib.sha256(f"{of_recipe}/{stage}".encode()).hexdigest()[:8], 16) >> 1

    @property
    def seeded(self) -> dict[str, tuple[str, ...]]:
        """Stage that is repeated for several seeds → the names of its repetitions, in the order of the seeds."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self.stages:
            stage, value = split_seed(name)
            if value is not None:
                found[stage] = (*found.get(stage, ()), name)
        return found

    def names_of(self, word: str) -> tuple[str, ...]:
        """The stages that a name means: itself, the stages of all seeds, or () if it is unknown."""
        return (word,) if word in self.stages else self.seeded.get(word, ())

    @property
    def seeds_text(self) -> str:
        """What `seeds` does, as one line; "" without seeds."""
        return describe_seeds(self.settings, list(self.seeded))

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
    return recipe_at(Path(path), read_yaml(Path(path)), overrides)


def recipe_at(path: Path, content: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe with this content, as if it were in the file `path`; see `load_recipe`."""
    raw = apply_overrides(replace_old_names(content, path), replace_old_paths(overrides), path)
    raw = replace_old_names(raw, path)  # an override may set a whole section with old names
    settings = validate_recipe(write_out_seeds(raw, path), path)
    stages = expand_seeds(expand_rounds(settings, path), settings, path)
    recipe = Recipe(path.absolute(), settings, stages)
    check_references(recipe.settings, stages, path)
    return recipe
