"""Find and check the names in a stage's settings (stages, data, panels, functions, files) before anything runs."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError, nearest
from preflab.recipe.packaged import packaged_names, packaged_path
from preflab.settings.base import Settings, StageSettings
from preflab.settings.recipe import HUB_ID, RecipeSettings

SPLITS = ("train", "held_out")
PEOPLE = "people"


Steps = tuple[str | int, ...]


def references(settings: Settings, at: Steps = ()) -> Iterator[tuple[str, str, Steps]]:
    """Every name in these settings, as (kind of thing it refers to, the name, the path of its setting)."""
    for name, field in type(settings).model_fields.items():
        value, where = getattr(settings, name), (*at, name)
        extra = field.json_schema_extra
        refers = extra.get("refers") if isinstance(extra, dict) else None
        for place, item in _items(value, where):
            if isinstance(item, Settings):
                yield from references(item, place)
            elif refers and isinstance(item, str):
                yield str(refers), item, place


def _items(value: Any, where: Steps) -> Iterator[tuple[Steps, Any]]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield (*where, index), item
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield (*where, str(key)), item
    else:
        yield where, value


def inputs_of(settings: Settings, stages: Container[str]) -> list[str]:
    """The stages named in these settings, each once, in the order of the settings."""
    return list(dict.fromkeys(word for _, word, _ in references(settings) if word in stages))


def check_references(settings: RecipeSettings, stages: Mapping[str, StageSettings], path: Path) -> None:
    """Check that every name exists and is of the right kind, that data files exist, and that stages form no cycle.

    Raises:
        PreflabError: a check fails, or a name is both data and a stage; an unknown name gets the nearest known one.
    """
    for name in settings.data.keys() & stages.keys():
        raise PreflabError(
            f"{path}: `{name}` is both data and a stage",
            "different names for data and stages",
            f"rename data.{name} or stages.{name}",
        )
    for name, data in settings.data.items():
        if (own := packaged_path(data.path)) is not None:
            if data.path not in packaged_names():
                raise PreflabError(
                    f"{path}, data.{name}.path: preflab has no data `{own.name}`",
                    f"one of {', '.join(packaged_names())}",
                    "correct the name",
                )
            continue
        file = path.parent / Path(data.path).expanduser()
        # If the parent folder exists, `folder/name` is a misspelt file rather than the id of a data set.
        on_hub = HUB_ID.fullmatch(data.path) and not file.parent.exists()
        if not file.exists() and not on_hub:
            raise PreflabError(
                f"{path}, data.{name}.path: no such file `{data.path}`",
                f"a file, relative to {path.parent.resolve()}, or `owner/name` of a data set on the Hub",
                "correct the path",
            )
    for name, stage in stages.items():
        for refers, word, place in references(stage):
            at = ".".join(str(step) for step in ("stages", name, *place))
            _check(_Place(settings, stages, path, at), refers, word)
    sort_stages({name: inputs_of(stage, stages) for name, stage in stages.items()}, path)


def check_data_name(settings: RecipeSettings, word: str, path: Path, at: str) -> None:
    """Check that a name outside the stages, such as that of a command's option `at`, is data of the recipe.

    Raises:
        PreflabError: it is not, or it names a held-out part of data that hold nothing out.
    """
    _check(_Place(settings, {}, path, at), "data", word)


class _Place:
    """The location of a setting that holds a name, with the recipe's stages and data for checking the name."""

    def __init__(self, settings: RecipeSettings, stages: Mapping[str, StageSettings], path: Path, at: str) -> None:
        self.settings, self.stages, self.path, self.at = settings, stages, path, at

    def stages_making(self, *things: str) -> list[str]:
        return [name for name, stage in self.stages.items() if type(stage).makes in things]

    def refuse(self, word: str, expected: str, known: list[str]) -> None:
        near = nearest(word, known)
        names = f"near it: {near}" if near else f"known: {', '.join(known)}" if known else "the recipe has none"
        raise PreflabError(f"{self.path}, {self.at}: no {expected} `{word}`", names, "correct the name or add it")


def _check(place: _Place, refers: str, word: str) -> None:
    stage, data = place.stages.get(word), _data_names(place.settings)
    if refers in ("function", "environment"):
        if not all(part.strip() for part in word.split(":")) or word.count(":") != 1:
            raise PreflabError(
                f"{place.path}, {place.at}: `{word}`",
                "`module:Class`" if refers == "environment" else "`module:function`",
                "for example my_game:Guess" if refers == "environment" else "for example my_rewards:politeness",
            )
    elif refers == "file":
        _check_file(place, word)
    elif refers == "stage":
        if stage is None:
            place.refuse(word, "stage", list(place.stages))
    elif refers == "labelers":
        if word != PEOPLE and word not in place.settings.labelers:
            place.refuse(word, "panel of labelers", [PEOPLE, *place.settings.labelers])
    elif refers == "data":
        if word not in data:
            place.refuse(word, "data", data)
        _check_split(place, word)
    elif refers == "demonstrations":
        demonstrating = [name for name, other in place.stages.items() if type(other).demonstrates]
        if word not in (*data, *demonstrating):
            place.refuse(word, "data or stage with demonstrations", [*data, *demonstrating])
        if word in data:
            _check_split(place, word)
    elif refers in ("model", "reward"):
        _check_model(place, refers, word)
    elif stage is None or type(stage).makes != refers:
        if refers == "preferences" and word in data:
            return
        known = place.stages_making(refers) + (data if refers == "preferences" else [])
        place.refuse(word, f"stage that makes {refers}", known)


def _check_file(place: _Place, word: str) -> None:
    if not (place.path.parent / Path(word).expanduser()).is_file():
        raise PreflabError(
            f"{place.path}, {place.at}: no such file `{word}`",
            f"a file, relative to {place.path.parent.resolve()}",
            "correct the path",
        )


def _data_names(settings: RecipeSettings) -> list[str]:
    return [full for name in settings.data for full in (name, *(f"{name}.{split}" for split in SPLITS))]


def _check_split(place: _Place, word: str) -> None:
    name, _, split = word.partition(".")
    if split == "held_out" and place.settings.data[name].held_out == 0:
        raise PreflabError(
            f"{place.path}, {place.at}: `{word}`, but data.{name} holds nothing out",
            f"a share above 0 in data.{name}.held_out",
            f"add `held_out: 0.1` to data.{name}",
        )


def _check_model(place: _Place, refers: str, word: str) -> None:
    """Accept a stage that makes a model (or a reward model), an existing folder, or a possible id on the Hub."""
    if word in place.stages:
        if type(place.stages[word]).makes != refers:
            place.refuse(
                word,
                f"stage that makes a {'model' if refers == 'model' else 'reward model'}",
                place.stages_making(refers),
            )
        return
    if (place.path.parent / Path(word).expanduser()).is_dir():
        return
    if word.startswith((".", "/", "~")) or word.count("/") > 1:
        raise PreflabError(
            f"{place.path}, {place.at}: no such folder `{word}`",
            f"a stage, a folder relative to {place.path.parent.resolve()}, or a Hub id",
            "correct the path",
        )
    if "/" not in word and nearest(word, list(place.stages)):
        place.refuse(word, "stage or folder", list(place.stages))


def sort_stages(reads: Mapping[str, Sequence[str]], path: Path) -> list[str]:
    """Names of stages, each after its inputs, otherwise in the given order.

    It does not recurse, so chains may have any length.

    Raises:
        PreflabError: stages form a cycle.
    """
    ordered: dict[str, None] = {}
    for name in reads:
        waiting = {name: None}
        while waiting:
            here = next(reversed(waiting))
            lacking = next((other for other in reads[here] if other not in ordered), None)
            if lacking is None:
                ordered.setdefault(here)
                del waiting[here]
            elif lacking in waiting:
                names = list(waiting)
                cycle = " → ".join([*names[names.index(lacking) :], lacking])
                raise PreflabError(
                    f"{path}, stages: they need each other in a cycle: {cycle}",
                    "stages that can be put in order",
                    "correct one of the names",
                )
            else:
                waiting[lacking] = None
    return list(ordered)
